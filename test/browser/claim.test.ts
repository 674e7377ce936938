import { existsSync } from 'node:fs'
import { parseEnv } from 'node:util'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createTestHarness } from 'wrangler'
import * as z from 'zod'
import { makeSecretLines } from '../../scripts/fresh-secrets.ts'
import { process } from '../../scripts/tools.ts'

const CHROMIUM = '/usr/bin/chromium'
const INSTALL = 'apt-get update && apt-get install --yes chromium'
const ARGS = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking']

const isInstalled = existsSync(CHROMIUM)
if (!isInstalled && process.env['CI'] !== undefined) throw new Error(`no Chromium: ${INSTALL}`)

const { SIGNING_KEYS = '', KEY_CHECK_SECRETS = '' } = parseEnv(makeSecretLines())
const server = createTestHarness({
  workers: [
    {
      configPath: new URL('../../wrangler.toml', import.meta.url),
      vars: { PUBLIC_URL: 'http://localhost', REGISTRATION: 'open' },
      secrets: { SIGNING_KEYS, KEY_CHECK_SECRETS },
    },
  ],
})

const PASSWORD = 'a password of the tests'
const codes = z.object({ user_code: z.string(), verification_uri_complete: z.string() })

let browser: Browser
let origin: string
/** Of this test alone: attempts are limited by user and by address. */
let someone: { readonly username: string; readonly token: string; readonly address: string }
let tests = 0

async function send(path: string, body: object): Promise<unknown> {
  const headers = { 'Content-Type': 'application/json', 'CF-Connecting-IP': addressOf(tests) }
  const init = { method: 'POST', headers, body: JSON.stringify(body) }
  return await (await fetch(`${origin}${path}`, init)).json()
}

/** A device asks. */
async function askForCodes(): Promise<z.output<typeof codes>> {
  const fields = { client_id: 'acme-thermo-2', scope: 'a:* b', device_name: 'Boiler <b>' }
  const headers = { 'CF-Connecting-IP': someone.address }
  const init = { method: 'POST', headers, body: new URLSearchParams(fields) }
  return codes.parse(await (await fetch(`${origin}/oauth/device_authorization`, init)).json())
}

/** Opens the page of a link as a person does, and notes what the browser complains about. */
async function open(
  path: string,
  options: BrowserContextOptions = {},
): Promise<{ page: Page; complaints: string[] }> {
  const extraHTTPHeaders = { 'CF-Connecting-IP': someone.address }
  const context = await browser.newContext({ extraHTTPHeaders, ...options })
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('console', (message) => complaints.push(message.text()))
  page.on('pageerror', (error) => complaints.push(error.message))
  await page.goto(`${origin}${path}`)
  return { page, complaints }
}

async function signIn(page: Page, password = PASSWORD): Promise<void> {
  await page.getByLabel('Username').fill(someone.username)
  await page.getByLabel('Password').fill(password)
  await page.getByRole('button', { name: 'Continue' }).click()
}

function alert(page: Page, text: string) {
  return page.getByRole('alert').filter({ hasText: text })
}

function addressOf(test: number): string {
  return `192.0.2.${test}`
}

function ownHeaders(): Record<string, string> {
  return { Authorization: `Bearer ${someone.token}`, 'CF-Connecting-IP': someone.address }
}

async function statusOf(userCode: string): Promise<number> {
  const headers = ownHeaders()
  return (await fetch(`${origin}/v1/claims/${userCode}`, { headers })).status
}

/** A claim as its approver sees it. */
async function claimOf(userCode: string): Promise<unknown> {
  const headers = ownHeaders()
  return await (await fetch(`${origin}/v1/claims/${userCode}`, { headers })).json()
}

async function auditActions(): Promise<string> {
  const headers = ownHeaders()
  return await (await fetch(`${origin}/v1/audit-events`, { headers })).text()
}

const title = isInstalled ? 'the page /claim in Chromium' : `the page /claim (needs: ${INSTALL})`

