import { describe, expect, it } from 'vitest'
import { readAuthorization, readDeviceCredential } from '../../src/http/auth/credential.ts'

const S = 'lk_abc'
const good = (value: string) => ({ ok: true, value })
const bad = (reason: string) => ({ ok: false, reason })
const inAuthorization = (value: string) =>
  readDeviceCredential(new Headers({ Authorization: value }))

describe('the places of a credential', () => {
  it.each<[string, string, string]>([
    ['Authorization', `Bearer ${S}`, S],
    ['Authorization', `ApiKey ${S}`, S],
    ['authorization', `bearer ${S}`, S],
    ['AUTHORIZATION', `APIKEY ${S}`, S],
    ['Authorization', `  Bearer  ${S}  `, S],
    ['Authorization', 'Bearer !a,b=~', '!a,b=~'],
    ['X-API-Key', S, S],
    ['x-api-key', ` ${S} `, S],
  ])('%s: %s', (name, value, credential) => {
    expect(readDeviceCredential(new Headers({ [name]: value }))).toEqual(good(credential))
  })

  it.each([
    ...`${S}|Basic ${S}|JWT ${S}|Bearers ${S}|XBearer ${S}|Bearer: ${S}|Bearer ${S} x`.split('|'),
    ...`Bearer\t${S}|Bearer é|Bearer,${S}`.split('|'),
  ])('malformed: Authorization %j', (value) => {
    expect(inAuthorization(value)).toEqual(bad('malformed'))
  })

  it('takes a text from the body where it is handed on, and calls anything else malformed', () => {
    expect(readDeviceCredential(new Headers())).toEqual(bad('missing'))
    expect(readDeviceCredential(new Headers(), S)).toEqual(good(S))
    expect(readDeviceCredential(new Headers(), '')).toEqual(good(''))
    for (const field of [null, 7, 0, false, true, [S], { [S]: S }]) {
      expect(readDeviceCredential(new Headers(), field)).toEqual(bad('malformed'))
    }
  })

  it.each(['', 'Bearer', 'Bearer ', 'bearer', 'APIKEY  '])(
    'an Authorization of %j presents nothing',
    (value) => {
      expect(inAuthorization(value)).toEqual(bad('missing'))
      const beside = new Headers({ Authorization: value, 'X-API-Key': S })
      expect(readDeviceCredential(beside)).toEqual(good(S))
    },
  )

  it('an empty X-API-Key presents nothing', () => {
    expect(readDeviceCredential(new Headers({ 'X-API-Key': '' }))).toEqual(bad('missing'))
    const beside = new Headers({ Authorization: `Bearer ${S}`, 'X-API-Key': '' })
    expect(readDeviceCredential(beside)).toEqual(good(S))
  })

  it.each<[string, Record<string, string>, unknown]>([
    ['both headers', { Authorization: `Bearer ${S}`, 'X-API-Key': S }, undefined],
    ['Authorization and body', { Authorization: `Bearer ${S}` }, S],
    ['X-API-Key and body', { 'X-API-Key': S }, S],
    ['all three', { Authorization: `Bearer ${S}`, 'X-API-Key': S }, S],
    ['a bad one and a good one', { Authorization: 'Bearer x', 'X-API-Key': S }, undefined],
    ['a good one and null', { 'X-API-Key': S }, null],
    ['Bearer twice', { Authorization: `Bearer ${S}, Bearer ${S}` }, undefined],
    ['Bearer and Basic', { Authorization: `Bearer ${S}, Basic x` }, undefined],
    ['X-API-Key twice', { 'X-API-Key': `${S}, ${S}` }, undefined],
  ])('several: %s', (_, headers, field) => {
    expect(readDeviceCredential(new Headers(headers), field)).toEqual(bad('several'))
  })

  it('one: beside another scheme, which is a proxy’s', () => {
    const headers = new Headers({ Authorization: 'Basic eDp5', 'X-API-Key': S })
    expect(readDeviceCredential(headers)).toEqual({ ok: true, value: S })
  })

  it('several: a header that was sent twice', () => {
    for (const [name, value] of Object.entries({ Authorization: `ApiKey ${S}`, 'X-API-Key': S })) {
      const headers = new Headers()
      headers.append(name, value)
      headers.append(name, value)
      expect(readDeviceCredential(headers)).toEqual(bad('several'))
    }
  })

  it('reads the schemes that are asked for, and no other', () => {
    expect(readAuthorization('JWT a.b.c', ['jwt', 'bearer'])).toEqual(good('a.b.c'))
    expect(readAuthorization('ApiKey a.b.c', ['jwt', 'bearer'])).toEqual(bad('malformed'))
  })
})
