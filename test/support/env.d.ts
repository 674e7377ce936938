declare namespace Cloudflare {
  interface Env {
    TEST_MIGRATIONS: import('cloudflare:test').D1Migration[]
    /** How many requests one caller sends to each route. */
    TEST_ANONYMOUS_REQUESTS: string
    /** How many devices call from one address. */
    TEST_FLEET: string
  }
}

/** A file of the repository, as text. */
declare module '*?raw' {
  const text: string
  export default text
}
