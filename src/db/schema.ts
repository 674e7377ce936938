/* oxlint-disable max-lines -- the tables are read side by side */
import { sql } from 'drizzle-orm'
import { index, integer, primaryKey, sqliteTable, text, uniqueIndex } from 'drizzle-orm/sqlite-core'

/** The number of the newest migration. The Worker needs a database that is at least there. */
export const SCHEMA_NUMBER = 6

/**
 * The tables. Times are whole milliseconds since the epoch in columns `*_at`; a `*_at` that may be
 * null says both whether and when. Nothing cascades: services delete children in the same batch.
 */

export const users = sqliteTable('users', {
  id: text('id').primaryKey(),
  username: text('username').notNull(),
  /** NFKC in lower case, which SQLite's own folding (ASCII only) is not. */
  usernameKey: text('username_key').notNull().unique(),
  passwordHash: text('password_hash').notNull(),
  role: text('role', { enum: ['user', 'admin'] }).notNull(),
  createdAt: integer('created_at').notNull(),
  disabledAt: integer('disabled_at'),
  /** How many devices the user may have; null: USER_MAX_DEVICES. */
  maxDevices: integer('max_devices'),
  /** How many there are: triggers on `devices` keep it. */
  deviceCount: integer('device_count').notNull().default(0),
})

export const sessions = sqliteTable(
  'sessions',
  {
    id: text('id').primaryKey(),
    userId: text('user_id')
      .notNull()
      .references(() => users.id),
    /** SHA-256 of the one refresh token that is current. */
    refreshHash: text('refresh_hash').notNull(),
    /** SHA-256 of the one before it; null until the first refresh. */
    previousHash: text('previous_hash'),
    ip: text('ip'),
    userAgent: text('user_agent'),
    createdAt: integer('created_at').notNull(),
    refreshedAt: integer('refreshed_at').notNull(),
    expiresAt: integer('expires_at').notNull(),
    revokedAt: integer('revoked_at'),
  },
  (table) => [
    index('sessions_user_created').on(table.userId, table.createdAt, table.id),
    index('sessions_expires').on(table.expiresAt),
  ],
)

/**
 * Failed sign-ins by account, network and hour: the cron tells them in the audit and deletes them.
 * No reference: an unknown username is counted too, under an id that no user has.
 */
export const signInFailures = sqliteTable(
  'sign_in_failures',
  {
    userId: text('user_id').notNull(),
    /** When the hour began, in milliseconds. */
    hour: integer('hour').notNull(),
    network: text('network').notNull(),
    count: integer('count').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.userId, table.hour, table.network] }),
    index('sign_in_failures_hour').on(table.hour),
  ],
)

/** From which networks an account signed in lately: no guesses elsewhere make it wait there. */
export const signInNetworks = sqliteTable(
  'sign_in_networks',
  {
    userId: text('user_id')
      .notNull()
      .references(() => users.id),
    network: text('network').notNull(),
    signedInAt: integer('signed_in_at').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.userId, table.network] }),
    index('sign_in_networks_time').on(table.signedInAt),
  ],
)

export const devices = sqliteTable(
  'devices',
  {
    id: text('id').primaryKey(),
    userId: text('user_id')
      .notNull()
      .references(() => users.id),
    name: text('name').notNull(),
    /** The name as searches compare it (domain/names.ts); null: not folded yet. See `growth`. */
    nameFolded: text('name_folded'),
    /** A JSON object. */
    metadata: text('metadata').notNull(),
    createdAt: integer('created_at').notNull(),
    updatedAt: integer('updated_at').notNull(),
    disabledAt: integer('disabled_at'),
    /** The day of its last use: its object writes it, at most once a day. */
    lastUsedAt: integer('last_used_at'),
  },
  (table) => [
    uniqueIndex('devices_user_name').on(table.userId, table.name),
    index('devices_user_created').on(table.userId, table.createdAt, table.id),
    // And `devices_user_folded`, on an expression that drizzle-kit cannot write: see `growth`.
    index('devices_unfolded')
      .on(table.id)
      .where(sql`name_folded is null`),
  ],
)

