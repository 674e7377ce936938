import { isPlatformFailure } from '../domain/unavailable.ts'

/** How D1's own errors begin. A setting's fault may begin with D1_TIMEOUT_MS. */
const D1_ERROR = /^D1_\w*ERROR\b/

/** D1's own error: Drizzle wraps it outside a batch, inside one it is thrown as it is. */
function d1Message(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error)) return undefined
  if (D1_ERROR.test(thrown.message)) return thrown.message
  return thrown.cause instanceof Error && D1_ERROR.test(thrown.cause.message)
    ? thrown.cause.message
    : undefined
}

/** The column of a violated unique constraint (`devices.user_id` is its first), if it is one. */
export function violatedUniqueColumn(thrown: unknown): string | undefined {
  const message = d1Message(thrown)
  if (message === undefined) return undefined
  return /UNIQUE constraint failed: (?:index ')?([\w.]+)/.exec(message)?.[1]
}

const CONSTRAINT = /constraint failed|SQLITE_CONSTRAINT/
const BAD_VALUE = /^D1_TYPE_ERROR|Wrong number of parameter bindings/
const BAD_STATEMENT =
  /no such \w+: |has no column named|syntax error|SQLITE_(?:ERROR|MISMATCH|RANGE|MISUSE|TOOBIG)\b/

/** Whether SQLite cannot run a statement: it is a bug of ours, or the schema is behind. */
export function isStatementFault(thrown: unknown): boolean {
  return BAD_STATEMENT.test(d1Message(thrown) ?? '')
}

/** Whether the database failed, as against a refused constraint or a fault of our own. */
export function isDatabaseFailure(thrown: unknown): boolean {
  const message = d1Message(thrown)
  if (message !== undefined) {
    return ![CONSTRAINT, BAD_VALUE, BAD_STATEMENT].some((fault) => fault.test(message))
  }
  return isPlatformFailure(thrown) || (thrown instanceof Error && isPlatformFailure(thrown.cause))
}
