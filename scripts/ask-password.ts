import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { fail, process } from './tools.ts'

/** Asks at the terminal twice, without echo. */
export async function askPasswordTwice(): Promise<string> {
  const silence = new Writable({ write: (_chunk, _encoding, done) => done() })
  const terminal = createInterface({
    input: process.stdin,
    output: silence,
    terminal: true,
    // Else the up arrow would answer the second question.
    historySize: 0,
  })
  const lines = terminal[Symbol.asyncIterator]()
  const ask = async (prompt: string): Promise<string> => {
    process.stderr.write(prompt)
    const line = await lines.next()
    process.stderr.write('\n')
    // Ctrl-C or Ctrl-D.
    return line.done === true ? fail('no password was given') : line.value
  }
  const password = await ask('Password: ')
  const repeated = await ask('Once more: ')
  terminal.close()
  return password === repeated ? password : fail('the two passwords differ')
}
