/** Every error the platform itself answers a call with: its status, its JSON, and if trying again can help. PURE.
 *
 * Boundary: which error a call gets is decided elsewhere; a function's own answers, whatever their status, never pass
 * here. The message of a failed handler is for the log: `body` takes only what may be shown.
 * Invariants: F1 (an accepted call that gets no answer of its function gets one of these). */

export type Reason =
  | "bad-request"
  | "forbidden"
  | "not-found"
  | "body-too-large"
  | "concurrency"
  | "handler-error"
  | "bad-reply"
  | "crashed"
  | "out-of-memory"
  | "over-cpu"
  | "host-crash"
  | "start-failed"
  | "peer-lost"
  | "no-capacity"
  | "draining"
  | "unavailable"
  | "timeout"
  | "loop"

/** The part of the platform that gave up: the gateway, the routing below it, or the executor that ran the function. */
export type Component = "gateway" | "router" | "executor"

interface Kind {
  readonly status: number
  readonly component: Component
  /** The function was certainly not run, or was stopped by a passing condition: the same call may be sent again. */
  readonly retryable: boolean
}

const kind = (status: number, component: Component, retryable: boolean): Kind => ({ status, component, retryable })

const kinds: Readonly<Record<Reason, Kind>> = {
  "bad-request": kind(400, "gateway", false),
  forbidden: kind(403, "gateway", false),
  "not-found": kind(404, "router", false),
  "body-too-large": kind(413, "gateway", false),
  concurrency: kind(429, "router", true),
  "handler-error": kind(500, "executor", false),
  "bad-reply": kind(502, "executor", false),
  crashed: kind(502, "executor", false),
  "out-of-memory": kind(502, "executor", false),
  "over-cpu": kind(502, "executor", false),
  "host-crash": kind(502, "executor", false),
  "start-failed": kind(502, "executor", false),
  "peer-lost": kind(502, "router", false),
  "no-capacity": kind(503, "router", true),
  draining: kind(503, "gateway", true),
  unavailable: kind(503, "router", true),
  timeout: kind(504, "gateway", false),
  loop: kind(508, "router", false)
}

/** What a reason means, for a person who does not know the words. */
const sentences: Readonly<Partial<Record<Reason, string>>> = {
  concurrency: "every instance has as many calls as the function may have",
  "handler-error": "the function failed; the log of the node that ran it says why, under this call id",
  "bad-reply": "the function's answer cannot be sent",
  crashed: "the function's instance ended during the call",
  "out-of-memory": "the function used more memory than it may",
  "host-crash": "the process in which the function ran ended during the call",
  "start-failed": "the function does not start",
  "peer-lost": "the node that had the call was lost",
  "no-capacity": "the node can take no more now",
  draining: "the node leaves",
  timeout: "the function did not answer within its time",
  loop: "the call was handed on too often"
}

export const isReason = (text: string): text is Reason => Object.hasOwn(kinds, text)

export const status = (reason: Reason): number => kinds[reason].status

/** What the caller is told beside the reason. */
export interface Detail {
  /** May be shown to anyone. */
  readonly message?: string | undefined
  /** The nodes a looping call passed. */
  readonly path?: ReadonlyArray<string> | undefined
  /** The method may be repeated without harm, so any failure may be tried again. */
  readonly idempotent?: boolean | undefined
}

/** The JSON text of an error. */
export const body = (reason: Reason, callId: string, detail?: Detail): string => {
  const { component, retryable, status } = kinds[reason]
  return JSON.stringify({
    component,
    reason,
    callId,
    retryable: retryable || (detail?.idempotent === true && (status === 502 || status === 504)),
    message: detail?.message ?? sentences[reason],
    path: detail?.path
  })
}

/** Seconds for `Retry-After`, for the reasons that carry it. */
export const retryAfter = (reason: Reason): number | undefined => {
  const { status } = kinds[reason]
  return status === 429 || status === 503 ? 1 : undefined
}
