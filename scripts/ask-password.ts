import { createInterface } from 'node:readline/promises'
import { Writable } from 'node:stream'
import { process } from './tools.ts'

/**
 * Asks at the terminal twice, without echo.
 * @returns undefined if the two differ
 */
export async function askPasswordTwice(): Promise<string | undefined> {
  const silence = new Writable({ write: (_chunk, _encoding, done) => done() })
  const terminal = createInterface({ input: process.stdin, output: silence, terminal: true })
  // Without a listener, Ctrl-C would leave the question pending for good.
  terminal.on('SIGINT', () => process.exit(130))
  const ask = async (prompt: string): Promise<string> => {
    process.stderr.write(prompt)
    const answer = await terminal.question('')
    process.stderr.write('\n')
    return answer
  }
  try {
    const password = await ask('Password: ')
    return (await ask('Once more: ')) === password ? password : undefined
  } finally {
    terminal.close()
  }
}
