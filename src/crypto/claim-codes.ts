import { drawBase62 } from '../domain/base62.ts'
import { CHECK_LENGTH, RANDOM_LENGTH } from '../domain/key-format.ts'
import { drawUserCode } from '../domain/user-code.ts'
import { sha256 } from './digest.ts'
import { type CheckSecrets, isCheckGenuine, makeCheck, makeMac } from './key-check.ts'
import { randomBytes } from './random.ts'

/** No key prefix holds a dash, so no secret is a device code, nor the other way round. */
const DEVICE_CODE_START = 'lkd-'
const DEVICE_CODE = new RegExp(
  `^(${DEVICE_CODE_START}[0-9A-Za-z]{${RANDOM_LENGTH}})([0-9A-Za-z]{${CHECK_LENGTH}})$`,
)

/** Nothing else that is authenticated under the check secrets begins so. */
const USER_CODE_LABEL = 'user code: '

/** The two codes of a claim (RFC 8628 §3.2), and what may be kept of them. */
type ClaimCodes = {
  readonly deviceCode: string
  readonly deviceCodeHash: string
  /** Without its dash. */
  readonly userCode: string
  readonly userCodeHmac: string
}

export async function makeClaimCodes(checks: CheckSecrets): Promise<ClaimCodes> {
  const unchecked = DEVICE_CODE_START + drawBase62(RANDOM_LENGTH, randomBytes)
  const deviceCode = unchecked + (await makeCheck(unchecked, checks[0]))
  const userCode = drawUserCode(randomBytes)
  const userCodeHmac = await makeMac(USER_CODE_LABEL + userCode, checks[0])
  return { deviceCode, deviceCodeHash: await sha256(deviceCode), userCode, userCodeHmac }
}

/** What is kept of a presented device code; undefined, without I/O, if we never made it. */
export async function hashDeviceCode(
  presented: string,
  checks: CheckSecrets,
): Promise<string | undefined> {
  const [, unchecked, check] = DEVICE_CODE.exec(presented) ?? []
  if (unchecked === undefined || check === undefined) return undefined
  if (!(await isCheckGenuine(unchecked, check, checks))) return undefined
  return await sha256(presented)
}

/** What may be kept of a user code: under any of the secrets, since the first may have changed. */
export async function userCodeHmacs(userCode: string, checks: CheckSecrets): Promise<string[]> {
  return await Promise.all(
    checks.map(async (secret) => await makeMac(USER_CODE_LABEL + userCode, secret)),
  )
}
