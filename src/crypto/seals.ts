import type { CheckSecret, CheckSecrets } from './key-check.ts'
import { randomBytes } from './random.ts'

const IV_BYTES = 12

const utf8 = new TextEncoder()

/** What a sealed text is bound to. */
type SealBinding = {
  /** Known to the client alone: without it nobody opens the seal. */
  readonly clientKey: string
  /** The row that holds the seal: moved to another row, it does not open. */
  readonly rowId: string
}

/**
 * Seals a text (AES-256-GCM) under a key that is derived (HKDF-SHA-256, RFC 5869) from the active
 * check secret and the client's Idempotency-Key. A dump of the database opens no seal. Whoever has
 * the dump and the check secrets opens those seals whose Idempotency-Key they can guess.
 */
export async function seal(
  text: string,
  binding: SealBinding,
  [secret]: CheckSecrets,
): Promise<string> {
  const iv = randomBytes(IV_BYTES)
  const key = await sealKey(secret, binding)
  const sealed = await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, key, utf8.encode(text))
  return `${secret.id}.${Buffer.concat([iv, Buffer.from(sealed)]).toString('base64url')}`
}

/**
 * The sealed text; undefined: its check secret is gone.
 * @throws Error when the seal was made for something else
 */
export async function unseal(
  sealed: string,
  binding: SealBinding,
  secrets: CheckSecrets,
): Promise<string | undefined> {
  const dot = sealed.indexOf('.')
  const secret = secrets.find(({ id }) => id === sealed.slice(0, dot))
  if (secret === undefined) return undefined
  const bytes = Buffer.from(sealed.slice(dot + 1), 'base64url')
  const algorithm = { name: 'AES-GCM', iv: bytes.subarray(0, IV_BYTES) }
  const key = await sealKey(secret, binding)
  const text = await crypto.subtle.decrypt(algorithm, key, bytes.subarray(IV_BYTES))
  return new TextDecoder().decode(text)
}

async function sealKey(secret: CheckSecret, { clientKey, rowId }: SealBinding): Promise<CryptoKey> {
  const material = Buffer.from(secret.key, 'base64url')
  const base = await crypto.subtle.importKey('raw', material, 'HKDF', false, ['deriveKey'])
  return await crypto.subtle.deriveKey(
    {
      name: 'HKDF',
      hash: 'SHA-256',
      salt: utf8.encode(rowId),
      info: utf8.encode(`idempotency: ${clientKey}`),
    },
    base,
    { name: 'AES-GCM', length: 256 },
    false,
    ['encrypt', 'decrypt'],
  )
}
