import {
  ALIAS_MARKS,
  HTTP2_SETTINGS,
  IDENTITY,
  NOT_FOR_LATCHKEY,
  PREFLIGHT,
  TUNNEL_METHOD,
  UPGRADE,
} from './description.ts'
import { commandFor, type Options, questionOf } from './options.ts'

const { field: UPGRADING, protocol: WEBSOCKET } = UPGRADE

/** Caddy's own `forward_auth` asks Latchkey. */
export function caddy(options: Options): string {
  const { latchkey, api, host, hasPreflights } = options
  return `# Caddy in front of your API. Written by
# ${commandFor('caddy', options)}

${host} {
	# \`route\` keeps this order: by itself Caddy would run forward_auth before request_header.
	route {
${deletions()}
${hasPreflights ? preflights() : ''}
		forward_auth${hasPreflights ? ' @asked' : ''} ${latchkey.origin} {
			# Whose devices pass (everyone's: owner=any), and their scope. Each further one is another
			# \`&scope=\`.
			uri ${questionOf(options)}
			header_up Host ${latchkey.host}
			# What belongs to the body or to the upgrade is not for Latchkey.
			${NOT_FOR_LATCHKEY.map((name) => `header_up -${name}`).join('\n\t\t\t')}
			copy_headers ${IDENTITY.join(' ')}
		}

		reverse_proxy ${api}
	}
}
`
}

/** What must not reach the API, whoever sends it. */
function deletions(): string {
  return `		# It makes a tunnel, in which nobody is asked and nothing is deleted.
		@tunnel method ${TUNNEL_METHOD}
		respond @tunnel 405

		# What the client says of itself is deleted first.
		${IDENTITY.map((name) => `request_header -${name}`).join('\n\t\t')}
		# Many applications read X_Device_Id or X.Device.Id as X-Device-Id. So every header goes whose
		# name has more in it than letters, digits and hyphens, as it does in nginx.
		${ALIAS_MARKS.map((mark) => `request_header -*${mark}*`).join('\n\t\t')}

		# WebSockets pass; no other upgrade does: after the API's 101 nobody is asked and nothing is
		# deleted. Of two ${UPGRADING} headers Caddy would pass on the first, so one is set.
		@websocket header_regexp ${UPGRADING} (?i)^${WEBSOCKET}$
		request_header @websocket ${UPGRADING} ${WEBSOCKET}
		request_header @websocket Connection ${UPGRADING}
		@other not header ${UPGRADING} ${WEBSOCKET}
		request_header @other -${UPGRADING}
		# \`Connection: X-Device-Id\` would have Caddy drop what Latchkey says on the way to the API.
		request_header @other -Connection
		request_header -${HTTP2_SETTINGS}`
}

function preflights(): string {
  const { method, fields, absent } = PREFLIGHT
  return `
		# CORS preflights: browsers send them without a key, so the API gets them unasked, with no
		# identity. If no page calls your API, delete this block and the \`@asked\` below.
		@asked not {
			method ${method}
			${fields.map((name) => `header_regexp ${name} .`).join('\n\t\t\t')}
			${absent.map((name) => `header !${name}`).join('\n\t\t\t')}
		}
		# End of the CORS preflights.
`
}
