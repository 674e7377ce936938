import * as z from 'zod'
import { drawQuota, policyOf } from './device-steps.ts'
import { type Claim, type Client, makeDevice, makeKey } from './ledger.ts'
import type { Step } from './step.ts'

const CLIENT_ID = 'acme-thermo-2'
const GRANT_TYPE = 'urn:ietf:params:oauth:grant-type:device_code'

const codes = z.object({ device_code: z.string(), user_code: z.string() })
const grant = z.object({ access_token: z.string(), device_id: z.string(), key_id: z.string() })

/** A device that holds nothing asks for its codes. */
export function askForCodes(client: Client): Step {
  const form = { client_id: CLIENT_ID, device_name: `${client.name}-${client.operations}` }
  return {
    name: 'ask for codes',
    sent: { route: 'POST /oauth/device_authorization', form },
    expects: '200',
    settle: (answer) => {
      if (answer === undefined) return
      const { device_code: deviceCode, user_code: userCode } = codes.parse(answer.body)
      client.claims.push({ userCode, deviceCode, quota: drawQuota(client), isApproved: false })
    },
  }
}

/** What comes next of a claim: the user's approval, then the poll that hands the secret out. */
export function nextOfClaim(client: Client, claim: Claim): Step {
  return claim.isApproved ? poll(client, claim) : approve(client, claim)
}

function approve(client: Client, claim: Claim): Step {
  const body = { decision: 'approve', key: policyOf(claim.quota) }
  return {
    name: 'approve a claim',
    sent: { route: `POST /v1/claims/${claim.userCode}`, token: client.token, body },
    expects: '200',
    action: 'claim.approved',
    settle: () => {
      claim.isApproved = true
    },
  }
}

function poll(client: Client, claim: Claim): Step {
  const { deviceCode: device_code, quota } = claim
  return {
    name: 'poll',
    sent: {
      route: 'POST /oauth/token',
      form: { grant_type: GRANT_TYPE, client_id: CLIENT_ID, device_code },
    },
    expects: '200',
    action: 'device.created',
    settle: (answer) => {
      client.claims.splice(client.claims.indexOf(claim), 1)
      if (answer === undefined) return
      const { access_token: secret, device_id, key_id } = grant.parse(answer.body)
      client.devices.push(makeDevice(device_id, makeKey(key_id, secret, quota)))
    },
  }
}
