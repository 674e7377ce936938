import type { KeyVerifier, VerifyOptions } from '../../../src/index.ts'

type CallerEnv = { readonly LATCHKEY: Service<KeyVerifier> }

/** What the tests ask over: the arguments of `verify`, as JSON, and its result back. */
export default {
  async fetch(request, env) {
    const { presented, options } = await request.json<{
      presented: string
      options: VerifyOptions
    }>()
    return Response.json(await env.LATCHKEY.verify(presented, options))
  },
} satisfies ExportedHandler<CallerEnv>
