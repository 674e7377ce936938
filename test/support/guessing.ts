import { env } from 'cloudflare:workers'
import { type Answer, call, freshIp } from './client.ts'
import { cheapHashing } from './sign-in.ts'
import { execute, type Row, rowsOf } from './rows.ts'

const HOUR_MS = 3_600_000

export const thisHour = (): number => Math.floor(Date.now() / HOUR_MS) * HOUR_MS

type Attempt = {
  readonly username: string
  readonly password?: string
  readonly ip?: string
  readonly env?: Env
}

/** Signs in at POST /v1/sessions: with a wrong password, from a fresh address, unless told so. */
export async function guess({ username, password = 'wrong', ip, env }: Attempt): Promise<Answer> {
  return await call('POST', '/v1/sessions', {
    body: { username, password },
    env: env ?? cheapHashing,
    headers: { 'CF-Connecting-IP': ip ?? freshIp() },
  })
}

/** Puts failed sign-ins to an account on record, in one row for each network. */
export async function addFailures(
  userId: string,
  counts: Readonly<Record<string, number>>,
  hour = thisHour(),
): Promise<void> {
  for (const [network, count] of Object.entries(counts)) {
    await execute('insert into sign_in_failures values (?, ?, ?, ?)', userId, hour, network, count)
  }
}

/** The failed sign-ins to an account that are on record and not told yet. */
export async function failuresOf(userId: string): Promise<Row[]> {
  return await rowsOf(
    'select network, count from sign_in_failures where user_id = ? order by network',
    userId,
  )
}

/** The environment with this limiter of accounts. */
export function withAccountLimiter(limiter: RateLimit): Env {
  return { ...env, PASSWORD_HASH: 'pbkdf2', SIGN_IN_LIMITER_ACCOUNT: limiter }
}
