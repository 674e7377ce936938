import { expect, vi } from 'vitest'
import { expectProblem } from './expectations.ts'
import type { TestUser } from './fixtures.ts'
import { actionsOf, nextOf, refresh } from './sign-in.ts'

export const MINUTE_MS = 60_000

/** The beginning of a minute. */
export const START = Date.UTC(2026, 11, 24, 12)

/** Sets the clock, which must be a fake one, in milliseconds after `START`. */
export function setClock(milliseconds: number): void {
  vi.setSystemTime(START + milliseconds)
}

/** Expects that the session of this refresh token goes on, and that no reuse was noticed in it. */
export async function expectAlive(user: TestUser, current: string): Promise<void> {
  await nextOf(await nextOf(current))
  expect(await actionsOf(user)).toEqual(['session.created'])
}

/** Expects that a refresh token ends its session, also for the current one, and is on record. */
export async function expectToEnd(user: TestUser, token: string, current: string): Promise<void> {
  expectProblem(await refresh(token), 401, 'revoked')
  expectProblem(await refresh(current), 401, 'revoked')
  expect(await actionsOf(user)).toEqual(['session.created', 'session.reuse_detected'])
}
