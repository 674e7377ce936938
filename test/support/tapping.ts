const RUNS = new Set<PropertyKey>(['first', 'run', 'all', 'raw'])

/**
 * What stands between the application and D1. It is told the SQL of a call, one text for a
 * statement and several for a batch, and decides what becomes of it.
 */
export type Tap = (texts: readonly string[], run: () => Promise<unknown>) => Promise<unknown>

/** Wraps a database so that each of its calls goes through the tap. */
export function tapDatabase(database: D1Database, tap: Tap): D1Database {
  const texts = new WeakMap<object, string>()
  const inner = new WeakMap<object, D1PreparedStatement>()

  const wrap = (statement: D1PreparedStatement, text: string): D1PreparedStatement => {
    const wrapped = new Proxy(statement, {
      get(target, property) {
        if (property === 'bind') {
          return (...values: unknown[]) => wrap(target.bind(...values), text)
        }
        const member: unknown = Reflect.get(target, property, target)
        if (typeof member !== 'function' || !RUNS.has(property)) return member
        return (...args: unknown[]): unknown =>
          tap([text], async () => await Reflect.apply(member, target, args))
      },
    })
    texts.set(wrapped, text)
    inner.set(wrapped, statement)
    return wrapped
  }

  return new Proxy(database, {
    get(target, property) {
      if (property === 'prepare') return (text: string) => wrap(target.prepare(text), text)
      if (property === 'batch') {
        return (batch: D1PreparedStatement[]): unknown =>
          tap(
            batch.map((statement) => texts.get(statement) ?? 'unknown'),
            async () => await target.batch(batch.map((given) => inner.get(given) ?? given)),
          )
      }
      const member: unknown = Reflect.get(target, property, target)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
}
