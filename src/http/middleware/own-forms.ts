import { type AppContext, factory } from '../env.ts'
import { problem } from '../problem.ts'

/**
 * Takes a POST from the page's own form, and refuses it from a page of another origin: those would
 * have their visitors guess codes, and use up the attempts of a whole network. It stands before
 * whatever charges a limiter or reads a body.
 */
export const ownFormsOnly = factory.createMiddleware(async function ownFormsOnly(c, next) {
  if (c.req.method === 'POST' && isForeign(c)) return problem(c, 'cross_site')
  return await next()
})

/** What browsers say of a request that no other page has made. */
const OWN_SITES: ReadonlySet<string> = new Set(['same-origin', 'none'])

/** A sibling subdomain is another origin. What is no browser says nothing, and is not meant. */
function isForeign(c: AppContext): boolean {
  const site = c.req.header('sec-fetch-site')
  if (site !== undefined) return !OWN_SITES.has(site)
  // Browsers leave that out on plain http, and older ones always.
  const origin = c.req.header('origin')
  return origin !== undefined && origin !== c.var.settings.publicUrl
}
