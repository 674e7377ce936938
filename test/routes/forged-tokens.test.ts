import { env } from 'cloudflare:workers'
import { beforeAll, describe, expect, it } from 'vitest'
import { call, type CallOptions } from '../support/client.ts'
import { countStatements } from '../support/counting.ts'
import { makeDevice, makeUser } from '../support/fixtures.ts'
import { watchStates } from '../support/limits.ts'
import { fetchToken, postForm } from '../support/oauth.ts'
import { pathOf, routesFor } from '../support/route-table.ts'
import { signedByStranger, tampered } from '../support/tokens.ts'

const { database, statements } = countStatements(env.DB)
const { env: watched, calls } = watchStates()
const counted: CallOptions = { env: { ...watched, DB: database } }

/** Tokens with the `kid` of our own signing key and a signature that is not its. */
let forged: string[]

beforeAll(async () => {
  const user = await makeUser()
  const deviceToken = await fetchToken(await makeDevice(user))
  forged = [
    await signedByStranger(user.token),
    tampered(user.token, { sid: 'sess_other' }),
    await signedByStranger(deviceToken),
    tampered(deviceToken, { scope: '*' }),
  ]
})

describe('a made-up token that names our signing key costs a signature check and no I/O', () => {
  const routes = [...routesFor('access token'), ...routesFor('device secret')]

  it.each(routes)('$name', async (route) => {
    const path = pathOf(route, () => 'x')
    for (const token of forged) {
      const answer = await call(route.method, path, { ...counted, token, body: route.body })
      expect(answer.status).toBe(401)
    }
    expect([statements, calls]).toEqual([[], []])
  })

  it.each(['/oauth/introspect', '/oauth/revoke'])('POST %s, as the caller', async (path) => {
    for (const token of forged) {
      const bearer = { Authorization: `Bearer ${token}` }
      const answer = await postForm(path, { token }, bearer, counted.env)
      expect(answer.status).toBe(401)
    }
    expect([statements, calls]).toEqual([[], []])
  })
})
