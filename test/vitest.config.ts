import { parseEnv } from 'node:util'
import { cloudflareTest, readD1Migrations } from '@cloudflare/vitest-pool-workers'
import { defineConfig, type ViteUserConfig } from 'vitest/config'
import { makeSecretLines } from '../scripts/fresh-secrets.ts'

const root = new URL('..', import.meta.url).pathname

/** Two runtimes: what is the Worker's runs in workerd; what is the operator's runs in Node. */
export default defineConfig(async (): Promise<ViteUserConfig> => ({
  root,
  test: {
    silent: 'passed-only',
    projects: [
      {
        root,
        plugins: [
          cloudflareTest({
            wrangler: { configPath: './wrangler.toml' },
            miniflare: {
              // Every setting is named here, so that no .dev.vars of a developer's reaches the tests.
              bindings: {
                PUBLIC_URL: 'https://latchkey.example',
                REGISTRATION: 'open',
                KEY_PREFIX: 'lk',
                KEY_CHECK: 'on',
                KEY_CACHE_SECONDS: '10',
                KEY_STALE_SECONDS: '300',
                D1_TIMEOUT_MS: '2000',
                ACCEPT_IMPORTED_KEYS: 'false',
                DEVICE_TOKEN_SECONDS: '900',
                DEVICE_TOKEN_AUDIENCES: '',
                REVOCATION_POLL_SECONDS: '10',
                RESERVED_SCOPES: '',
                USER_MAX_DEVICES: '10000',
                DEVICE_MAX_KEYS: '20',
                CLAIM_MAX_PENDING: '10000',
                AUDIT_RETENTION_DAYS: '365',
                AUDIT_IP_DAYS: '30',
                METER_TIMEOUT_MS: '1000',
                LIMITER_FAILURE: 'closed',
                USAGE: 'all',
                PASSWORD_HASH: 'scrypt',
                CORS_ORIGINS: '',
                LOG_REQUESTS: 'changes',
                ...parseEnv(makeSecretLines()),
                TEST_ANONYMOUS_REQUESTS: process.env['ANONYMOUS_REQUESTS'] ?? '150',
                TEST_FLEET: process.env['FLEET'] ?? '1000',
                TEST_MIGRATIONS: await readD1Migrations(`${root}/drizzle`),
              },
            },
          }),
        ],
        test: {
          name: 'worker',
          include: ['test/{unit,routes}/**/*.test.ts'],
          setupFiles: ['test/support/apply-migrations.ts', 'test/support/check-query-plans.ts'],
          testTimeout: 60_000,
        },
      },
      {
        root,
        test: {
          name: 'node',
          include: ['test/{conformance,browser,faults}/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 180_000,
        },
      },
    ],
  },
}))
