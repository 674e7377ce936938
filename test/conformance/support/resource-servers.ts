import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { auth } from 'express-oauth2-jwt-bearer'
import { Hono } from 'hono'
import { jwk } from 'hono/jwk'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import * as oauth from 'oauth4webapi'

/** Which tokens a resource server takes: device tokens of this issuer, for this audience. */
export type Trusted = { readonly issuer: URL; readonly audience: string }

/** An API that is not Latchkey's, guarded by somebody else's library as its manual says. */
export type ResourceServer = {
  readonly name: string
  /** How it says that the token's type or its audience is not the one that it wants. */
  readonly wrongType: string
  readonly wrongAudience: string
  /** @returns the claims; an error says why there are none. */
  readonly verify: (token: string, trusted: Trusted) => Promise<unknown>
}

export const RESOURCE_SERVERS: readonly ResourceServer[] = [
  {
    name: 'jose',
    wrongType: 'unexpected "typ" JWT header value',
    wrongAudience: 'unexpected "aud" claim value',
    verify: verifyWithJose,
  },
  {
    name: 'oauth4webapi',
    wrongType: 'unexpected JWT "typ" header parameter value',
    wrongAudience: 'unexpected JWT "aud" (audience) claim value',
    verify: verifyWithOAuth4WebApi,
  },
  {
    name: 'express-oauth2-jwt-bearer, strict',
    wrongType: "Unexpected 'typ' value",
    wrongAudience: "Unexpected 'aud' value",
    verify: verifyWithExpress,
  },
  {
    name: 'hono/jwk',
    wrongType: 'jwt header is invalid: {"alg":"ES256","typ":"JWT"',
    wrongAudience: 'expected audience',
    verify: verifyWithHono,
  },
]

function jwksOf(issuer: URL): URL {
  return new URL('/.well-known/jwks.json', issuer)
}

async function verifyWithJose(token: string, { issuer, audience }: Trusted): Promise<unknown> {
  const expected = { issuer: issuer.origin, audience, typ: 'at+jwt' }
  return (await jwtVerify(token, createRemoteJWKSet(jwksOf(issuer)), expected)).payload
}

async function verifyWithOAuth4WebApi(
  token: string,
  { issuer, audience }: Trusted,
): Promise<unknown> {
  const insecure = { [oauth.allowInsecureRequests]: true }
  const answer = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure })
  const server = await oauth.processDiscoveryResponse(issuer, answer)
  const request = new Request('http://api.example', { headers: bearer(token) })
  return await oauth.validateJwtAccessToken(server, request, audience, insecure)
}

type ExpressRequest = IncomingMessage & { readonly auth?: { readonly payload: unknown } }
type Middleware = (
  request: ExpressRequest,
  response: ServerResponse,
  next: (fault?: unknown) => void,
) => unknown

async function verifyWithExpress(token: string, { issuer, audience }: Trusted): Promise<unknown> {
  const guard: Middleware = auth({ issuerBaseURL: issuer.origin, audience, strict: true })
  const api = createServer((incoming, response) => {
    // All of Express that the middleware needs.
    const get = (name: string) => incoming.headers[name.toLowerCase()]
    const express = { protocol: 'http', query: {}, is: () => false, get }
    const request: ExpressRequest = Object.assign(incoming, express)
    guard(request, response, (fault) => {
      if (fault === undefined) response.end(JSON.stringify(request.auth?.payload))
      else response.writeHead(401).end(reasonOf(fault))
    })
  }).listen(0, '127.0.0.1')
  await once(api, 'listening')
  try {
    const address = api.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    return await claimsIn(
      await fetch(`http://127.0.0.1:${address.port}`, { headers: bearer(token) }),
    )
  } finally {
    api.close()
    api.closeAllConnections()
  }
}

async function verifyWithHono(token: string, { issuer, audience }: Trusted): Promise<unknown> {
  const guard = jwk({
    jwks_uri: jwksOf(issuer).href,
    alg: ['ES256'],
    verification: { typ: 'at+jwt', iss: issuer.origin, aud: audience },
  })
  const api = new Hono<{ Variables: { jwtPayload: object } }>()
    .use(guard)
    .get('/', (c) => c.text(JSON.stringify(c.var.jwtPayload)))
    .onError((thrown, c) => c.text(reasonOf(thrown), 401))
  return await claimsIn(await api.request('/', { headers: bearer(token) }))
}

function bearer(token: string): { readonly Authorization: string } {
  return { Authorization: `Bearer ${token}` }
}

/** hono's middleware keeps the reason as the cause. */
function reasonOf(fault: unknown): string {
  if (!(fault instanceof Error)) return String(fault)
  return fault.cause instanceof Error ? fault.cause.message : fault.message
}

async function claimsIn(response: Response): Promise<unknown> {
  const text = await response.text()
  if (!response.ok) throw new Error(text)
  return JSON.parse(text)
}
