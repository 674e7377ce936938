import type { Answer, Sent } from './http.ts'

/** One operation of a client. */
export type Step = {
  readonly name: string
  readonly sent: Sent
  /** The only outcome that is right: a client knows the state of what is its own. */
  readonly expects: string
  /**
   * What its audit row says. It is the one witness of whether a change happened whose answer was
   * lost: all else must agree with it. Without: it changes nothing that is audited.
   */
  readonly action?: string
  /** Notes that it may happen from now on. */
  readonly begin?: () => void
  /**
   * Notes that it happened; undefined: the answer was lost.
   * @returns what is wrong with the answer
   */
  readonly settle: (answer: Answer | undefined) => string | undefined
}

/** For a step that leaves nothing to note. */
export function nothingToNote(): undefined {}
