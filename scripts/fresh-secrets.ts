import { generateKeyPairSync, randomBytes } from 'node:crypto'

/** Fresh values of the secrets that src/settings.ts requires, as dotenv lines. */
export function makeSecretLines(): string {
  // Ids tell rotated secrets apart: the day for the reader, the rest for two of one day.
  const id = `${new Date().toISOString().slice(0, 10)}-${randomBytes(4).toString('hex')}`
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const signingKey = { ...privateKey.export({ format: 'jwk' }), alg: 'ES256', kid: id }
  const checkSecret = { id, key: randomBytes(32).toString('base64url') }
  return (
    `SIGNING_KEYS='${JSON.stringify({ keys: [signingKey] })}'\n` +
    `KEY_CHECK_SECRETS='${JSON.stringify([checkSecret])}'\n`
  )
}
