import { call, pick } from './client.ts'
import { makeDevice, makeUser, PASSWORD, setCheapPassword, type TestUser } from './fixtures.ts'
import { makeLimitedDevice, type WireLimits } from './limits.ts'
import { execute } from './rows.ts'
import { forgedFrom, resigned, signedByStranger, tampered, unissuedSecret } from './tokens.ts'

/** A credential that opens nothing, and the problem that says so. */
export type BadCredential = {
  readonly label: string
  readonly headers: Readonly<Record<string, string>>
  readonly code: string
}

/** What does not open a user's route. */
export async function badAccessTokens(): Promise<BadCredential[]> {
  const good = await makeUser()
  const device = await makeDevice(good)
  const ended = await makeUser()
  await call('DELETE', '/v1/sessions/current', { token: ended.token })
  const disabled = await makeUser()
  await execute('update users set disabled_at = 1 where id = ?', disabled.id)
  const deleted = await makeUser()
  await setCheapPassword(deleted, PASSWORD)
  await call('DELETE', '/v1/me', { token: deleted.token, body: { current_password: PASSWORD } })
  const other = await makeUser()
  const past = Math.floor(Date.now() / 1000) - 1
  return [
    { label: 'none', headers: {}, code: 'missing_credential' },
    bearer('empty', '', 'missing_credential'),
    bearer('malformed', 'not-a-token', 'invalid_credential'),
    { label: 'Basic', headers: { Authorization: 'Basic dTpw' }, code: 'invalid_credential' },
    { label: 'no scheme', headers: { Authorization: good.token }, code: 'invalid_credential' },
    { label: 'X-API-Key', headers: { 'X-API-Key': good.token }, code: 'missing_credential' },
    bearer('a forged signature', await signedByStranger(good.token), 'invalid_credential'),
    bearer('changed claims', tampered(good.token, { sub: other.id }), 'invalid_credential'),
    bearer('expired', await resigned(good.token, { exp: past }), 'expired'),
    bearer('of the page /claim', await resigned(good.token, FOR_CLAIMS), 'invalid_credential'),
    bearer('of an ended session', ended.token, 'revoked'),
    bearer('of a disabled user', disabled.token, 'disabled'),
    bearer('of a deleted user', deleted.token, 'revoked'),
    bearer("a device's secret", device.secret, 'invalid_credential'),
    bearer('a refresh token', await refreshTokenOf(good), 'invalid_credential'),
  ]
}

/**
 * What does not open a device's route. None of the secrets was used before it went bad.
 * @param limits of their keys
 */
export async function badDeviceSecrets(limits: WireLimits = {}): Promise<BadCredential[]> {
  const user = await makeUser()
  const good = await makeLimitedDevice(user, limits)
  const secretAfter = async (change: string, owner = user): Promise<string> => {
    const device = await makeLimitedDevice(owner, limits)
    await execute(
      `update ${change}`,
      change.includes('users') ? owner.id : change.includes('devices') ? device.id : device.keyId,
    )
    return device.secret
  }
  const deleted = await makeLimitedDevice(user, limits)
  await call('DELETE', `/v1/devices/${deleted.id}`, { token: user.token })
  const ownerDisabled = await secretAfter(
    'users set disabled_at = 1 where id = ?',
    await makeUser(),
  )
  const bad = [
    { label: 'none', headers: {}, code: 'missing_credential' },
    bearer('empty', '', 'missing_credential'),
    bearer('malformed', 'lk_short', 'invalid_credential'),
    bearer("another system's", 'f'.repeat(40), 'invalid_credential'),
    bearer('forged', forgedFrom(good.secret), 'invalid_credential'),
    bearer('cut short', good.secret.slice(0, -1), 'invalid_credential'),
    bearer('never issued', await unissuedSecret(), 'invalid_credential'),
    bearer("a user's access token", user.token, 'invalid_credential'),
    bearer('a refresh token', await refreshTokenOf(user), 'invalid_credential'),
    bearer('of a revoked key', await secretAfter(KEY_REVOKED), 'revoked'),
    bearer('a revoked one', await secretAfter(SECRET_REVOKED), 'revoked'),
    bearer('of an expired key', await secretAfter(KEY_EXPIRED), 'expired'),
    bearer('an expired one', await secretAfter(SECRET_EXPIRED), 'expired'),
    bearer('of a disabled key', await secretAfter(KEY_DISABLED), 'disabled'),
    bearer('of a disabled device', await secretAfter(DEVICE_DISABLED), 'disabled'),
    bearer('of a disabled owner', ownerDisabled, 'disabled'),
    bearer('of a deleted device', deleted.secret, 'revoked'),
  ]
  // The first use of a retired secret goes on record, which is one change that a refusal makes.
  for (const { headers } of bad) await call('GET', '/v1/device', { headers })
  return bad
}

const KEY_REVOKED = 'api_keys set revoked_at = 1 where id = ?'
const SECRET_REVOKED = 'key_secrets set revoked_at = 1 where key_id = ?'
const KEY_EXPIRED = 'api_keys set expires_at = 1 where id = ?'
const SECRET_EXPIRED = 'key_secrets set expires_at = 1 where key_id = ?'
const KEY_DISABLED = 'api_keys set disabled_at = 1 where id = ?'
const DEVICE_DISABLED = 'devices set disabled_at = 1 where id = ?'

const FOR_CLAIMS = { aud: 'urn:latchkey:claims' }

function bearer(label: string, token: string, code: string): BadCredential {
  return { label, headers: { Authorization: `Bearer ${token}` }, code }
}

async function refreshTokenOf(user: TestUser): Promise<string> {
  const body = { username: user.username, password: PASSWORD }
  return pick((await call('POST', '/v1/sessions', { body })).body, 'refresh_token')
}
