import { app } from './app.ts'
import { runScheduled } from './scheduled.ts'

export { DeviceState } from './device-state/device-state.ts'
export { KeyVerifier } from './key-verifier.ts'
export type { AppType } from './app.ts'
export type { VerifyMisconfigured, VerifyUnavailable } from './key-verifier.ts'
export type { VerifyOptions } from './verify-options.ts'
export type { LimitReading, VerifyResult } from './services/verify/verify-result.ts'

export default {
  fetch: app.fetch,
  scheduled: async (_, env) => await runScheduled(env),
} satisfies ExportedHandler<Env>
