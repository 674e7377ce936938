import {
  CREDENTIALS,
  HTTP2_SETTINGS,
  IDENTITY,
  PREFLIGHT,
  RETRY_AFTER_SECONDS,
  STATUS,
  UPGRADE,
} from './description.ts'
import { commandFor, type Options, questionOf } from './options.ts'

const [CHALLENGED, FORBIDDEN] = STATUS.refused

/** nginx's own `auth_request` asks Latchkey. */
export function nginx(options: Options): string {
  const { latchkey, api, hasPreflights } = options
  const port = latchkey.port || (latchkey.protocol === 'https:' ? '443' : '80')
  return `# nginx in front of your API, for the http context: /etc/nginx/conf.d/latchkey.conf. Written by
# ${commandFor('nginx', options)}
# Yours to change: the certificate, and in each location the owner and the scope that it asks for.

upstream latchkey {
    server ${latchkey.hostname}:${port};
    keepalive 16;
}

upstream api {
    server ${api};
}

# WebSockets pass; no other upgrade does: after the API's 101 nobody is asked and nothing is deleted.
map ${requestField(UPGRADE.field)} $api_upgrade {
    default   "";
    ${UPGRADE.protocol} ${UPGRADE.protocol};
}
map ${requestField(UPGRADE.field)} $api_connection {
    default   close;
    ${UPGRADE.protocol} upgrade;
}
${hasPreflights ? preflightMaps() : ''}
# How long an undecided client should wait: as long as Latchkey said, if it said anything.
map $latchkey_retry_after $latchkey_wait {
    ""      ${RETRY_AFTER_SECONDS};
    default $latchkey_retry_after;
}

${server(options)}`
}

function preflightMaps(): string {
  const { method, fields, absent } = PREFLIGHT
  return `
# CORS preflights: browsers send them without a key, so the API gets them unasked, with no identity.
# If no page calls your API, delete this block and the \`if\` in /_latchkey.
map ${absent.map(requestField).join('')} $is_bare {
    default 0;
    ""      1;
}
# Exactly three bars, so that no value can pose as two.
map $request_method|$is_bare|${fields.map(requestField).join('|')} $is_preflight {
    default                        0;
    "~^${method}\\|1${fields.map(() => '\\|[^|]+').join('')}$" 1;
}
# End of the CORS preflights.
`
}

function server(options: Options): string {
  const { host } = options
  return `server {
    # From nginx 1.25.1 on: \`listen 443 ssl; http2 on;\`.
    listen 443 ssl http2;
    server_name ${host};
    ssl_certificate     /etc/ssl/certs/${host}.pem;
    ssl_certificate_key /etc/ssl/private/${host}.key;

    # What Latchkey answered. The client's own identity headers are replaced by it, and are deleted
    # wherever nothing was asked: an empty value is not sent. A location with a \`proxy_set_header\` of
    # its own inherits NONE of these: repeat all of them there.
    ${IDENTITY.map((name) => `auth_request_set ${identity(name, 23)} ${answerField(name)};`).join('\n    ')}
    ${IDENTITY.map((name) => `proxy_set_header ${name.padEnd(15)} ${identity(name)};`).join('\n    ')}

    # Of two, the API gets the one of which Latchkey is asked.
    proxy_set_header X-API-Key $http_x_api_key;

    proxy_set_header Host              $host;
    proxy_set_header X-Forwarded-For   $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header ${UPGRADE.field}           $api_upgrade;
    proxy_set_header Connection        $api_connection;
    proxy_set_header ${HTTP2_SETTINGS}    "";

    # A body of any size is handed on while it comes: the API sets the limit. With HTTP/1.0, which is
    # nginx's default, chunks would be gathered on the disk first.
    client_max_body_size    0;
    proxy_request_buffering off;
    proxy_http_version      1.1;

    # Many applications read X_Device_Id or X.Device.Id as X-Device-Id. These are nginx's defaults:
    # keep them, also in the default server of this port, whose settings nginx may use instead.
    underscores_in_headers off;
    ignore_invalid_headers on;

    # auth_request knows 2xx, ${CHALLENGED} and ${FORBIDDEN}, and makes 500 of the rest: these keep what Latchkey said.
    auth_request_set $latchkey_status      $upstream_status;
    auth_request_set $latchkey_challenge   $upstream_http_www_authenticate;
    auth_request_set $latchkey_retry_after $upstream_http_retry_after;
    error_page ${FORBIDDEN} = @latchkey_forbidden;
    error_page 500 = @latchkey_undecided;

${locations(options)}
}
`
}

function locations(options: Options): string {
  const { latchkey, hasPreflights } = options
  const [path, asked = ''] = questionOf(options).split('?')
  return `    location / {
        # Whose devices pass (everyone's: owner=any), and their scope. Each further one is another
        # \`&scope=\`. A location without this line lets nobody in.
        set $latchkey_asked ${asked};
        auth_request /_latchkey;
        proxy_pass http://api;
        # If it is \`fastcgi_pass\`, which knows no proxy_set_header, these belong beside it. Without
        # them the API reads the client's own.
        ${IDENTITY.map(fastcgiParam).join('\n        ')}
    }

    location = /_latchkey {
        internal;${hasPreflights ? PREFLIGHT_ANSWER : ''}
        proxy_pass ${latchkey.protocol}//latchkey${path}?$latchkey_asked;
        proxy_pass_request_body off;
        proxy_pass_request_headers off;
        proxy_set_header Content-Length "";
        proxy_set_header Host           ${latchkey.host};
        ${CREDENTIALS.map((name) => `proxy_set_header ${name.padEnd(14)} ${requestField(name)};`).join('\n        ')}

        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_connect_timeout 5s;
        proxy_read_timeout 10s;
        # A key may hold 64 scopes of 128 characters.
        proxy_buffer_size 16k;
        proxy_buffers 4 16k;${latchkey.protocol === 'https:' ? tls(latchkey.hostname) : ''}
    }

    location @latchkey_forbidden {
        add_header WWW-Authenticate $latchkey_challenge always;
        return ${FORBIDDEN};
    }

    # The key is over a limit, or nothing could be decided, which says nothing about the key.
    location @latchkey_undecided {
        add_header Retry-After $latchkey_wait always;
        if ($latchkey_status ~ "${STATUS.overLimit}$") {
            return ${STATUS.overLimit};
        }
        return ${STATUS.undecided};
    }`
}

const PREFLIGHT_ANSWER = `
        if ($is_preflight) {
            return ${STATUS.passed};
        }`

function tls(name: string): string {
  return `

        proxy_ssl_server_name on;
        proxy_ssl_name ${name};
        proxy_ssl_verify on;
        proxy_ssl_verify_depth 4;
        proxy_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;`
}

/** nginx's variable for what Latchkey said of the device. */
function identity(name: string, width = 0): string {
  return `$latchkey_${variable(name.replace('X-', ''))}`.padEnd(width)
}

function fastcgiParam(name: string): string {
  const parameter = `HTTP_${variable(name).toUpperCase()}`.padEnd(20)
  return `# fastcgi_param ${parameter} ${identity(name)} if_not_empty;`
}

function requestField(name: string): string {
  return `$http_${variable(name)}`
}

function answerField(name: string): string {
  return `$upstream_http_${variable(name)}`
}

function variable(name: string): string {
  return name.toLowerCase().replaceAll('-', '_')
}
