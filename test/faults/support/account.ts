import { session } from '../../conformance/support/http-client.ts'
import type { Client } from './ledger.ts'
import { perform, type Round } from './round.ts'
import { nothingToNote } from './step.ts'

const ACCOUNT = { username: 'owner', password: 'a password of the tests' }

/** Registers the one user. */
export async function register(round: Round, client: Client): Promise<void> {
  await perform(round, client, {
    name: 'register',
    sent: { route: 'POST /v1/users', body: ACCOUNT },
    expects: '201',
    action: 'user.created',
    settle: nothingToNote,
  })
}

/** Opens a session of the user, with the client's token from now on. */
export async function signIn(round: Round, client: Client): Promise<void> {
  await perform(round, client, {
    name: 'sign in',
    sent: { route: 'POST /v1/sessions', body: ACCOUNT },
    expects: '201',
    action: 'session.created',
    settle: (answer) => {
      client.token = session.parse(answer?.body).access_token
      return undefined
    },
  })
}

/** Uses the session that the client has. */
export async function useSession(round: Round, client: Client): Promise<void> {
  await perform(round, client, {
    name: 'use the session from before the kill',
    sent: { route: 'GET /v1/me', token: client.token },
    expects: '200',
    settle: nothingToNote,
  })
}
