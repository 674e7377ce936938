import { factory } from '../http/env.ts'
import { CLIENT_CREDENTIALS, DEVICE_CODE } from './oauth.ts'

const PUBLIC = { 'Cache-Control': 'public, max-age=300' }
const CLIENT_AUTHENTICATION = ['client_secret_basic', 'client_secret_post']

/** Where clients and resource servers find everything else (RFC 7517, RFC 8414). */
export const oauthMetadata = factory
  .createApp()
  .get('/.well-known/jwks.json', (c) => {
    const keys = c.var.settings.signingKeys.map(({ kty, crv, alg, kid, x, y }) => ({
      kty,
      crv,
      alg,
      kid,
      x,
      y,
      use: 'sig',
    }))
    return c.json({ keys }, 200, PUBLIC)
  })
  .get('/.well-known/oauth-authorization-server', (c) => {
    const { publicUrl: issuer } = c.var.settings
    // No response_types_supported: there are none, and RFC 8414 §3.2 leaves out an empty list.
    return c.json(
      {
        issuer,
        token_endpoint: `${issuer}/oauth/token`,
        device_authorization_endpoint: `${issuer}/oauth/device_authorization`,
        introspection_endpoint: `${issuer}/oauth/introspect`,
        revocation_endpoint: `${issuer}/oauth/revoke`,
        jwks_uri: `${issuer}/.well-known/jwks.json`,
        grant_types_supported: [CLIENT_CREDENTIALS, DEVICE_CODE],
        // `none` is for a device without credentials.
        token_endpoint_auth_methods_supported: [...CLIENT_AUTHENTICATION, 'none'],
        introspection_endpoint_auth_methods_supported: [...CLIENT_AUTHENTICATION, 'Bearer'],
        revocation_endpoint_auth_methods_supported: CLIENT_AUTHENTICATION,
      },
      200,
      PUBLIC,
    )
  })
