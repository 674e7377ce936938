import { vi } from 'vitest'

export type LogLine = { readonly level: 'info' | 'warn' | 'error'; readonly text: string }

/** Collects what is written to the console from here on; `vi.restoreAllMocks()` ends it. */
export function captureConsole(): LogLine[] {
  const lines: LogLine[] = []
  const levels = ['info', 'warn', 'error'] as const
  for (const level of levels) {
    vi.spyOn(console, level).mockImplementation((...args: unknown[]) => {
      lines.push({ level, text: args.map(String).join(' ') })
    })
  }
  for (const level of ['log', 'debug'] as const) {
    vi.spyOn(console, level).mockImplementation(() => {
      throw new Error(`console.${level} is not for the application`)
    })
  }
  return lines
}

/** The structured lines of one event kind. */
export function eventsOf(lines: readonly LogLine[], event: string): Record<string, unknown>[] {
  return lines
    .map(({ text }): Record<string, unknown> => JSON.parse(text))
    .filter((line) => line['event'] === event)
}
