import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { countStatements } from '../support/counting.ts'
import { call } from '../support/client.ts'
import { makeDevice, makeUser } from '../support/fixtures.ts'

describe('the cost of a verify', () => {
  it('is one statement for a genuine secret and none for a forged one', async () => {
    const device = await makeDevice(await makeUser())
    const counted = countStatements(env.DB)
    const wrapped = { ...env, DB: counted.database }

    const genuine = await call('GET', '/v1/device', { token: device.secret, env: wrapped })
    expect(genuine.status).toBe(200)
    expect(counted.statements).toHaveLength(1)

    const last = device.secret.endsWith('0') ? '1' : '0'
    const forged = await call('GET', '/v1/device', {
      token: device.secret.slice(0, -1) + last,
      env: wrapped,
    })
    expect(forged.status).toBe(401)
    expect(forged.body).toMatchObject({ code: 'invalid-credential' })
    expect(counted.statements).toHaveLength(1)
  })
})
