/** The database and the objects: what every request could spend for everybody else. */
export type Io = Pick<Env, 'DB' | 'DEVICE_STATE'>

/**
 * The database and the objects behind a lock: a handler can carry them and not use them. Only
 * `admit` (http/auth/admit.ts) opens it, once the request has paid at its door.
 */
export class LockedIo {
  readonly #io: Io

  constructor({ DB, DEVICE_STATE }: Io) {
    this.#io = { DB, DEVICE_STATE }
  }

  static unlock(locked: LockedIo): Io {
    return locked.#io
  }
}
