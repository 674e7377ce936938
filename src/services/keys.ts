import { makeSecret } from '../crypto/secrets.ts'
import { newId } from '../crypto/ids.ts'
import type { Database } from '../db/client.ts'
import { apiKeys, keySecrets } from '../db/schema.ts'
import type { Settings } from '../settings.ts'

/** A key as its owner sees it. Times are milliseconds. */
export type Key = {
  readonly id: string
  readonly name: string
  readonly hint: string
  readonly createdAt: number
}

export type KeyInput = { readonly name?: string | undefined }

/** A new key with its first secret, and the statements that keep it, for a batch. */
export async function prepareKey(
  db: Database,
  now: number,
  deviceId: string,
  input: KeyInput,
  settings: Settings,
) {
  const made = await makeSecret(settings.keyPrefix, settings.checkSecrets)
  const { hash, hint, checkId } = made
  const key: Key = { id: newId('key'), name: input.name ?? 'default', hint, createdAt: now }
  const statements = [
    db.insert(apiKeys).values({
      id: key.id,
      deviceId,
      name: key.name,
      scopes: '[]',
      createdAt: now,
      updatedAt: now,
    }),
    db.insert(keySecrets).values({ hash, keyId: key.id, hint, checkId, createdAt: now }),
  ] as const
  return { key, secret: made.secret, statements }
}
