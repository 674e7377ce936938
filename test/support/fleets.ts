import { env } from 'cloudflare:workers'
import { newId } from '../../src/crypto/ids.ts'
import { makeSecret } from '../../src/crypto/secrets.ts'
import { loadSettings } from '../../src/settings.ts'
import type { TestUser } from './fixtures.ts'
import { execute } from './rows.ts'

/** Rows that one statement inserts from JSON. */
const SLICE = 500

/** Makes devices of a user by SQL, each with a key whose secret was used before. */
export async function makeFleet(user: TestUser, size: number): Promise<string[]> {
  const { keyPrefix, checkSecrets } = loadSettings(env)
  const secrets: string[] = []
  while (secrets.length < size) {
    const length = Math.min(SLICE, size - secrets.length)
    const made = await Promise.all(
      Array.from({ length }, async () => ({
        made: await makeSecret(keyPrefix, checkSecrets),
        device: newId('dev'),
        key: newId('key'),
      })),
    )
    const rows = JSON.stringify(
      made.map(({ made: { hash, hint, checkId }, ...ids }) => ({ hash, hint, checkId, ...ids })),
    )
    await execute(
      `insert into devices (id, user_id, name, metadata, created_at, updated_at)
       select value->>'device', ?, value->>'device', '{}', 1, 1 from json_each(?)`,
      user.id,
      rows,
    )
    await execute(
      `insert into api_keys (id, device_id, name, scopes, created_at, updated_at)
       select value->>'key', value->>'device', 'default', '["a"]', 1, 1 from json_each(?)`,
      rows,
    )
    await execute(
      `insert into key_secrets (hash, key_id, hint, check_id, created_at, first_used_at)
       select value->>'hash', value->>'key', value->>'hint', value->>'checkId', 1, 1
       from json_each(?)`,
      rows,
    )
    secrets.push(...made.map(({ made: { secret } }) => secret))
  }
  return secrets
}
