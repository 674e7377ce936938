/** An expected outcome that a caller must look at: a value, or the reason there is none. */
export type Result<Value, Reason> =
  | { readonly ok: true; readonly value: Value }
  | { readonly ok: false; readonly reason: Reason }

export function ok<Value>(value: Value): { ok: true; value: Value } {
  return { ok: true, value }
}

export function err<Reason>(reason: Reason): { ok: false; reason: Reason } {
  return { ok: false, reason }
}
