import { beforeAll, describe, expect, it } from 'vitest'
import { newId } from '../../src/crypto/ids.ts'
import { answerClaim } from '../support/claims.ts'
import { type Answer, pick } from '../support/client.ts'
import { makeDevice, makeUser, type TestDevice, type TestUser } from '../support/fixtures.ts'
import { basic, expectOAuthError, postForm } from '../support/oauth.ts'
import { countRows } from '../support/rows.ts'

const ASK = '/oauth/device_authorization'
const DEVICE_CODE = 'urn:ietf:params:oauth:grant-type:device_code'

type Fields = Readonly<Record<string, string>>

let user: TestUser
let device: TestDevice
let other: TestDevice

beforeAll(async () => {
  user = await makeUser()
  device = await makeDevice(user)
  other = await makeDevice(user)
})

const credentialOf = ({ id, secret }: TestDevice) => basic(id, secret)

/** The device code of a claim that the user approves. */
async function approvedCode(fields: Fields, headers: Fields = {}): Promise<string> {
  const { body } = await postForm(ASK, fields, headers)
  await answerClaim(user, { userCode: pick(body, 'user_code') })
  return pick(body, 'device_code')
}

async function pollFor(device_code: string, fields: Fields, headers?: Fields): Promise<Answer> {
  const sent = { grant_type: DEVICE_CODE, device_code, ...fields }
  return await postForm('/oauth/token', sent, headers)
}

describe('RFC 8628 §3.4: a claim that a device asked for with its secret', () => {
  it('is polled for with that secret, in the header or in the form', async () => {
    for (const [fields, headers] of [
      [{}, credentialOf(device)],
      [{ client_id: device.id, client_secret: device.secret }, {}],
    ] as const) {
      const code = await approvedCode({}, credentialOf(device))
      expect((await pollFor(code, fields, headers)).status).toBe(200)
    }
  })

  it('gives nothing to who knows the code and the id, and not the secret', async () => {
    const code = await approvedCode({}, credentialOf(device))
    for (const client_id of [device.id, 'acme-thermo-2']) {
      expectOAuthError(await pollFor(code, { client_id }), 401, 'invalid_client')
    }
    expect((await pollFor(code, {}, credentialOf(device))).status).toBe(200)
  })

  it('gives nothing to another device of the same owner', async () => {
    const code = await approvedCode({}, credentialOf(device))
    expectOAuthError(await pollFor(code, {}, credentialOf(other)), 401, 'invalid_client')
    expect((await pollFor(code, {}, credentialOf(device))).status).toBe(200)
  })
})

describe('a claim that was asked for without a credential', () => {
  it('gives nothing to a device that polls with its own', async () => {
    const code = await approvedCode({ client_id: 'acme' })
    expectOAuthError(await pollFor(code, {}, credentialOf(device)), 400, 'invalid_grant')
    expect((await pollFor(code, { client_id: 'acme' })).status).toBe(200)
  })
})

describe("a client_id of the form of a device's id", () => {
  it.each(['of a device', 'of no device', 'in upper case'])(
    'is refused without a secret, before a claim is made or looked for: one %s',
    async (which) => {
      const made = newId('dev')
      const client_id =
        which === 'of a device' ? device.id : which === 'of no device' ? made : made.toUpperCase()
      const count = await countRows('device_claims', 'true')
      expectOAuthError(await postForm(ASK, { client_id }), 401, 'invalid_client')
      expectOAuthError(await pollFor('made-up', { client_id }), 401, 'invalid_client')
      expect(await countRows('device_claims', 'true')).toBe(count)
    },
  )

  it('is only that: other words that begin so are taken', async () => {
    for (const client_id of ['dev_', 'dev_board', `${newId('dev')}x`]) {
      expect((await postForm(ASK, { client_id })).status).toBe(200)
    }
  })
})
