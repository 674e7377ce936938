import { describe, expect, it } from 'vitest'
import { rowsOf } from '../support/rows.ts'

describe('a page after another', () => {
  it.each([
    ['audit_events', 'at', 'audit_events_user', '<'],
    ['devices', 'created_at', 'devices_user_created', '>'],
  ])(
    'of %s is a range of its index, and reads nothing before it',
    async (table, at, index, sign) => {
      const [step] = await rowsOf(
        `explain query plan select * from ${table} where user_id = ? and (${at}, id) ${sign} (?, ?)
         order by ${at} ${sign === '<' ? 'desc' : 'asc'}, id ${sign === '<' ? 'desc' : 'asc'} limit 21`,
        'user_x',
        1,
        'x',
      )
      expect(step?.['detail']).toBe(
        `SEARCH ${table} USING INDEX ${index} (user_id=? AND (${at},id)${sign}(?,?))`,
      )
    },
  )
})
