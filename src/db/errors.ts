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
  return message !== undefined && !message.includes('constraint failed')
}
