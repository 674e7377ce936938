/** What a password may be where one is set. NIST SP 800-63B: length, and no rules of composition. */
export const PASSWORD_MIN_CHARACTERS = 8
export const PASSWORD_MAX_CHARACTERS = 128
