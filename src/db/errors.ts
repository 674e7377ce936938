/** D1's own error: Drizzle wraps it outside a batch, inside one it is thrown as it is. */
function d1Message(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error)) return undefined
  if (thrown.message.startsWith('D1_')) return thrown.message
  return thrown.cause instanceof Error && thrown.cause.message.startsWith('D1_')
    ? thrown.cause.message
    : undefined
}

/** The column of a violated unique constraint (`devices.user_id` is its first), if it is one. */
export function violatedUniqueColumn(thrown: unknown): string | undefined {
  const message = d1Message(thrown)
  if (message === undefined) return undefined
  return /UNIQUE constraint failed: (?:index ')?([\w.]+)/.exec(message)?.[1]
}

/** Whether the database failed, as against a refused constraint or a fault of our own. */
export function isDatabaseFailure(thrown: unknown): boolean {
  const message = d1Message(thrown)
  if (message !== undefined) return !message.includes('constraint failed')
  return isTransient(thrown) || (thrown instanceof Error && isTransient(thrown.cause))
}

/** The platform marks an error that may pass. A lost connection has no mark, only its message. */
function isTransient(thrown: unknown): boolean {
  if (!(thrown instanceof Error)) return false
  if ('retryable' in thrown && thrown.retryable === true) return true
  if ('overloaded' in thrown && thrown.overloaded === true) return true
  return thrown.message.includes('Network connection lost')
}
