import { timingSafeEqual } from 'node:crypto'
import { encodeBase62 } from '../domain/base62.ts'
import { CHECK_LENGTH } from '../domain/key-format.ts'

/** One of the deployment's secrets under which checks are made. `key` is in base64url. */
export type CheckSecret = { readonly id: string; readonly key: string }

/** The check secrets in force: the first makes checks, all of them verify. */
export type CheckSecrets = readonly [CheckSecret, ...CheckSecret[]]

const utf8 = new TextEncoder()

/** Imported once an isolate. CryptoKeys, unlike promises, may be shared between requests. */
const imported = new WeakMap<CheckSecret, CryptoKey>()

async function importedKey(secret: CheckSecret): Promise<CryptoKey> {
  const known = imported.get(secret)
  if (known !== undefined) return known
  const key = await crypto.subtle.importKey(
    'raw',
    Buffer.from(secret.key, 'base64url'),
    { name: 'HMAC', hash: 'SHA-256' },
    false,
    ['sign'],
  )
  imported.set(secret, key)
  return key
}

/** The first 47 bits of HMAC-SHA-256, in 8 base62 characters: 62^8 is a little over 2^47. */
export async function makeCheck(unchecked: string, secret: CheckSecret): Promise<string> {
  const first48Bits = Buffer.from(await sign(unchecked, secret)).readUIntBE(0, 6)
  return encodeBase62(Math.floor(first48Bits / 2), CHECK_LENGTH)
}

/** HMAC-SHA-256, whole, in base64url. The text begins with a label that no secret begins with. */
export async function makeMac(labelled: string, secret: CheckSecret): Promise<string> {
  return Buffer.from(await sign(labelled, secret)).toString('base64url')
}

async function sign(text: string, secret: CheckSecret): Promise<ArrayBuffer> {
  return await crypto.subtle.sign('HMAC', await importedKey(secret), utf8.encode(text))
}

/** Whether a check was made under any of the secrets: a filter that needs no I/O. */
export async function isCheckGenuine(
  unchecked: string,
  check: string,
  secrets: CheckSecrets,
): Promise<boolean> {
  for (const secret of secrets) {
    const expected = utf8.encode(await makeCheck(unchecked, secret))
    const presented = utf8.encode(check)
    if (expected.length === presented.length && timingSafeEqual(expected, presented)) return true
  }
  return false
}