export const apiKeys = sqliteTable(
  'api_keys',
  {
    id: text('id').primaryKey(),
    deviceId: text('device_id')
      .notNull()
      .references(() => devices.id),
    name: text('name').notNull(),
    /** A JSON array of strings. */
    scopes: text('scopes').notNull(),
    createdAt: integer('created_at').notNull(),
    updatedAt: integer('updated_at').notNull(),
    expiresAt: integer('expires_at'),
    disabledAt: integer('disabled_at'),
    revokedAt: integer('revoked_at'),
    revokedReason: text('revoked_reason'),
    /** Null in all four: not limited. */
    rateLimit: integer('rate_limit'),
    rateWindowSeconds: integer('rate_window_seconds'),
    quotaLimit: integer('quota_limit'),
    quotaPeriod: text('quota_period', { enum: ['hour', 'day', 'month', 'total'] }),
    /** Whether its device may rotate it. */
    selfRotation: integer('self_rotation', { mode: 'boolean' }).notNull().default(false),
  },
  (table) => [index('api_keys_device').on(table.deviceId, table.createdAt, table.id)],
)

export const keySecrets = sqliteTable(
  'key_secrets',
  {
    /** SHA-256 of the whole secret, in base64url: all that is kept of it. */
    hash: text('hash').primaryKey(),
    /** Null on a tombstone: the key was deleted, its secrets stay known as revoked. */
    keyId: text('key_id').references(() => apiKeys.id),
    /** On a tombstone, whose key it was. No reference: the account may be gone too. */
    tombstoneUserId: text('tombstone_user_id'),
    hint: text('hint').notNull(),
    /** Which check secret made it; null for an imported one, which has no check. */
    checkId: text('check_id'),
    imported: integer('imported', { mode: 'boolean' }).notNull().default(false),
    createdAt: integer('created_at').notNull(),
    expiresAt: integer('expires_at'),
    revokedAt: integer('revoked_at'),
    /** When its use after its end was put on record. */
    retiredUseAt: integer('retired_use_at'),
    /** When it was first accepted, and the country (two letters) from which it was presented. */
    firstUsedAt: integer('first_used_at'),
    firstUsedCountry: text('first_used_country'),
    /** The hash of the secret that lives until this one is first used, and then for overlap_ms. */
    replaces: text('replaces'),
    overlapMs: integer('overlap_ms'),
    /** Its device asked for it, with the secret of this hash or in the claim of this id. */
    mintedWith: text('minted_with'),
  },
  (table) => [index('key_secrets_key').on(table.keyId)],
)

/**
 * Append-only, by triggers: an event may be deleted after 90 days, and lose its `ip` after 7. See
 * the migration `growth`.
 */
export const auditEvents = sqliteTable(
  'audit_events',
  {
    id: text('id').primaryKey(),
    at: integer('at').notNull(),
    /** Whose events these are. No reference: they outlive the account. */
    userId: text('user_id').notNull(),
    action: text('action').notNull(),
    actorType: text('actor_type', { enum: ['user', 'device', 'system'] }).notNull(),
    actorId: text('actor_id'),
    deviceId: text('device_id'),
    keyId: text('key_id'),
    ip: text('ip'),
    requestId: text('request_id'),
    /** The changed fields before and after, as JSON objects; never a secret. */
    before: text('before'),
    after: text('after'),
  },
  (table) => [index('audit_events_user').on(table.userId, table.at, table.id)],
)

/**
 * Requests of devices that hold nothing yet (RFC 8628). Of the two codes only digests are kept. No
 * references: a claim is short-lived, and whoever it names may go before it does.
 */
