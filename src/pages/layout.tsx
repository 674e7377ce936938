import { createHash } from 'node:crypto'
import type { Child } from 'hono/jsx'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { AppContext } from '../http/env.ts'
import type { Problem } from '../http/problem-types.ts'

/** The style of every page: the hash in the Content-Security-Policy lets in this and no other. */
const STYLE = `
:root { color-scheme: light dark; font: 1.0625rem/1.5 system-ui, sans-serif }
body { margin: 0 auto; max-width: 34rem; padding: 1.5rem 1rem 3rem }
h1 { font-size: 1.5rem; line-height: 1.25 }
label, legend, dt { font-weight: 600 }
label, input { display: block }
fieldset, legend { border: 0; margin: 0; padding: 0 }
fieldset label { font-weight: 400 }
input[type=checkbox] { display: inline-block; margin: 0 .5rem 0 0 }
input[type=text], input[type=password] { box-sizing: border-box; font: inherit;
  margin: .25rem 0 1rem; padding: .5rem; width: 100% }
.code { font-family: ui-monospace, monospace; letter-spacing: .1em; white-space: nowrap }
input.code { text-transform: uppercase }
button { font: inherit; font-weight: 600; margin: 1rem 1rem 0 0; min-height: 2.75rem;
  padding: .5rem 1.5rem }
dl { display: grid; gap: .25rem 1rem; grid-template-columns: max-content 1fr }
dd { margin: 0; overflow-wrap: anywhere }
.notice { border: 2px solid; border-radius: .25rem; padding: .5rem 1rem }
`

const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64')

/** What a page's response carries beside what every response does. */
const PAGE_HEADERS = {
  'Content-Security-Policy':
    `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; form-action 'self'; ` +
    "frame-ancestors 'none'; base-uri 'none'",
  // For browsers that do not know frame-ancestors.
  'X-Frame-Options': 'DENY',
  // Under no-referrer, browsers send even the page's own form with `Origin: null` (Fetch).
  'Referrer-Policy': 'same-origin',
  'Cross-Origin-Opener-Policy': 'same-origin',
}

/** Answers with a page. */
export function render(
  c: AppContext,
  title: string,
  content: Child,
  status: ContentfulStatusCode = 200,
): Response {
  return c.html(documentOf(title, content), status, PAGE_HEADERS)
}

/** An error as a page, for paths that people open in a browser. */
export function asErrorPage(c: AppContext, { title, detail, status, headers }: Problem): Response {
  const body = documentOf(title, <p role="alert">{detail}</p>)
  return c.html(body, status, { ...PAGE_HEADERS, ...headers })
}

function documentOf(title: string, content: Child): string {
  const document = (
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
  )
  // oxlint-disable-next-line typescript/no-base-to-string -- hono's JSX nodes write themselves
  return `<!doctype html>${document.toString()}`
}
