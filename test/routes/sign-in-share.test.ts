import { describe, expect, it } from 'vitest'
import { call, freshIp } from '../support/client.ts'
import { PASSWORD } from '../support/fixtures.ts'
import { addFailures, failuresOf, guess } from '../support/guessing.ts'
import { cheapHashing, makeCheapUser } from '../support/sign-in.ts'

describe('an account at which somebody guesses', () => {
  it('lets one network in twice a minute, so that it locks nobody else out', async () => {
    const user = await makeCheapUser()
    await addFailures(user.id, { '192.0.2.1': 20 })
    const ip = freshIp()
    const statuses: number[] = []
    for (let time = 0; time < 8; time += 1) statuses.push((await guess({ ...user, ip })).status)
    expect(statuses).toEqual([401, 401, 429, 429, 429, 429, 429, 429])
    const own = await guess({ ...user, password: PASSWORD })
    expect(own.status).toBe(201)
  })

  it('knows none but its own network any more once it has another password', async () => {
    const user = await makeCheapUser()
    const [own, thief] = [freshIp(), freshIp()]
    for (const ip of [own, thief]) {
      expect((await guess({ ...user, password: PASSWORD, ip })).status).toBe(201)
    }
    const body = { current_password: PASSWORD, password: 'another horse, another battery' }
    const headers = { 'CF-Connecting-IP': own }
    const options = { token: user.token, body, headers, env: cheapHashing }
    expect((await call('PATCH', '/v1/me', options)).status).toBe(200)
    for (const ip of [own, thief]) await guess({ ...user, ip })
    expect(await failuresOf(user.id)).toEqual([{ network: thief, count: 1 }])
  })
})
