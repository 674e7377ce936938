/** The scopes of a row of `api_keys`, where they are a JSON array of strings. */
export function parseScopes(text: string): readonly string[] {
  const parsed: unknown = JSON.parse(text)
  return Array.isArray(parsed) ? parsed.filter((scope) => typeof scope === 'string') : []
}
