import { afterAll, afterEach, beforeAll } from 'vitest'
import { type RecordingServer, startRecordingServer } from './raw-http.ts'
import { startTappedLatchkey, type TappedLatchkey } from './tapped-latchkey.ts'

/** What a proxy stands between: who imports these has both before its tests, each test anew. */
export let latchkey: TappedLatchkey
export let upstream: RecordingServer

beforeAll(async () => {
  latchkey = await startTappedLatchkey()
  upstream = await startRecordingServer()
})

afterEach(() => {
  upstream.received.length = 0
  latchkey.forget()
})

afterAll(async () => {
  upstream.close()
  await latchkey.close()
})
