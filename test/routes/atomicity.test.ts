import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { call } from '../support/client.ts'
import { makeDevice, makeUser } from '../support/fixtures.ts'
import { dumpDatabase } from '../support/rows.ts'

/**
 * A database in whose next batch one statement fails when it runs, after those before it: what a
 * fault in the middle of a batch looks like.
 */
function failingAt(index: number): { readonly database: D1Database; readonly size: () => number } {
  let size = 0
  const database = new Proxy(env.DB, {
    get(target, property) {
      if (property === 'batch') {
        return async (statements: D1PreparedStatement[]): Promise<unknown> => {
          size = statements.length
          const failing = target.prepare("insert into audit_events (id) values ('incomplete')")
          return await target.batch(statements.toSpliced(index, 1, failing))
        }
      }
      const member: unknown = Reflect.get(target, property, target)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
  return { database, size: () => size }
}

describe('a change and its audit row are both there or neither', () => {
  it.each([
    ['creating a device', 'POST', '/v1/devices', { name: 'another' }],
    ['changing a device', 'PATCH', '/v1/devices/:id', { name: 'renamed' }],
    ['deleting a device', 'DELETE', '/v1/devices/:id', undefined],
    ['creating a key', 'POST', '/v1/devices/:id/keys', { name: 'another' }],
    ['changing a key', 'PATCH', '/v1/devices/:id/keys/:key', { scopes: ['a'], enabled: false }],
    ['rotating a key', 'POST', '/v1/devices/:id/keys/:key/rotate', { overlap_seconds: 60 }],
    ['revoking a key', 'DELETE', '/v1/devices/:id/keys/:key', undefined],
    ['ending a session', 'DELETE', '/v1/sessions/current', undefined],
  ])('when %s fails at any statement', async (_, method, pattern, body) => {
    const user = await makeUser()
    const device = await makeDevice(user)
    const path = pattern.replace(':id', device.id).replace(':key', device.keyId)
    const before = await dumpDatabase()
    let statements = 1
    for (let index = 0; index < statements; index += 1) {
      const { database, size } = failingAt(index)
      const answer = await call(method, path, {
        token: user.token,
        body,
        env: { ...env, DB: database },
      })
      statements = size()
      expect(statements).toBeGreaterThan(1)
      expect(answer.status).toBe(500)
      expect(await dumpDatabase()).toBe(before)
    }
    const answer = await call(method, path, { token: user.token, body })
    expect(answer.status).toBeLessThan(300)
    expect(await dumpDatabase()).not.toBe(before)
  })
})
