/** A request that may be sent again: see services/changes/idempotency.ts. */
export type Once = {
  /** Who asked: a session's id or a secret's hash. Another's same key is another key. */
  readonly scope: string
  /** The client's Idempotency-Key. It is never kept, and never logged. */
  readonly key: string
  /** Method, path and body. */
  readonly request: string
}
