import { isOwner, type Owner } from '../domain/owner.ts'
import { err, ok, type Result } from '../domain/result.ts'
import { isLiteralScope, SCOPES_MAX } from '../domain/scopes.ts'
import { admit } from '../http/auth/admit.ts'
import { DEVICE_CREDENTIAL_PLACES, readDeviceCredential } from '../http/auth/credential.ts'
import { CREDENTIAL } from '../http/auth/doors.ts'
import { refusedCredential } from '../http/auth/refuse.ts'
import { refused, verifyPresented } from '../http/auth/verify-presented.ts'
import { factory } from '../http/env.ts'
import { problem } from '../http/problem.ts'
import { PROBLEMS } from '../http/problems.ts'
import type { Verified } from '../services/verify/verify-key.ts'
import type { Settings } from '../settings.ts'

/** What stands in a header that has nothing to say: some proxies drop an empty one. */
const NOTHING = '-'

const OWNER_FORMS = 'write `owner=user_…` for the devices of one, `owner=any` for all'

const PARAMETERS: ReadonlySet<string> = new Set(['scope', 'owner', 'audience'])

/**
 * A proxy asks: may this request pass? nginx, Caddy and Traefik send its headers, with a method of
 * their choosing and without its body, and pass on what the 204 says of the device. Proxies make
 * 500 of most statuses, so what elsewhere is a 400 is a 401 or a 403 here.
 */
export const forwardAuth = factory.createApp().all('/v1/forward-auth', async (c) => {
  // The fault is the operator's, in the URL that the proxy calls. Nobody passes until it is mended.
  const asked = readAsked(new URL(c.req.url).searchParams, c.var.settings)
  if (!asked.ok) {
    c.var.isolate.log.note('forward-auth-misconfigured', c.var.now)
    return problem(c, 'misconfigured_proxy', { detail: asked.reason })
  }
  const presented = readDeviceCredential(c.req.raw.headers)
  if (!presented.ok) {
    if (presented.reason !== 'several') {
      return refusedCredential(c, presented.reason, DEVICE_CREDENTIAL_PLACES)
    }
    return problem(c, 'invalid_credential', { detail: PROBLEMS.several_credentials.meaning })
  }

  const ctx = admit(c, CREDENTIAL)
  const verified = await verifyPresented(c, ctx, presented.value, asked.value)
  if (!verified.valid) return refused(c, verified, asked.value.scopes)
  return c.body(null, 204, identityHeaders(verified))
})

type Asked = {
  readonly scopes: readonly string[]
  readonly owner: Owner
  readonly audience: string
}

/** What the proxy's operator wants of a device, or what is wrong with how that is asked. */
function readAsked(query: URLSearchParams, settings: Settings): Result<Asked, string> {
  for (const name of query.keys()) {
    if (!PARAMETERS.has(name)) {
      return err('The URL takes `scope`, `owner` and `audience` and no other parameter.')
    }
  }
  const scopes = query.getAll('scope')
  if (scopes.length > SCOPES_MAX) return err(`The URL names more than ${SCOPES_MAX} scopes.`)
  if (!scopes.every(isLiteralScope)) return err('A `scope` in the URL is not a scope without `*`.')

  const [owner, ...otherOwners] = query.getAll('owner')
  if (owner === undefined) return err(`The URL does not say whose devices pass: ${OWNER_FORMS}.`)
  if (otherOwners.length > 0) return err('The URL names more than one `owner`.')
  if (!isOwner(owner)) {
    return err(`The \`owner\` in the URL is not the id of a user: ${OWNER_FORMS}.`)
  }

  const [audience = settings.publicUrl, ...otherAudiences] = query.getAll('audience')
  if (otherAudiences.length > 0) return err('The URL names more than one `audience`.')
  if (!settings.deviceTokenAudiences.includes(audience)) {
    return err('No token is for the `audience` in the URL: DEVICE_TOKEN_AUDIENCES lists them.')
  }
  return ok({ scopes, owner, audience })
}

/** Always all five: a proxy that is to copy one that is missing may keep the client's own. */
function identityHeaders({ ownerId, policy: { device, key } }: Verified): Record<string, string> {
  return {
    'X-Device-Id': device.id,
    // Names are Unicode, header values are not.
    'X-Device-Name': encodeURIComponent(device.name),
    'X-Owner-Id': ownerId,
    'X-Key-Id': key.id,
    'X-Device-Scopes': key.scopes.join(' ') || NOTHING,
  }
}
