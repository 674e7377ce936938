import { limitedNetwork } from '../../domain/network.ts'
import { chargeLimiter } from '../charge-limiter.ts'

/**
 * Charges one look at a typed code (RFC 8628 §5.1): 10 a minute for an address and for a user, so
 * that neither many users nor many addresses make guessing quicker than the sum of both.
 * @returns whether the attempt may go on
 */
export async function chargeClaimAttempt(
  limiter: RateLimit,
  { ip, userId }: { readonly ip: string | null; readonly userId: string },
): Promise<boolean> {
  const byIp = await chargeLimiter(limiter, limitedNetwork(ip ?? 'none'))
  return byIp && (await chargeLimiter(limiter, userId))
}

/**
 * Charges one request for codes, by a caller who is nobody yet.
 * @returns whether the request may go on
 */
export async function chargeClaimRequest(limiter: RateLimit, ip: string | null): Promise<boolean> {
  return await chargeLimiter(limiter, limitedNetwork(ip ?? 'none'))
}
