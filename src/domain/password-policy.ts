/** What a new password may be. NIST SP 800-63B: its length counts, its composition does not. */
export const PASSWORD_MIN_CHARACTERS = 8
export const PASSWORD_MAX_CHARACTERS = 128
