import { Unavailable } from '../domain/unavailable.ts'

/**
 * Charges one of the platform's limiters.
 * @returns whether the caller may go on
 * @throws Unavailable when the limiter does not answer
 */
export async function chargeLimiter(limiter: RateLimit, key: string): Promise<boolean> {
  try {
    return (await limiter.limit({ key })).success
  } catch (cause) {
    throw new Unavailable('a limiter did not answer', { cause })
  }
}