describe.skipIf(!isInstalled)(title, () => {
  beforeAll(async () => {
    origin = (await server.listen()).url.origin
    await server.getWorker('latchkey').applyD1Migrations('DB')
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGS })
  })

  beforeEach(async () => {
    tests += 1
    const account = { username: `someone-${tests}`, password: PASSWORD }
    await send('/v1/users', account)
    const session = await send('/v1/sessions', account)
    const { access_token: token } = z.object({ access_token: z.string() }).parse(session)
    someone = { username: account.username, token, address: addressOf(tests) }
  })

  afterAll(async () => {
    await browser.close()
    await server.close()
  })

  it.each([true, false])('approves, from the link to the end; scripts: %s', async (scripts) => {
    const { user_code: code, verification_uri_complete: link } = await askForCodes()
    const { pathname, search } = new URL(link)
    const { page, complaints } = await open(pathname + search, { javaScriptEnabled: scripts })
    expect(await page.getByLabel('Code on the device').inputValue()).toBe(code)
    await signIn(page)
    await page.getByRole('button', { name: 'Approve' }).waitFor()
    const text = await page.locator('main').innerText()
    expect(text).toContain('Approve only if the device in front of you shows this code')
    for (const shown of [code, 'Boiler <b>', 'acme-thermo-2', someone.address, 'Country']) {
      expect(text).toContain(shown)
    }
    await page.getByLabel('Name of the new device').fill(`Boiler of ${scripts}`)
    const wildcard = page.getByRole('checkbox', { name: 'a:* (everything under a:)' })
    expect(await wildcard.isChecked()).toBe(false)
    expect(await page.getByRole('checkbox', { name: 'b', exact: true }).isChecked()).toBe(true)
    await page.getByRole('button', { name: 'Approve' }).click()
    await page.getByRole('heading', { name: 'Approved' }).waitFor()
    expect(await page.locator('main').innerText()).toContain(`Boiler of ${scripts}`)

    expect(await claimOf(code)).toMatchObject({ status: 'approved' })
    expect(await auditActions()).toContain(`"name":"Boiler of ${scripts}","scopes":["b"]`)
    expect(await page.context().cookies()).toEqual([])
    expect(page.url()).toBe(`${origin}/claim`)
    expect(complaints).toEqual([])
    await page.context().close()
  })

  it('denies, by keyboard alone', async () => {
    const { user_code: code } = await askForCodes()
    const { page } = await open('/claim')
    for (const typed of [someone.username, PASSWORD, code.toLowerCase()]) {
      await page.keyboard.press('Tab')
      await page.keyboard.type(typed)
    }
    await page.keyboard.press('Enter')
    await page.getByRole('button', { name: 'Deny' }).focus()
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: 'Denied' }).waitFor()
    expect(await statusOf(code)).toBe(404)
    await page.context().close()
  })

  it('says what is wrong, and keeps the code', async () => {
    const { user_code: code } = await askForCodes()
    const { page } = await open(`/claim?user_code=${code}`)
    await signIn(page, 'not the password')
    await alert(page, 'Unknown username or wrong password.').waitFor()
    expect(await page.getByLabel('Code on the device').inputValue()).toBe(code)
    await page.getByLabel('Code on the device').fill('BCDF-GHJK')
    await signIn(page)
    await alert(page, 'No device waits under this code').waitFor()
    expect(await statusOf(code)).toBe(200)
    await page.context().close()
  })

  it('has its style, and lets in no other and no script', async () => {
    const { page, complaints } = await open('/claim')
    const widthOf = async () =>
      await page.evaluate('getComputedStyle(document.body).maxWidth').then(String)
    const width = await widthOf()
    expect(width).toMatch(/^5\d\d(\.\d+)?px$/)
    await page.evaluate(`
      const style = document.createElement('style')
      style.textContent = 'body { max-width: 1px }'
      const script = document.createElement('script')
      script.textContent = 'document.title = "taken over"'
      document.body.append(style, script)
    `)
    expect(await widthOf()).toBe(width)
    expect(await page.title()).toBe('Connect a device · Latchkey')
    expect(complaints.join()).toContain('Content Security Policy')
    await page.context().close()
  })

  it('takes its own form after a link from elsewhere, and no form of another page', async () => {
    const { page } = await open('/healthz')
    await page.goto('about:blank')
    await page.setContent(`<a href="${origin}/claim">Connect</a>`)
    await page.getByRole('link', { name: 'Connect' }).click()
    await page.getByLabel('Code on the device').fill('BCDF-GHJK')
    await signIn(page)
    await alert(page, 'No device waits under this code').waitFor()
    await page.goto('about:blank')
    await page.setContent(
      `<form method="post" action="${origin}/claim"><button>Win</button></form>`,
    )
    await page.getByRole('button', { name: 'Win' }).click()
    await page.getByRole('heading', { name: 'The form came from another site' }).waitFor()
    await page.context().close()
  })

  it('is framed by nobody', async () => {
    const { page, complaints } = await open('/claim')
    // A page without a policy of its own: only that of the framed one says no.
    const body = `<iframe src="${origin}/claim"></iframe>`
    const elsewhere = `${origin}/elsewhere`
    await page.route(elsewhere, async (route) => {
      await route.fulfill({ contentType: 'text/html', body })
    })
    await page.goto(elsewhere)
    await expect.poll(() => complaints.join()).toMatch(/frame-ancestors|X-Frame-Options/i)
    const framed = page.frames().map((frame) => frame.url())
    expect(framed).not.toContain(`${origin}/claim`)
    await page.context().close()
  })

  it('fits a narrow screen', async () => {
    const { user_code: code } = await askForCodes()
    const { page } = await open(`/claim?user_code=${code}`, {
      viewport: { width: 320, height: 640 },
    })
    await signIn(page)
    await page.getByRole('button', { name: 'Approve' }).waitFor()
    const root = 'document.documentElement'
    const overflow = await page.evaluate(`${root}.scrollWidth - ${root}.clientWidth`)
    expect(overflow).toBe(0)
    await page.context().close()
  })
})
