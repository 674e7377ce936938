import { app } from './app.ts'

export { DeviceState } from './device-state/device-state.ts'
export type { AppType } from './app.ts'

export default app satisfies ExportedHandler<Env>
