import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call, createdDevice, session } from './support/http-client.ts'
import { type Connection, headOf, openConnection, type SocketAnswer } from './support/raw-socket.ts'
import { startWorkerd, type Workerd } from './support/workerd.ts'

const JSON_TYPE = 'application/json'
const FORM_TYPE = 'application/x-www-form-urlencoded'
/** Said again here, so that no change of the Worker's own goes unnoticed. */
const BODY_MAX_BYTES = 64 * 1024
const PIECE_MS = 500

/** How a client says where a body ends (RFC 9112 §6). */
type Framing = {
  readonly framed: string
  readonly fields: (length: number) => Readonly<Record<string, string>>
  readonly frame: (piece: string) => string
  readonly end: string
}

const DECLARED: Framing = {
  framed: 'of a declared length',
  fields: (length) => ({ 'Content-Length': String(length) }),
  frame: (piece) => piece,
  end: '',
}

const CHUNKED: Framing = {
  framed: 'in chunks',
  fields: () => ({ 'Transfer-Encoding': 'chunked' }),
  frame: (piece) => `${piece.length.toString(16)}\r\n${piece}\r\n`,
  end: '0\r\n\r\n',
}

const FRAMINGS = [DECLARED, CHUNKED]

/** A path of each format in which errors are told. */
const DOORS = [
  {
    path: '/v1/users',
    sent: JSON_TYPE,
    shape: 'a problem document',
    type: 'application/problem+json',
    says: expect.objectContaining({ code: 'request_timeout', status: 408 }),
  },
  {
    path: '/oauth/token',
    sent: FORM_TYPE,
    shape: 'an OAuth error',
    type: JSON_TYPE,
    says: { error: 'invalid_request', error_description: expect.stringContaining('in time') },
  },
  {
    path: '/auth',
    sent: JSON_TYPE,
    shape: 'a message',
    type: JSON_TYPE,
    says: { message: expect.stringContaining('within 10 seconds') },
  },
  {
    path: '/claim',
    sent: FORM_TYPE,
    shape: 'a page',
    type: 'text/html; charset=UTF-8',
    says: expect.stringMatching(/^<!doctype html>.*within 10 seconds/s),
  },
]

const SLOW = DOORS.flatMap((door) => FRAMINGS.map((framing) => ({ ...door, ...framing })))

type Slow = (typeof SLOW)[number]
type SlowAnswer = SocketAnswer & { readonly afterMs: number }

let workerd: Workerd
let secret: string
/** All of them wait at the same time: one after the other would take 80 seconds. */
const slowAnswers = new Map<Slow, Promise<SlowAnswer>>()

beforeAll(async () => {
  workerd = await startWorkerd({ PASSWORD_HASH: 'pbkdf2' })
  const account = { username: 'owner', password: 'a password of the tests' }
  await call(`POST ${workerd.origin}/v1/users`, { body: account })
  const opened = await call(`POST ${workerd.origin}/v1/sessions`, { body: account })
  const { access_token: token } = session.parse(opened.body)
  const body = { name: 'sensor' }
  const created = await call(`POST ${workerd.origin}/v1/devices`, { token, body })
  secret = createdDevice.parse(created.body).api_key
  for (const slow of SLOW) slowAnswers.set(slow, trickleForever(slow))
})

afterAll(async () => {
  await workerd.stop()
})

/** Opens a connection and sends the head of a request, and what else it is given. */
function begin(
  route: string,
  fields: Readonly<Record<string, string>>,
  following = '',
): Connection {
  const connection = openConnection(workerd.port)
  connection.write(headOf(route, fields) + following)
  return connection
}

/** Sends a byte at a time until there is an answer, then waits for the server to hang up. */
async function trickleForever({ path, sent, fields, frame }: Slow): Promise<SlowAnswer> {
  const startedAt = performance.now()
  const connection = begin(`POST ${path}`, { 'Content-Type': sent, ...fields(1000) })
  const timer = setInterval(() => connection.write(frame('a')), PIECE_MS)
  try {
    const answer = await connection.answer
    const afterMs = performance.now() - startedAt
    await connection.closed
    return { ...answer, afterMs }
  } finally {
    clearInterval(timer)
  }
}

/** Sends a whole body in one go, and hangs up. */
async function post({ fields, frame, end }: Framing, body: string): Promise<SocketAnswer> {
  const all = { 'Content-Type': JSON_TYPE, ...fields(body.length) }
  const connection = begin('POST /v1/users', all, frame(body) + end)
  const answer = await connection.answer
  connection.destroy()
  return answer
}