export const deviceClaims = sqliteTable(
  'device_claims',
  {
    id: text('id').primaryKey(),
    /** SHA-256 of the device code, in base64url. */
    deviceCodeHash: text('device_code_hash').notNull().unique(),
    /** HMAC of the user code: eight letters could be found from a plain digest. */
    userCodeHmac: text('user_code_hmac').notNull().unique(),
    /** What the maker calls the model: the device's own word. */
    clientId: text('client_id').notNull(),
    /** The device that asked with its own secret, and must poll with it; null: nobody did. */
    clientDeviceId: text('client_device_id'),
    /** What the device asks for, as a JSON array of strings. */
    scopes: text('scopes').notNull(),
    deviceName: text('device_name'),
    ip: text('ip'),
    country: text('country'),
    createdAt: integer('created_at').notNull(),
    expiresAt: integer('expires_at').notNull(),
    intervalSeconds: integer('interval_seconds').notNull(),
    lastPolledAt: integer('last_polled_at'),
    decidedAt: integer('decided_at'),
    deniedAt: integer('denied_at'),
    /**
     * The approver, their session, and what they gave: all null until the approval. A trigger
     * withdraws the approvals of a user who is disabled: see `users_withdraw_claims`.
     */
    approvedBy: text('approved_by'),
    approvedSessionId: text('approved_session_id'),
    approvedScopes: text('approved_scopes'),
    approvedName: text('approved_name'),
    /** A device of the approver's that gets the key; null: a new device. */
    targetDeviceId: text('target_device_id'),
    keyName: text('key_name'),
    keyExpiresAt: integer('key_expires_at'),
    rateLimit: integer('rate_limit'),
    rateWindowSeconds: integer('rate_window_seconds'),
    quotaLimit: integer('quota_limit'),
    quotaPeriod: text('quota_period', { enum: ['hour', 'day', 'month', 'total'] }),
    selfRotation: integer('self_rotation', { mode: 'boolean' }).notNull().default(false),
    redeemedAt: integer('redeemed_at'),
    /** The key that it was spent on: which of two polls at once spent it. */
    keyId: text('key_id'),
  },
  (table) => [
    index('device_claims_expires').on(table.expiresAt),
    index('device_claims_pending')
      .on(table.expiresAt)
      .where(sql`decided_at is null`),
    index('device_claims_approved')
      .on(table.approvedBy)
      .where(sql`approved_by is not null and redeemed_at is null`),
  ],
)

/**
 * What was ended, in order: the feed by which tokens die before they expire. A user who is disabled
 * or gets another role is put on it by a trigger, whoever does it: see `users_end_tokens`.
 */
export const revocations = sqliteTable('revocations', {
  seq: integer('seq').primaryKey({ autoIncrement: true }),
  /** The id of a key, device, owner or token, or the hash of a secret. */
  subject: text('subject').notNull(),
  /** Whose it is; null only in entries of before this column. */
  ownerId: text('owner_id'),
  at: integer('at').notNull(),
})

/** Successes that can be asked for again under an Idempotency-Key, for 24 hours. */
export const idempotency = sqliteTable(
  'idempotency',
  {
    /** SHA-256 of who asked (a session or a secret) and the Idempotency-Key. */
    id: text('id').primaryKey(),
    /** SHA-256 of method, path and body. */
    bodyHash: text('body_hash').notNull(),
    /** The ids and the secret that were handed out, under a key that only the client can name. */
    sealed: text('sealed').notNull(),
    createdAt: integer('created_at').notNull(),
  },
  (table) => [index('idempotency_created').on(table.createdAt)],
)

/** Deleted devices whose Durable Object is still to be emptied. */
export const purges = sqliteTable(
  'purges',
  {
    deviceId: text('device_id').primaryKey(),
    /** Whose device it was, so that no owner waits for another's. */
    userId: text('user_id').notNull().default(''),
    at: integer('at').notNull(),
  },
  (table) => [index('purges_user').on(table.userId, table.at, table.deviceId)],
)

/** What the database knows of itself: `schema`, the number of its newest migration; progress. */
export const meta = sqliteTable('meta', {
  name: text('name').primaryKey(),
  value: text('value').notNull(),
})
