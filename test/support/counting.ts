/** The statements that ran through a wrapped database, as SQL text. */
export type CountedStatements = { readonly statements: string[]; readonly database: D1Database }

const RUNS = new Set<PropertyKey>(['first', 'run', 'all', 'raw'])

/** Wraps a database so that every statement it runs is noted, one by one also in a batch. */
export function countStatements(database: D1Database): CountedStatements {
  const statements: string[] = []
  const texts = new WeakMap<object, string>()
  const inner = new WeakMap<object, D1PreparedStatement>()

  const wrap = (statement: D1PreparedStatement, text: string): D1PreparedStatement => {
    const wrapped = new Proxy(statement, {
      get(target, property) {
        if (property === 'bind') {
          return (...values: unknown[]) => wrap(target.bind(...values), text)
        }
        const member: unknown = Reflect.get(target, property, target)
        if (typeof member !== 'function') return member
        return (...args: unknown[]): unknown => {
          if (RUNS.has(property)) statements.push(text)
          return Reflect.apply(member, target, args)
        }
      },
    })
    texts.set(wrapped, text)
    inner.set(wrapped, statement)
    return wrapped
  }

  const wrapped = new Proxy(database, {
    get(target, property) {
      if (property === 'prepare') return (text: string) => wrap(target.prepare(text), text)
      if (property === 'batch') {
        return (batch: D1PreparedStatement[]): unknown => {
          for (const statement of batch) statements.push(texts.get(statement) ?? 'unknown')
          return target.batch(batch.map((statement) => inner.get(statement) ?? statement))
        }
      }
      const member: unknown = Reflect.get(target, property, target)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
  return { statements, database: wrapped }
}
