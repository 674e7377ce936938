import {
  CREDENTIALS,
  HTTP2_SETTINGS,
  IDENTITY,
  PREFLIGHT,
  REFUSAL_FIELDS,
  RETRY_AFTER_SECONDS,
  STATUS,
  TUNNEL_METHOD,
  UPGRADE,
} from './description.ts'
import { commandFor, type Options, questionOf } from './options.ts'

const { field: UPGRADING, protocol: WEBSOCKET } = UPGRADE

/** HAProxy has nothing of the kind: `latchkey.lua` asks Latchkey. */
export function haproxy(options: Options): string {
  const { latchkey, host, hasPreflights } = options
  return `# HAProxy in front of your API, with latchkey.lua: /etc/haproxy/haproxy.cfg. Written by
# ${commandFor('haproxy', options)}
# Yours to change: the certificate, and the timeouts.

global
    lua-load /etc/haproxy/latchkey.lua
    httpclient.ssl.verify required
    httpclient.ssl.ca-file /etc/ssl/certs/ca-certificates.crt

frontend ${host}
    mode http
    bind :443 ssl crt /etc/ssl/private/${host}.pem alpn h2,http/1.1
    timeout client 60s
    timeout http-request 10s
    timeout http-keep-alive 60s

${deletions()}
${hasPreflights ? preflights() : ''}
    # Whose devices pass (everyone's: owner=any), and their scope. Each further one is another
    # \`&scope=\`.
    http-request lua.latchkey '${latchkey.origin}${questionOf(options)}'${
      hasPreflights ? ' unless preflight' : ''
    }
    # Nobody passes of whom Latchkey did not say so, even if the Lua fails.
    http-request return status ${STATUS.undecided} hdr Retry-After ${RETRY_AFTER_SECONDS} unless ${
      hasPreflights ? 'preflight or ' : ''
    }{ var(txn.latchkey) -m str pass }
    default_backend api

${backend(options)}`
}

/** What must not reach the API, whoever sends it. */
function deletions(): string {
  return `    # It makes a tunnel, in which nobody is asked and nothing is deleted.
    http-request deny deny_status 405 if { method ${TUNNEL_METHOD} }

    # What the client says of itself is deleted first.
    ${IDENTITY.map((name) => `http-request del-header ${name}`).join('\n    ')}
    # Many applications read X_Device_Id or X.Device.Id as X-Device-Id. So every header goes whose
    # name has more in it than letters, digits and hyphens.
    http-request del-header [^A-Za-z0-9-] -m reg
    # Before 3.2 HAProxy passes trailers on, as trailers: the API must not take them for headers.
    .if version_atleast(3.2)
    option http-drop-request-trailers
    .endif

    # WebSockets pass; no other upgrade does: after the API's 101 nobody is asked and nothing is
    # deleted. Of two ${UPGRADING} headers the API might take the other one, so one is set.
    acl websocket req.fhdr(${UPGRADING}) -m str -i ${WEBSOCKET}
    http-request set-var(txn.upgrade) str(${WEBSOCKET}) if websocket
    http-request del-header ${UPGRADING}
    # \`Connection: X-Device-Id\` would have a proxy behind this one drop what Latchkey says.
    http-request del-header Connection
    http-request del-header ${HTTP2_SETTINGS}
    http-request set-header ${UPGRADING} ${WEBSOCKET} if { var(txn.upgrade) -m found }
    http-request set-header Connection ${UPGRADING} if { var(txn.upgrade) -m found }`
}

function preflights(): string {
  const { method, fields, absent } = PREFLIGHT
  const unset = 'http-request unset-var(txn.preflight)'
  const lacking = [
    ...fields.map((name) => `${unset} unless { req.fhdr(${name}),length gt 0 }`),
    ...absent.map((name) => `${unset} if { req.fhdr(${name}) -m found }`),
  ]
  return `
    # CORS preflights: browsers send them without a key, so the API gets them unasked, with no
    # identity. If no page calls your API, delete this block and what is said of \`preflight\` below.
    http-request set-var(txn.preflight) bool(true) if { method ${method} }
    ${lacking.join('\n    ')}
    acl preflight var(txn.preflight) -m bool
    # End of the CORS preflights.
`
}

function backend({ api }: Options): string {
  return `backend api
    mode http
    timeout connect 5s
    timeout server 60s
    # How long both sides of a WebSocket may be silent. Nothing bounds its whole life.
    timeout tunnel 1h
    option forwardfor
    http-request set-header X-Forwarded-Proto https if { ssl_fc }
    http-request set-header X-Forwarded-Proto http unless { ssl_fc }
    server api ${api}
`
}

/** What HAProxy's file loads. It is the same for everyone. */
export function haproxyLua(): string {
  return `-- Asks Latchkey whether a request may pass: /etc/haproxy/latchkey.lua, for HAProxy 2.6 or later.

local CREDENTIALS = ${listOf(CREDENTIALS)}
local IDENTITY = ${listOf(IDENTITY)}
local REFUSALS = { ${refusals.map((status) => `[${status}] = true`).join(', ')} }
local REFUSAL_FIELDS = ${listOf(REFUSAL_FIELDS)}

-- All values, so that Latchkey refuses two.
local function credentials_of(txn)
    local headers, found = txn.http:req_get_headers(), {}
    for _, name in ipairs(CREDENTIALS) do
        local values, index = headers[name], 0
        while values and values[index] do
            found[name] = found[name] or {}
            table.insert(found[name], values[index])
            index = index + 1
        end
    end
    return found
end

-- An answer that names nobody is none of Latchkey's: then this fails, and haproxy.cfg lets nobody in.
local function let_in(txn, answer)
    for _, name in ipairs(IDENTITY) do
        txn.http:req_set_header(name, answer.headers[name][0])
    end
    txn:set_var('txn.latchkey', 'pass')
end

-- HAProxy's own 503, for a Latchkey that it cannot reach, has no Retry-After.
local function is_refusal(answer)
    local has_decided = answer.status ~= ${STATUS.undecided} or answer.headers['retry-after']
    return REFUSALS[answer.status] and has_decided
end

local function refuse(txn, answer)
    local reply = txn:reply({ status = answer.status })
    for _, name in ipairs(REFUSAL_FIELDS) do
        if answer.headers[name] then reply:add_header(name, answer.headers[name][0]) end
    end
    reply:set_body(answer.body)
    txn:done(reply)
end

${luaAction()}`
}

function luaAction(): string {
  return `core.register_action('latchkey', { 'http-req' }, function(txn, url)
    -- So many milliseconds for each of four attempts: HAProxy repeats what is not answered in time.
    local request = { url = url, headers = credentials_of(txn), timeout = 4000 }
    local answer = core.httpclient():get(request)
    if answer.status == ${STATUS.passed} then
        let_in(txn, answer)
    elseif is_refusal(answer) then
        refuse(txn, answer)
    end
end, 1)
`
}

const refusals = [...STATUS.refused, STATUS.overLimit, STATUS.undecided]

/** A list in Lua, where HAProxy's names of fields are in lower case. */
function listOf(names: readonly string[]): string {
  return `{ ${names.map((name) => `'${name.toLowerCase()}'`).join(', ')} }`
}
