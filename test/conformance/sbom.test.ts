import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as z from 'zod'
import { makeCheckout, run } from './support/checkout.ts'

const cycloneDx = z.object({
  bomFormat: z.literal('CycloneDX'),
  components: z.array(
    z.object({
      name: z.string(),
      version: z.string(),
      purl: z.string(),
      licenses: z.array(z.unknown()).min(1),
      hashes: z.array(z.unknown()).min(1),
    }),
  ),
})
const manifest = z.object({ version: z.string() })

let checkout: string

beforeAll(async () => {
  checkout = await makeCheckout()
})

afterAll(() => {
  rmSync(checkout, { recursive: true, force: true, maxRetries: 3 })
})

describe('npm run sbom', () => {
  it('lists every package of which the bundle holds code, and no other', async () => {
    const { code, stdout } = await run(checkout, 'npm', ['run', '--silent', 'sbom'])
    expect(code).toBe(0)
    const { components } = cycloneDx.parse(JSON.parse(stdout))
    const listed = components.map(({ purl }) => purl).toSorted()
    expect(listed).toEqual((await bundledPackages()).map((name) => purlOf(name)))
  })
})

/** The packages that the bundle's comments name: esbuild writes one above each file's code. */
async function bundledPackages(): Promise<string[]> {
  const bundled = await run(checkout, 'npm', ['run', 'bundle'])
  expect(bundled.code).toBe(0)
  const code = readFileSync(join(checkout, 'dist/index.js'), 'utf8')
  const names = Array.from(
    code.matchAll(/^\/\/ .*node_modules\/((?:@[\w.-]+\/)?[\w.-]+)\//gm),
    ([, name = '']) => name,
  )
  return [...new Set(names)].toSorted()
}

function purlOf(name: string): string {
  const file = join(checkout, 'node_modules', name, 'package.json')
  const { version } = manifest.parse(JSON.parse(readFileSync(file, 'utf8')))
  return `pkg:npm/${name}@${version}`
}
