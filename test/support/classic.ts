import { expect } from 'vitest'
import { type Answer, call, type CallOptions } from './client.ts'
import { cheapHashing } from './sign-in.ts'

/** What every classic error says, except where the contract fixes the words. */
export const MESSAGE = { message: expect.stringMatching(/\S/) }

/** Calls a classic route as its clients do. */
export async function postClassic(
  path: string,
  body: unknown,
  options: CallOptions = {},
): Promise<Answer> {
  return await call('POST', path, { body, env: cheapHashing, ...options })
}

/** Expects this body, no member more or less, as plain JSON that nobody keeps. */
export function expectExactly(answer: Answer, status: number, body: unknown): void {
  expect({ status: answer.status, body: answer.body }).toEqual({ status, body })
  expect(answer.headers.get('content-type')).toBe('application/json')
  expect(answer.headers.get('cache-control')).toBe('no-store')
}
