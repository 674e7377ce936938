import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { ProblemCode } from './problems.ts'

/** One fault of a body: where it is (RFC 6901) and what is wrong with it. */
export type FieldError = { readonly pointer: string; readonly detail: string }

export type ProblemOptions = {
  /** A sentence about this occurrence. Nothing secret, and nothing of the database's. */
  readonly detail?: string
  readonly errors?: readonly FieldError[]
  /** Further members of the document (RFC 9457 §3.2). */
  readonly members?: Readonly<Record<string, unknown>>
  readonly headers?: Readonly<Record<string, string>>
}

/** An error that is to be answered, before it has a format. */
export type Problem = ProblemOptions & {
  readonly code: ProblemCode
  readonly status: ContentfulStatusCode
  readonly title: string
  readonly detail: string
  readonly headers: Readonly<Record<string, string>>
}
