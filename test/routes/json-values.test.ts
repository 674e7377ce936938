import { describe, expect, it } from 'vitest'
import { answerClaim, askForCodes } from '../support/claims.ts'
import { type Answer, call, type CallOptions, pick } from '../support/client.ts'
import { expectProblem } from '../support/expectations.ts'
import { makeDevice, makeUser } from '../support/fixtures.ts'

/** Sends JSON that JavaScript itself could not write. */
async function send(method: string, path: string, token: string, raw: string): Promise<Answer> {
  const options: CallOptions = { token, raw, headers: { 'Content-Type': 'application/json' } }
  return await call(method, path, options)
}

/** Which fields a 400 names. One field may have several faults. */
function pointersOf({ status, body }: Answer): string[] {
  expect(status).toBe(400)
  const errors: unknown = typeof body === 'object' && body && 'errors' in body ? body.errors : []
  const faults: unknown[] = Array.isArray(errors) ? errors : []
  return [...new Set(faults.map((fault) => pick(fault, 'pointer')))]
}

/** What JSON.parse rounds, or makes Infinity of. */
const LOST = ['9007199254740993', '-9007199254740992', '1e20', '-1e20', '1e400', '-1e400']
const KEPT = ['9007199254740991', '-9007199254740991', '1.5', '1e3', '-0.25', '1e-7', '0']

describe('a number that JSON.parse cannot keep', () => {
  it.each(LOST)('%s is refused by its pointer, at any depth of metadata', async (number) => {
    const user = await makeUser()
    const { token } = user
    const metadata = `{"a":${number},"b":[1,{"c/d":[${number}]}],"e":${number.length}}`
    const made = await send('POST', '/v1/devices', token, `{"name":"x","metadata":${metadata}}`)
    expectProblem(made, 400, 'invalid_request', ['/metadata/a', '/metadata/b/1/c~1d/0'])
    const { id } = await makeDevice(user)
    const changed = await send('PATCH', `/v1/devices/${id}`, token, `{"metadata":${metadata}}`)
    expectProblem(changed, 400, 'invalid_request', ['/metadata/a', '/metadata/b/1/c~1d/0'])
  })

  it.each(LOST)('%s is refused in a report', async (number) => {
    const { secret } = await makeDevice(await makeUser())
    const raw = `{"report":{"counter":${number}}}`
    const answer = await send('POST', '/v1/device/check-ins', secret, raw)
    expectProblem(answer, 400, 'invalid_request', ['/report/counter'])
  })

  it.each(LOST)('%s is refused where a number is a limit or a time', async (number) => {
    const user = await makeUser()
    const { token } = user
    const key = `{"rate_limit":{"limit":${number},"window_seconds":60}}`
    const limit = await send('POST', '/v1/devices', token, `{"name":"x","key":${key}}`)
    expect(pointersOf(limit)).toEqual(['/key/rate_limit/limit'])
    const { id, keyId } = await makeDevice(user)
    const path = `/v1/devices/${id}/keys/${keyId}/rotate`
    const overlap = await send('POST', path, token, `{"overlap_seconds":${number}}`)
    expect(pointersOf(overlap)).toEqual(['/overlap_seconds'])
  })

  it('is named at most 20 times', async () => {
    const { token } = await makeUser()
    const list = Array.from({ length: 25 }, () => '1e400').join()
    const raw = `{"name":"x","metadata":{"list":[${list}]}}`
    const pointers = Array.from({ length: 20 }, (_, index) => `/metadata/list/${index}`)
    const answer = await send('POST', '/v1/devices', token, raw)
    expectProblem(answer, 400, 'invalid_request', pointers)
  })

  it('is not looked for in what no schema takes, however deep that is', async () => {
    const depth = 30_000
    const raw = `{"username":"x","password":"y","z":${'['.repeat(depth)}1e400${']'.repeat(depth)}}`
    const headers = { 'Content-Type': 'application/json' }
    expectProblem(await call('POST', '/v1/users', { raw, headers }), 400, 'invalid_request', [
      '/username',
      '/password',
      '/z',
    ])
    const classic = await call('POST', '/register', { raw, headers })
    expect(classic.status).toBe(400)
  })
})

describe('a number that JSON.parse keeps', () => {
  it.each(KEPT)('%s comes back as it was', async (number) => {
    const { token } = await makeUser()
    const raw = `{"name":"x","metadata":{"n":${number}}}`
    const { status, body } = await send('POST', '/v1/devices', token, raw)
    expect(status).toBe(201)
    expect(body).toMatchObject({ device: { metadata: { n: Number(number) } } })
  })
})

describe('an instant after the year 9999 in UTC', () => {
  const LATE = ['9999-12-31T23:59:59-23:59', '9999-12-31T23:59:59.999-00:01']
  const LAST = '9999-12-31T23:59:59.999Z'

  it.each(LATE)('%s is no expiry of a key: it could not be shown again', async (expiry) => {
    const user = await makeUser()
    const { token } = user
    const key = { expires_at: expiry }
    const made = await call('POST', '/v1/devices', { token, body: { name: 'x', key } })
    expectProblem(made, 400, 'invalid_request', ['/key/expires_at'])
    const { id, keyId } = await makeDevice(user)
    const added = await call('POST', `/v1/devices/${id}/keys`, { token, body: key })
    expectProblem(added, 400, 'invalid_request', ['/expires_at'])
    const changed = await call('PATCH', `/v1/devices/${id}/keys/${keyId}`, { token, body: key })
    expectProblem(changed, 400, 'invalid_request', ['/expires_at'])
    const { userCode } = await askForCodes()
    const approved = await answerClaim(user, { userCode }, { decision: 'approve', key })
    expectProblem(approved, 400, 'invalid_request', ['/key/expires_at'])
  })

  it.each(LATE)('%s is no end of a usage query', async (instant) => {
    const user = await makeUser()
    const { id } = await makeDevice(user)
    const query = new URLSearchParams({ to: instant }).toString()
    const answer = await call('GET', `/v1/devices/${id}/usage?${query}`, { token: user.token })
    expectProblem(answer, 400, 'invalid_request', ['/to'])
  })

  it('is refused, and the last instant before it is shown as it was set', async () => {
    const { token } = await makeUser()
    const body = { name: 'x', key: { expires_at: LAST } }
    const answer = await call('POST', '/v1/devices', { token, body })
    expect(answer.status).toBe(201)
    expect(answer.body).toMatchObject({ key: { expires_at: LAST } })
  })
})
