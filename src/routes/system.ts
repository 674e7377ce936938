import { admit } from '../http/auth/admit.ts'
import { PROBE } from '../http/auth/doors.ts'
import { factory } from '../http/env.ts'
import { problem } from '../http/problem.ts'
import { isProblemCode, PROBLEMS } from '../http/problems.ts'
import { databaseState } from '../services/health.ts'

const PUBLIC_AND_STATIC = { 'Cache-Control': 'public, max-age=3600' }

/** What operators and clients read about the deployment itself. */
export const system = factory
  .createApp()
  .get('/healthz', async (c) => {
    const found = await databaseState(admit(c, PROBE))
    switch (found) {
      case 'ok':
        return c.json({ status: 'ok' })
      case 'unavailable':
        return problem(c, found, { detail: 'The database does not answer.' })
      case 'not_migrated':
        return problem(c, found)
    }
  })
  .get('/problems/:code', (c) => {
    const code = c.req.param('code')
    if (!isProblemCode(code)) return problem(c, 'not_found')
    const { status, title, meaning } = PROBLEMS[code]
    const type = `${c.var.settings.publicUrl}/problems/${code}`
    return c.json({ type, title, status, detail: meaning }, 200, PUBLIC_AND_STATIC)
  })
