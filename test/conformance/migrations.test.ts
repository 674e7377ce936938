import { readdirSync, readFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, it } from 'vitest'
import { SCHEMA_NUMBER } from '../../src/db/schema.ts'

const FILES = readdirSync('drizzle').filter((name) => name.endsWith('.sql'))

const numberOf = (file: string): number => Number(file.slice(0, '0000'.length))

/** Applies the migrations whose numbers are from the one to the other. */
function migrate(database: DatabaseSync, from: number, to: number): void {
  const due = FILES.filter((file) => numberOf(file) >= from && numberOf(file) <= to).toSorted()
  for (const file of due) database.exec(readFileSync(`drizzle/${file}`, 'utf8'))
}

const insertUser = (id: string) =>
  `insert into users (id, username, username_key, password_hash, role, created_at)
   values ('${id}', '${id}', '${id}', 'x', 'user', 1)`
const insertDevice = (id: string, userId: string) =>
  `insert into devices (id, user_id, name, metadata, created_at, updated_at)
   values ('${id}', '${userId}', '${id}', '{}', 1, 1)`

describe('The migrations', () => {
  it('tell the database the number of the newest, which the Worker asks for', () => {
    const database = new DatabaseSync(':memory:')
    migrate(database, 0, Infinity)
    const row = database.prepare("select value from meta where name = 'schema'").get()
    expect(row).toEqual({ value: String(SCHEMA_NUMBER) })
    expect(Math.max(...FILES.map(numberOf))).toBe(SCHEMA_NUMBER)
  })

  it('count the devices that are there, and from then on every one that comes or goes', () => {
    const database = new DatabaseSync(':memory:')
    migrate(database, 0, 4)
    for (const id of ['alice', 'bob']) database.exec(insertUser(id))
    for (const id of ['a', 'b', 'c']) database.exec(insertDevice(id, 'alice'))
    migrate(database, 5, Infinity)
    const counts = () =>
      database
        .prepare('select device_count as n from users order by id')
        .all()
        .map(({ n }) => n)
    expect(counts()).toEqual([3, 0])
    database.exec(insertDevice('d', 'bob'))
    database.exec("delete from devices where id in ('a', 'b')")
    expect(counts()).toEqual([1, 1])
  })

  it('have a name folded anew that a Worker of before changes, and leave it to today’s', () => {
    const database = new DatabaseSync(':memory:')
    migrate(database, 0, Infinity)
    database.exec(insertUser('alice'))
    database.exec(insertDevice('a', 'alice'))
    const folded = () => database.prepare('select name_folded as folded from devices').get()
    database.exec("update devices set name_folded = 'a'")
    database.exec("update devices set metadata = '{}', name = name")
    expect(folded()).toEqual({ folded: 'a' })
    database.exec("update devices set name = 'B', name_folded = 'b'")
    expect(folded()).toEqual({ folded: 'b' })
    database.exec("update devices set name = 'C'")
    expect(folded()).toEqual({ folded: null })
  })
})
