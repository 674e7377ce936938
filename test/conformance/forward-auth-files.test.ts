import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { process } from '../../scripts/tools.ts'

const OWNER = 'user_01k8p4wqz3e9t5x7m2n6b0v1ha'
const EXAMPLE = ['--owner', OWNER, '--scope', 'telemetry:write']

const FILES = [
  ['nginx', 'nginx.conf'],
  ['caddy', 'Caddyfile'],
  ['traefik', 'traefik.yml'],
  ['haproxy', 'haproxy.cfg'],
  ['haproxy-lua', 'latchkey.lua'],
] as const

const ASKING = FILES.filter(([proxy]) => proxy !== 'haproxy-lua')

function write(...args: readonly string[]) {
  return spawnSync(process.execPath, ['scripts/forward-auth.ts', ...args], { encoding: 'utf8' })
}

describe('The files in docs/forward-auth', () => {
  it.each(FILES)('What the command writes for %s is %s', (proxy, file) => {
    const { status, stdout, stderr } = write('--proxy', proxy, ...EXAMPLE)
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout).toBe(readFileSync(`docs/forward-auth/${file}`, 'utf8'))
  })

  it('The page says with which arguments they were written', () => {
    const page = readFileSync('docs/forward-auth/README.md', 'utf8')
    expect(page).toContain(`npm run --silent forward-auth -- --proxy caddy ${EXAMPLE.join(' ')}`)
  })
})

describe('npm run forward-auth', () => {
  it.each(ASKING)('%s is told all that is asked, at the addresses that are given', (proxy) => {
    const audience = '--audience=https://api.example.com/v2?a=b&c=(d)!*,$1;e%20'
    const places = ['--latchkey', 'https://k.test:8443', '--api', '[::1]:9000', '--host', 'a.test']
    const { stdout } = write(
      '--proxy',
      proxy,
      ...EXAMPLE,
      '--scope=site:north',
      audience,
      ...places,
    )
    expect(stdout).toContain(
      `owner=${OWNER}&scope=telemetry:write&scope=site:north&` +
        'audience=https%3A%2F%2Fapi.example.com%2Fv2%3Fa%3Db%26c%3D%28d%29%21%2A%2C%241%3Be%2520',
    )
    for (const place of ['k.test:8443', '[::1]:9000', 'a.test']) expect(stdout).toContain(place)
    expect(stdout).not.toContain('example.com:')
    expect(stdout).not.toMatch(/keys\.example\.com|127\.0\.0\.1/)
  })

  it.each(ASKING)('%s knows of no preflights after --no-preflights', (proxy) => {
    const { status, stdout } = write('--proxy', proxy, ...EXAMPLE, '--no-preflights')
    expect(status).toBe(0)
    expect(stdout.replaceAll('--no-preflights', '')).not.toMatch(/preflight|OPTIONS|@asked/i)
  })

  it.each([
    ['--proxy', []],
    ['--proxy', ['--proxy=apache', ...EXAMPLE]],
    ['--proxy', ['--proxy=constructor', ...EXAMPLE]],
    ['--owner', ['--proxy=nginx']],
    ['--owner', ['--proxy=nginx', '--owner=']],
    ['--owner', ['--proxy=nginx', '--owner=ada']],
    ['--owner', ['--proxy=nginx', `--owner=${OWNER};`]],
    ['--owner', ['--proxy=nginx', `--owner=${OWNER}\n`]],
    ['--scope', ['--proxy=nginx', ...EXAMPLE, '--scope=telemetry:*']],
    ['--scope', ['--proxy=nginx', ...EXAMPLE, '--scope=a&owner=any']],
    ['--scope', ['--proxy=nginx', ...EXAMPLE, '--scope=a; return 204']],
    [
      '--scope',
      ['--proxy=nginx', ...Array.from({ length: 64 }, () => EXAMPLE).flat()].toSpliced(
        3,
        0,
        '--scope=a',
      ),
    ],
    ['--audience', ['--proxy=nginx', ...EXAMPLE, '--audience=']],
    ['--audience', ['--proxy=nginx', ...EXAMPLE, '--audience=api.example.com']],
    ['--audience', ['--proxy=nginx', ...EXAMPLE, '--audience=https://api.example.com#a']],
    ['--audience', ['--proxy=nginx', ...EXAMPLE, "--audience=https://api.example.com/'"]],
    ['--audience', ['--proxy=nginx', ...EXAMPLE, '--audience=https://api.example.com/\n}']],
    ['--audience', ['--proxy=nginx', ...EXAMPLE, `--audience=urn:${'x'.repeat(512)}`]],
    ['--latchkey', ['--proxy=nginx', ...EXAMPLE, '--latchkey=keys.example.com']],
    ['--latchkey', ['--proxy=nginx', ...EXAMPLE, '--latchkey=http://keys.example.com']],
    ['--latchkey', ['--proxy=nginx', ...EXAMPLE, '--latchkey=https://keys.example.com/v1']],
    ['--latchkey', ['--proxy=nginx', ...EXAMPLE, '--latchkey=https://a:b@keys.example.com']],
    ['--latchkey', ['--proxy=nginx', ...EXAMPLE, '--latchkey=https://a;b']],
    ['--latchkey', ['--proxy=nginx', ...EXAMPLE, '--latchkey=https://{a}']],
    ['--latchkey', ['--proxy=nginx', ...EXAMPLE, '--latchkey=https://keys.example.com\n']],
    ['--latchkey', ['--proxy=nginx', ...EXAMPLE, '--latchkey=file:///etc/passwd']],
    ['--api', ['--proxy=nginx', ...EXAMPLE, '--api=3000']],
    ['--api', ['--proxy=nginx', ...EXAMPLE, '--api=127.0.0.1:65536']],
    ['--api', ['--proxy=nginx', ...EXAMPLE, '--api=127.0.0.1:03000']],
    ['--api', ['--proxy=nginx', ...EXAMPLE, '--api=[::g]:3000']],
    ['--api', ['--proxy=nginx', ...EXAMPLE, '--api=a b:3000']],
    ['--api', ['--proxy=nginx', ...EXAMPLE, '--api=http://127.0.0.1:3000']],
    ['--host', ['--proxy=nginx', ...EXAMPLE, '--host=']],
    ['--host', ['--proxy=nginx', ...EXAMPLE, '--host=*.example.com']],
    ['--host', ['--proxy=nginx', ...EXAMPLE, '--host=api.example.com:443']],
    ['--host', ['--proxy=nginx', ...EXAMPLE, '--host=api.example.com, other.example']],
    ['--host', ['--proxy=nginx', ...EXAMPLE, '--host=`)']],
    ['--host', ['--proxy=nginx', ...EXAMPLE, `--host=${'a'.repeat(64)}`]],
    ['--secret', ['--proxy=nginx', ...EXAMPLE, '--secret=x']],
    ['extra', ['--proxy=nginx', ...EXAMPLE, 'extra']],
  ])('%s is named, and no file is written: %j', (name, args) => {
    const { status, stdout, stderr } = write(...args)
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
    expect(stderr.split('\n\n')[0]).toContain(name)
    expect(stderr).toContain('usage: npm run --silent forward-auth')
  })
})
