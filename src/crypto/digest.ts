const utf8 = new TextEncoder()

/** SHA-256 of a string's UTF-8 bytes, in base64url: what is kept of a secret. */
export async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', utf8.encode(text))
  return Buffer.from(digest).toString('base64url')
}
