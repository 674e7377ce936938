import { isIPv4, isIPv6 } from 'node:net'
import { parseArgs } from 'node:util'
import { isOwner } from '../../src/domain/owner.ts'
import { isLiteralScope, SCOPES_MAX } from '../../src/domain/scopes.ts'

export const USAGE = `usage: npm run --silent forward-auth -- --proxy <nginx, caddy, traefik, haproxy or haproxy-lua>
  --owner <id of a user, or any> [--scope <scope>]… [--audience <URI>] [--latchkey <origin>]
  [--api <host>:<port>] [--host <name>] [--no-preflights]`

/** What a proxy's file is written for. No value holds what could end a word of any file. */
export type Options = {
  readonly owner: string
  readonly scopes: readonly string[]
  /** undefined: Latchkey's PUBLIC_URL. */
  readonly audience: string | undefined
  readonly latchkey: URL
  /** `host:port` of the API. */
  readonly api: string
  /** The name under which clients reach the API. */
  readonly host: string
  readonly hasPreflights: boolean
}

const DEFAULTS = {
  latchkey: 'https://keys.example.com',
  api: '127.0.0.1:3000',
  host: 'api.example.com',
} as const

const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?'
const HOST_NAME = new RegExp(`^(?=.{1,253}$)${LABEL}(?:\\.${LABEL})*$`)
const ADDRESS = /^(?<host>[^:[\]]+|\[[^[\]]+\]):(?<port>[1-9]\d{0,4})$/
const PORT_MAX = 65_535

/** RFC 3986 §2, without the quotes, the fragment and what is not ASCII. */
const PLAIN_URI = /^[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9\-._~:/?[\]@!$&()*+,;=%]+$/
const AUDIENCE_MAX_CHARACTERS = 512

/** @throws Error saying which argument is wrong, and what was expected */
export function readOptions(args: readonly string[]): { proxy: string; options: Options } {
  const { values } = parseArgs({
    args: [...args],
    options: {
      proxy: { type: 'string' },
      owner: { type: 'string' },
      scope: { type: 'string', multiple: true, default: [] },
      audience: { type: 'string' },
      latchkey: { type: 'string', default: DEFAULTS.latchkey },
      api: { type: 'string', default: DEFAULTS.api },
      host: { type: 'string', default: DEFAULTS.host },
      'no-preflights': { type: 'boolean', default: false },
    },
  })
  const { proxy, owner, scope: scopes, audience, latchkey, api, host } = values
  if (proxy === undefined) throw new Error('--proxy is missing')
  if (owner === undefined || !isOwner(owner)) {
    throw new Error(`--owner must be the id of a user, user_…, or any`)
  }
  if (scopes.length > SCOPES_MAX) throw new Error(`--scope may be given ${SCOPES_MAX} times`)
  if (!scopes.every(isLiteralScope)) throw new Error('--scope must be a scope without *')
  if (audience !== undefined && !isPlainUri(audience)) {
    throw new Error('--audience must be an absolute URI without a fragment, spaces or quotes')
  }
  if (!isAddress(api)) throw new Error('--api must be <host>:<port>, such as 127.0.0.1:3000')
  if (!HOST_NAME.test(host)) throw new Error('--host must be a host name in lower case')
  const hasPreflights = !values['no-preflights']
  const options = { owner, scopes, audience, latchkey: readOrigin(latchkey), api, host }
  return { proxy, options: { ...options, hasPreflights } }
}

function isPlainUri(text: string): boolean {
  return text.length <= AUDIENCE_MAX_CHARACTERS && PLAIN_URI.test(text) && URL.canParse(text)
}

function isAddress(text: string): boolean {
  const { host = '', port } = ADDRESS.exec(text)?.groups ?? {}
  const isHost = HOST_NAME.test(host) || (host.startsWith('[') && isIPv6(host.slice(1, -1)))
  return isHost && Number(port) <= PORT_MAX
}

/** Secrets go to it: over plain HTTP only where they do not leave the machine. */
function readOrigin(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isSafe = url?.protocol === 'https:' || (url?.protocol === 'http:' && isLoopback(url))
  const name = url?.hostname ?? ''
  const isName = HOST_NAME.test(name) || isIPv4(name) || isIPv6(name.slice(1, -1))
  if (url === undefined || !isSafe || !isName || url.origin !== text.replace(/\/$/, '')) {
    throw new Error('--latchkey must be an https origin such as https://keys.example.com')
  }
  return url
}

function isLoopback({ hostname }: URL): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.[\d.]+$/.test(hostname)
}

/** `/v1/forward-auth` with all that it is asked. */
export function questionOf({ owner, scopes, audience }: Options): string {
  const audiences = audience === undefined ? [] : [`audience=${encodeStrictly(audience)}`]
  const asked = [`owner=${owner}`, ...scopes.map((scope) => `scope=${scope}`), ...audiences]
  return `/v1/forward-auth?${asked.join('&')}`
}

/** Nothing but letters, digits, `-`, `_`, `.`, `~` and `%`. */
function encodeStrictly(text: string): string {
  return encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}

/** The command that writes the same file again: what is as by default is left out. */
export function commandFor(proxy: string, options: Options): string {
  const { owner, scopes, audience, latchkey, api, host, hasPreflights } = options
  return [
    `npm run --silent forward-auth -- --proxy ${proxy} --owner ${owner}`,
    ...scopes.map((scope) => `--scope ${scope}`),
    ...(audience === undefined ? [] : [`--audience '${audience}'`]),
    ...(latchkey.origin === DEFAULTS.latchkey ? [] : [`--latchkey ${latchkey.origin}`]),
    ...(api === DEFAULTS.api ? [] : [`--api ${api}`]),
    ...(host === DEFAULTS.host ? [] : [`--host ${host}`]),
    ...(hasPreflights ? [] : ['--no-preflights']),
  ].join(' ')
}
