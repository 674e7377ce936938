import { eq } from 'drizzle-orm'
import { sha256 } from '../crypto/digest.ts'
import { isCheckGenuine } from '../crypto/key-check.ts'
import { openDatabase } from '../db/client.ts'
import { apiKeys, devices, keySecrets, users } from '../db/schema.ts'
import {
  evaluateKey,
  type Denial,
  type KeyPolicySnapshot,
  type KeySnapshot,
} from '../domain/evaluate-key.ts'
import { parsePresentedSecret } from '../domain/key-format.ts'
import type { Settings } from '../settings.ts'

/** The answer to a presented secret: if it is a "no" to a genuine one, whose it is. */
export type Verification =
  | { readonly valid: true; readonly policy: KeyPolicySnapshot }
  | { readonly valid: false; readonly denial: Denial; readonly policy: KeyPolicySnapshot | null }

const MADE_UP = { valid: false, denial: 'not_found', policy: null } as const

/**
 * Whether a presented secret is good now. A made-up one costs no I/O; a genuine one costs one read.
 * @param now milliseconds
 */
export async function verifySecret(
  database: D1Database,
  presented: string,
  settings: Settings,
  now: number,
): Promise<Verification> {
  if (!(await canBeGenuine(presented, settings))) return MADE_UP
  const snapshot = await readSnapshot(database, await sha256(presented))
  if (snapshot === undefined) return MADE_UP
  const evaluated = evaluateKey(snapshot, now)
  if (evaluated.ok) return { valid: true, policy: evaluated.value }
  return { valid: false, denial: evaluated.reason, policy: snapshot.policy }
}

async function canBeGenuine(presented: string, settings: Settings): Promise<boolean> {
  const parsed = parsePresentedSecret(presented, settings.keyPrefix)
  if (parsed.kind !== 'checked') return false
  if (settings.keyCheck === 'off') return true
  return await isCheckGenuine(parsed.unchecked, parsed.check, settings.checkSecrets)
}

async function readSnapshot(database: D1Database, hash: string): Promise<KeySnapshot | undefined> {
  const [row] = await openDatabase(database)
    .select({ secret: keySecrets, key: apiKeys, device: devices, owner: users })
    .from(keySecrets)
    .leftJoin(apiKeys, eq(apiKeys.id, keySecrets.keyId))
    .leftJoin(devices, eq(devices.id, apiKeys.deviceId))
    .leftJoin(users, eq(users.id, devices.userId))
    .where(eq(keySecrets.hash, hash))
  if (row === undefined) return undefined
  const { secret, key, device, owner } = row
  return {
    secret: { expiresAt: secret.expiresAt, revokedAt: secret.revokedAt },
    policy:
      key === null || device === null || owner === null
        ? null
        : {
            key: {
              id: key.id,
              name: key.name,
              scopes: parseScopes(key.scopes),
              expiresAt: key.expiresAt,
              disabledAt: key.disabledAt,
              revokedAt: key.revokedAt,
            },
            device: { id: device.id, name: device.name, disabledAt: device.disabledAt },
            owner: { id: owner.id, disabledAt: owner.disabledAt },
          },
  }
}

function parseScopes(text: string): string[] {
  const parsed: unknown = JSON.parse(text)
  return Array.isArray(parsed) ? parsed.filter((scope) => typeof scope === 'string') : []
}
