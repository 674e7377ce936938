// `npm run --silent forward-auth -- --proxy <proxy> --owner <owner> …`: prints the configuration of a
// proxy that asks Latchkey. docs/forward-auth/README.md has examples.
import { caddy } from './forward-auth/caddy.ts'
import { haproxy, haproxyLua } from './forward-auth/haproxy.ts'
import { nginx } from './forward-auth/nginx.ts'
import { type Options, readOptions, USAGE } from './forward-auth/options.ts'
import { traefik } from './forward-auth/traefik.ts'
import { fail, process } from './tools.ts'

const FILES: ReadonlyMap<string, (options: Options) => string> = new Map([
  ['nginx', nginx],
  ['caddy', caddy],
  ['traefik', traefik],
  ['haproxy', haproxy],
  ['haproxy-lua', haproxyLua],
])

try {
  const { proxy, options } = readOptions(process.argv.slice(2))
  const write = FILES.get(proxy)
  if (write === undefined) throw new Error(`--proxy must be one of ${[...FILES.keys()].join(', ')}`)
  process.stdout.write(write(options))
} catch (failure) {
  fail(`${failure instanceof Error ? failure.message : String(failure)}\n\n${USAGE}`)
}
