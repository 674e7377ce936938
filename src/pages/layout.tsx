import { createHash } from 'node:crypto'
import type { Context } from 'hono'
import { html } from 'hono/html'
import type { Child } from 'hono/jsx'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import { PROBLEMS } from '../http/problems.ts'
import { type AppEnv, factory } from '../http/env.ts'

/** The whole style of every page: the hash in the Content-Security-Policy lets in this and no other. */
const STYLE = `
:root { color-scheme: light dark; font: 1.0625rem/1.5 system-ui, sans-serif }
body { margin: 0 auto; max-width: 34rem; padding: 1.5rem 1rem 3rem }
h1 { font-size: 1.5rem; line-height: 1.25 }
label, legend, dt { font-weight: 600 }
label, input { display: block }
fieldset, legend { border: 0; margin: 0; padding: 0 }
fieldset label { font-weight: 400 }
fieldset input { display: inline-block; margin: 0 .5rem 0 0 }
input[type=text], input[type=password] { box-sizing: border-box; font: inherit; margin: .25rem 0 1rem;
  padding: .5rem; width: 100% }
.code { font-family: ui-monospace, monospace; letter-spacing: .1em; white-space: nowrap }
input.code { text-transform: uppercase }
button { font: inherit; font-weight: 600; margin: 1rem 1rem 0 0; min-height: 2.75rem; padding: .5rem 1.5rem }
dl { display: grid; gap: .25rem 1rem; grid-template-columns: max-content 1fr }
dd { margin: 0; overflow-wrap: anywhere }
.notice { border: 2px solid; border-radius: .25rem; padding: .5rem 1rem }
`

const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64')

const PAGE_HEADERS = {
  'Content-Security-Policy':
    `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; form-action 'self'; ` +
    "frame-ancestors 'none'; base-uri 'none'",
  // For browsers that do not know frame-ancestors.
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
}

/** Gives a page its headers, and shows what failed as a page and not as a problem document. */
export const page = factory.createMiddleware(async function page(c, next) {
  await next()
  if (c.res.headers.get('content-type') === 'application/problem+json') {
    const { status } = c.res
    const failure = status === 503 ? PROBLEMS.unavailable : PROBLEMS['internal-error']
    const headers = new Headers(c.res.headers)
    headers.set('Content-Type', 'text/html; charset=UTF-8')
    const body = documentOf(failure.title, <p role="alert">{failure.meaning}</p>)
    c.res = new Response(await body, { status, headers })
  }
  for (const [name, value] of Object.entries(PAGE_HEADERS)) c.header(name, value)
})

/** Answers with a page. */
export async function render(
  c: Context<AppEnv>,
  title: string,
  content: Child,
  status: ContentfulStatusCode = 200,
): Promise<Response> {
  return await c.html(documentOf(title, content), status)
}

function documentOf(title: string, content: Child) {
  return html`<!doctype html>${(
      <html lang="en">
        <head>
          <meta charset="utf-8" />
          <meta name="viewport" content="width=device-width, initial-scale=1" />
          <title>{title} · Latchkey</title>
          <style dangerouslySetInnerHTML={{ __html: STYLE }} />
        </head>
        <body>
          <main>
            <h1>{title}</h1>
            {content}
          </main>
        </body>
      </html>
    )}`
}