function expectProblem({ status, text }: SocketAnswer, expected: number, code: string): void {
  expect({ status, body: JSON.parse(text) }).toMatchObject({ status: expected, body: { code } })
}

describe.each(FRAMINGS)('A body $framed', (framing) => {
  it('is taken when it trickles in and ends in time', async () => {
    const name = framing === DECLARED ? 'slow-declared' : 'slow-chunked'
    const body = JSON.stringify({ username: name, password: 'a password of the tests' })
    const fields = { 'Content-Type': JSON_TYPE, ...framing.fields(body.length) }
    const connection = begin('POST /v1/users', fields)
    for (const piece of body.match(/.{1,20}/g) ?? []) {
      await sleep(PIECE_MS)
      connection.write(framing.frame(piece))
    }
    connection.write(framing.end)
    const { status, text } = await connection.answer
    connection.destroy()
    expect({ status, body: JSON.parse(text) }).toMatchObject({
      status: 201,
      body: { username: name },
    })
  })

  it('of exactly 64 KiB is read, and judged by what it says', async () => {
    expectProblem(await post(framing, 'x'.repeat(BODY_MAX_BYTES)), 400, 'invalid_json')
  })
})

// A wait for the rest would end in a 408: no clock is needed to see that nobody waits.
describe('Without a wait for the rest of the body', () => {
  it('a declared length of more than 64 KiB is answered 413', async () => {
    const fields = { 'Content-Type': JSON_TYPE, ...DECLARED.fields(BODY_MAX_BYTES + 1) }
    const connection = begin('POST /v1/users', fields)
    expectProblem(await connection.answer, 413, 'body_too_large')
    connection.destroy()
    const next = await call(`GET ${workerd.origin}/healthz`)
    expect(next).toMatchObject({ status: 200, body: { status: 'ok' } })
  })

  it('nothing of a body that is refused for its length is taken for a request', async () => {
    const fields = { 'Content-Type': JSON_TYPE, ...DECLARED.fields(BODY_MAX_BYTES + 1) }
    const connection = begin('POST /v1/users', fields, headOf('GET /healthz', {}))
    expectProblem(await connection.answer, 413, 'body_too_large')
    expect((await connection.closed).match(/HTTP\/1\.1 /g)).toHaveLength(1)
  })

  it.each([
    ['that end', CHUNKED.end],
    ['that do not end', ''],
  ])('chunks %s and come to more than 64 KiB are answered 413', async (_, end) => {
    const fields = { 'Content-Type': JSON_TYPE, ...CHUNKED.fields(0) }
    const chunk = CHUNKED.frame('x'.repeat(BODY_MAX_BYTES + 1))
    const connection = begin('POST /v1/users', fields, chunk + end)
    expectProblem(await connection.answer, 413, 'body_too_large')
    connection.destroy()
  })

  // A proxy asks with the headers of a request whose body it keeps.
  it.each([
    ['GET', 401],
    ['POST', 401],
    ['GET', 204],
    ['POST', 204],
  ])('forward-auth answers a %s with a Content-Length and no body: %d', async (method, status) => {
    const credential: Readonly<Record<string, string>> =
      status === 204 ? { 'X-API-Key': secret } : {}
    const fields = { ...credential, ...DECLARED.fields(1000) }
    const connection = begin(`${method} /v1/forward-auth?owner=any`, fields)
    expect((await connection.answer).status).toBe(status)
    connection.destroy()
  })

  it.each(['GET', 'HEAD'])('a %s with a chunked body is answered', async (method) => {
    const fields = { 'X-API-Key': secret, ...CHUNKED.fields(0) }
    const connection = begin(`${method} /v1/device`, fields, CHUNKED.frame('a'))
    expect((await connection.answer).status).toBe(200)
    connection.destroy()
  })
})

it.each(SLOW)(
  'A body $framed to $path that never ends is answered 408 after ten seconds, with $shape',
  async (slow) => {
    const answer = await slowAnswers.get(slow)
    expect(answer?.status).toBe(408)
    expect(answer?.afterMs).toBeGreaterThan(9000)
    expect(answer?.headers.get('connection')).toBe('close')
    expect(answer?.headers.get('content-type')).toBe(slow.type)
    const text = answer?.text ?? ''
    expect(slow.type.includes('json') ? JSON.parse(text) : text).toEqual(slow.says)
  },
)
