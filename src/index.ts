import { app } from './app.ts'

export { DeviceState } from './device-state/device-state.ts'
export { KeyVerifier } from './key-verifier.ts'
export type { AppType } from './app.ts'
export type { VerifyOptions, VerifyUnavailable } from './key-verifier.ts'
export type { VerifyResult } from './services/verify-for.ts'

export default app satisfies ExportedHandler<Env>
