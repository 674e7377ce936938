import { reachOfWildcard } from '../domain/scopes.ts'
import { showUserCode } from '../domain/user-code.ts'
import type { Claim } from '../services/claims/find-claim.ts'

/** The forms of /claim. They work without scripts, and carry in fields what a cookie would. */

/** What somebody must type: who they are, and the code that the device shows. */
export function SignInForm({ code, fault }: { code: string; fault?: string | undefined }) {
  return (
    <form method="post" action="/claim">
      <Fault text={fault} />
      <p>Sign in and type the code that the device shows.</p>
      <label for="username">Username</label>
      <input
        id="username"
        name="username"
        type="text"
        autocomplete="username"
        autocapitalize="none"
        spellcheck={false}
        required
      />
      <label for="password">Password</label>
      <input
        id="password"
        name="password"
        type="password"
        autocomplete="current-password"
        required
      />
      <label for="user_code">Code on the device</label>
      <input
        id="user_code"
        name="user_code"
        type="text"
        class="code"
        value={code}
        placeholder="XXXX-XXXX"
        autocomplete="off"
        autocapitalize="characters"
        spellcheck={false}
        required
      />
      <button type="submit">Continue</button>
    </form>
  )
}

/** What the device says of itself, what is known of it, and the two answers. */
export function DecisionForm({
  claim,
  userCode,
  accessToken,
  isNearby,
  fault,
}: {
  claim: Claim
  userCode: string
  /** Opens nothing but this page. Its session was opened here, and the answer ends it. */
  accessToken: string
  /** Whether the request came from the network that the user is in. */
  isNearby: boolean
  fault?: string | undefined
}) {
  return (
    <form method="post" action="/claim">
      <Fault text={fault} />
      <p class="notice">
        <strong>Approve only if the device in front of you shows this code</strong>:{' '}
        <strong class="code">{showUserCode(userCode)}</strong>
      </p>
      <Facts claim={claim} isNearby={isNearby} />
      <input type="hidden" name="access_token" value={accessToken} />
      <input type="hidden" name="user_code" value={showUserCode(userCode)} />
      <label for="name">Name of the new device</label>
      <input
        id="name"
        name="name"
        type="text"
        value={claim.deviceName ?? claim.clientId}
        autocomplete="off"
        required
      />
      <Scopes asked={claim.scopes} />
      <label>
        <input type="checkbox" name="self_rotation" value="on" />
        It may replace its own key
      </label>
      <button type="submit" name="decision" value="approve">
        Approve
      </button>
      <button type="submit" name="decision" value="deny" formnovalidate>
        Deny
      </button>
    </form>
  )
}

function Facts({ claim, isNearby }: { claim: Claim; isNearby: boolean }) {
  return (
    <>
      <p>The device says of itself, and nobody has checked:</p>
      <dl>
        <dt>Name</dt>
        <dd>{claim.deviceName ?? 'none'}</dd>
        <dt>Model</dt>
        <dd>{claim.clientId}</dd>
      </dl>
      <p>Its request came from:</p>
      <dl>
        <dt>IP address</dt>
        <dd>
          {claim.ip ?? 'unknown'} ({isNearby ? 'your own network' : 'not the network you are in'})
        </dd>
        <dt>Country</dt>
        <dd>{countryName(claim.country)}</dd>
        <dt>Time</dt>
        <dd>
          <time datetime={new Date(claim.createdAt).toISOString()}>
            {new Date(claim.createdAt).toUTCString()}
          </time>
        </dd>
      </dl>
    </>
  )
}

function Scopes({ asked }: { asked: readonly string[] }) {
  if (asked.length === 0) {
    return (
      <>
        <label for="scopes">Scopes of its key, with spaces between (it asks for none)</label>
        <input id="scopes" name="scopes" type="text" autocomplete="off" spellcheck={false} />
      </>
    )
  }
  return (
    <fieldset>
      <legend>It asks for these scopes</legend>
      {asked.map((scope, index) => (
        <Scope name={`scope.${index}`} scope={scope} />
      ))}
    </fieldset>
  )
}

/** A scope that is asked for. Who gives a wildcard has to tick it, and is told what it covers. */
function Scope({ name, scope }: { name: string; scope: string }) {
  const reach = reachOfWildcard(scope)
  return (
    <label>
      <input type="checkbox" name={name} value={scope} checked={reach === undefined} />
      {scope}
      {reach === undefined ? null : <strong> ({reach})</strong>}
    </label>
  )
}

function Fault({ text }: { text: string | undefined }) {
  return text === undefined ? null : (
    <p role="alert" class="notice">
      {text}
    </p>
  )
}

/** A country's name in English beside its two letters. T1 is the edge's word for Tor. */
function countryName(code: string | null): string {
  if (code === null) return 'unknown'
  if (code === 'T1') return 'unknown (Tor)'
  const name = new Intl.DisplayNames(['en'], { type: 'region' }).of(code)
  return name === undefined || name === code ? code : `${name} (${code})`
}
