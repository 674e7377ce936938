import { globSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'

type Line = { readonly file: string; readonly text: string }

const LINES: readonly Line[] = globSync('src/**/*.{ts,tsx}')
  .filter((file) => file !== 'src/worker-configuration.d.ts')
  .toSorted()
  .flatMap((file) =>
    readFileSync(file, 'utf8')
      .split('\n')
      .map((text) => ({ file, text })),
  )

const found = (pattern: RegExp, rooms: RegExp): string[] =>
  LINES.filter(({ file, text }) => rooms.test(file) && pattern.test(text)).map(
    ({ file, text }) => `${file}: ${text.trim()}`,
  )

/** A variable, or a constant whose object can be changed, that outlives a request. */
const MUTABLE =
  /^(export )?(let|var) |^(export )?const \w+ = (new (?!RegExp|TextEncoder|TextDecoder)|\[\])/

/** What nobody asked for has no author: what the cron tidies, and the note of a first use. */
const BY_ITSELF = /^src\/services\/(devices\/fold-names|verify\/record-first-use)\.ts/

describe('the house', () => {
  it('remembers nothing outside isolate/state.ts, but for pure values of the configuration', () => {
    expect(found(MUTABLE, /./)).toEqual([
      'src/crypto/jwt.ts: const publicKeys = new WeakMap<SigningKey, CryptoKey>()',
      'src/crypto/jwt.ts: const privateKeys = new WeakMap<SigningKey, CryptoKey>()',
      'src/crypto/key-check.ts: const imported = new WeakMap<CheckSecret, CryptoKey>()',
      'src/isolate/state.ts: export const thisIsolate = new IsolateState()',
      'src/settings.ts: let loaded: ' +
        '{ readonly from: readonly unknown[]; readonly settings: Settings } | undefined',
    ])
  })

  it('reads no clock in a schema: the one time of a request is its route’s to compare', () => {
    expect(found(/Date\.now|new Date\(\)/, /^src\/schemas/)).toEqual([])
  })

  it('writes what a user changes through openChange, whose guard no statement can forget', () => {
    const files = found(
      /\.(insert|update|delete)\((sessions|devices|apiKeys|users|keySecrets)\b/,
      /^src\/services/,
    ).filter((line) => !/change\.\w+\(/i.test(line) && !BY_ITSELF.test(line))
    // A refresh is made for whoever holds the token, under predicates of its own.
    expect(files).toEqual([
      'src/services/sessions/refresh-session.ts: .update(sessions)',
      'src/services/sessions/refresh-session.ts: ' +
        'ended: db.update(sessions).set({ revokedAt: now }).where(isReused),',
    ])
  })

  it('hands the database and the objects to a request only at a door', () => {
    expect(found(/LockedIo\.unlock/, /./)).toEqual([
      'src/http/auth/admit.ts: ' +
        'const { DB: database, DEVICE_STATE: states } = LockedIo.unlock(c.var.io)',
    ])
    expect(found(/\benv\.(DB|DEVICE_STATE)\b/, /./)).toEqual([
      'src/app.ts: const code = await diagnose(c.env.DB, thrown)',
      'src/device-state/device-state.ts: await this.env.DB.prepare(',
      'src/key-verifier.ts: const code = await diagnose(env.DB, failure)',
      'src/scheduled.ts: database: env.DB,',
      'src/scheduled.ts: states: env.DEVICE_STATE,',
      'src/scheduled.ts: logFailure(`cron ${name}`, failure, await diagnose(env.DB, failure))',
    ])
  })

  it('selects into no table by position', () => {
    expect(found(/\.insert\(\w+\)\s*\.select\(|insert into/, /^src\/services/)).toEqual([])
    expect(found(/\.select\(sql`/, /^src\/services/)).toEqual([])
  })
})
