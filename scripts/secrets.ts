// `npm run secrets`: fresh values of a deployment's two secrets.
import { makeSecretLines } from './fresh-secrets.ts'
import { process } from './tools.ts'

process.stdout.write(makeSecretLines())
console.error(`
Put each value, without its quotes:
  npx wrangler secret put SIGNING_KEYS
  npx wrangler secret put KEY_CHECK_SECRETS
or both at once, never shown:
  npm run --silent secrets | npx wrangler secret bulk
Other values end all sessions and refuse all keys of a deployment: do this once. See the README for
how to rotate them.`)
