import {
  CREDENTIALS,
  HTTP2_SETTINGS,
  IDENTITY,
  PREFLIGHT,
  TUNNEL_METHOD,
  UPGRADE,
} from './description.ts'
import { commandFor, type Options, questionOf } from './options.ts'

const { field: UPGRADING, protocol: WEBSOCKET } = UPGRADE

/** Traefik's own `forwardAuth` asks Latchkey. */
export function traefik(options: Options): string {
  const { host, hasPreflights } = options
  const guarded = `${matcher('Host', host)} && !${matcher('Method', TUNNEL_METHOD)}`
  return `# Traefik in front of your API: dynamic configuration, for Traefik 3.7.12 or later, by its
# documentation (it was not run). Written by
# ${commandFor('traefik', options)}
# In the static configuration set for the entry point, or X.Device.Id, which some applications read
# as X-Device-Id, reaches the API:
#   entryPoints: { websecure: { address: ':443', http: { tls: {}, aliasHeadersStrategy: delete } } }
http:
  routers:
    # ${TUNNEL_METHOD} makes a tunnel, in which nobody is asked and nothing is deleted.
    api:
      rule: ${guarded}
      # In this order.
      middlewares: [no-upgrade, no-identity-of-its-own, latchkey]
      service: api

    # The longest rule goes first.
    websockets:
      rule: >-
        ${guarded}
        && ${matcher('HeaderRegexp', UPGRADING, `(?i)^${WEBSOCKET}$`)}
      middlewares: [websocket-only, no-identity-of-its-own, latchkey]
      service: api
${hasPreflights ? preflights(host) : ''}
${middlewares(options)}`
}

function preflights(host: string): string {
  const { method, fields, absent } = PREFLIGHT
  const rule = [
    `${matcher('Host', host)} && ${matcher('Method', method)}`,
    ...fields.map((name) => matcher('HeaderRegexp', name, '.')),
    ...absent.map((name) => `!${matcher('HeaderRegexp', name, '.*')}`),
  ]
  return `
    # CORS preflights: browsers send them without a key, so the API gets them unasked, with no
    # identity. If no page calls your API, delete this block.
    preflights:
      rule: >-
        ${rule.join('\n        && ')}
      middlewares: [no-upgrade, no-identity-of-its-own]
      service: api
    # End of the CORS preflights.
`
}

function middlewares(options: Options): string {
  const { latchkey, api } = options
  return `  middlewares:
    # WebSockets pass; no other upgrade does: after the API's 101 nobody is asked and nothing is
    # deleted. Of two ${UPGRADING} headers the first might be another, so one is set.
    no-upgrade:
      headers:
        customRequestHeaders:
          ${UPGRADING}: ''
          ${HTTP2_SETTINGS}: ''
    websocket-only:
      headers:
        customRequestHeaders:
          ${UPGRADING}: ${WEBSOCKET}
          ${HTTP2_SETTINGS}: ''

    # What the client says of itself is deleted first: an empty value deletes. Many applications
    # read X_Device_Id as X-Device-Id, hence the underscores, should the strategy above be forgotten.
    no-identity-of-its-own:
      headers:
        customRequestHeaders:
          ${IDENTITY.flatMap(underscored)
            .map((name) => `${name}: ''`)
            .join('\n          ')}

    latchkey:
      forwardAuth:
        # Whose devices pass (everyone's: owner=any), and their scope. Each further one is another
        # \`&scope=\`.
        address: ${latchkey.origin}${questionOf(options)}
        authRequestHeaders: [${CREDENTIALS.join(', ')}]
        authResponseHeaders:
          ${IDENTITY.map((name) => `- ${name}`).join('\n          ')}

  services:
    api:
      loadBalancer:
        servers:
          - url: http://${api}
`
}

function matcher(name: string, ...values: readonly string[]): string {
  return `${name}(${values.map((value) => `\`${value}\``).join(', ')})`
}

/** The name with each of its hyphens as a hyphen and as an underscore. */
function underscored(name: string): string[] {
  const [first = '', ...rest] = name.split('-')
  return rest.reduce(
    (names, word) => names.flatMap((start) => [`${start}-${word}`, `${start}_${word}`]),
    [first],
  )
}
