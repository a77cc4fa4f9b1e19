/** What one node says to another about a call it hands over, and about its answer, as the heads of a data stream. PURE.
 *
 * Boundary: `Mux` carries the bytes; these are JSON inside. Everything read here came from a peer: decoding is total,
 * checks every field it passes on, and answers undefined for junk.
 * The reply of the function is passed on as the bytes the instance sent, beside what the node has to say, so that only
 * the entry node takes it apart. Hops and path travel here and nowhere else. */
import type * as Headers from "./Headers.ts"

export interface Request {
  readonly callId: string
  readonly version: string
  readonly method: string
  readonly url: string
  readonly headers: Array<Headers.Pair>
  /** Milliseconds left of its time when it was sent. */
  readonly timeoutMs: number
  readonly depth: number
  readonly hops: number
  /** The nodes it passed, oldest first. */
  readonly path: ReadonlyArray<string>
  /** Its body is too large to be sent twice: it is held back until the call is accepted, by a head that says nothing
   * else. The head of the reply then leads the reply's data, behind its length (u32, big endian). */
  readonly large: boolean
}

export type Start = "warm" | "prewarmed" | "cold"

/** What the executing node tells of a call beside the function's answer; durations in milliseconds. */
export interface Told {
  readonly start: Start
  readonly node: string
  readonly queue: number
  readonly init: number
  readonly exec: number
}

/** A function's reply head, as an instance sends it. */
export interface ReplyHead {
  readonly status: number
  readonly headers: Array<Headers.Pair>
}

const encoder = new TextEncoder()
const decoder = new TextDecoder()
const maxHeaders = 512
const maxPath = 16

/** Heads are written here and copied by whoever sends them: a buffer of its own per head costs ten times as much. */
let scratch = new Uint8Array(16 * 1024)

/** Writes text at `offset` of the scratch, growing it; answers the end. */
const write = (text: string, offset: number): number => {
  // A character of a string has at most three bytes.
  if (scratch.length - offset < text.length * 3) {
    const larger = new Uint8Array(offset + text.length * 3)
    larger.set(scratch.subarray(0, offset))
    scratch = larger
  }
  return offset + encoder.encodeInto(text, scratch.subarray(offset)).written
}

/** A head that is kept or sent without being copied needs bytes of its own. */
const copiedUpTo = 4096

const written = (end: number): Uint8Array => end <= copiedUpTo ? scratch.subarray(0, end) : scratch.slice(0, end)

/** The bytes of a request. Up to 4 KiB they are only valid until the next head is encoded: copy what is kept. */
export const encodeRequest = (request: Request): Uint8Array => written(write(JSON.stringify(request), 0))

const parse = (bytes: Uint8Array): Readonly<Record<string, unknown>> | undefined => {
  try {
    const value: unknown = JSON.parse(decoder.decode(bytes))
    return isRecord(value) ? value : undefined
  } catch {
    return undefined
  }
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const isPairs = (value: unknown): value is Array<Headers.Pair> => {
  if (!Array.isArray(value) || value.length > maxHeaders) return false
  for (const pair of value) {
    if (!Array.isArray(pair) || pair.length !== 2) return false
    if (typeof pair[0] !== "string" || typeof pair[1] !== "string" || pair[0].length === 0) return false
  }
  return true
}

const isText = (value: unknown, longest: number): value is string =>
  typeof value === "string" && value.length > 0 && value.length <= longest

const isCount = (value: unknown): value is number => typeof value === "number" && value >= 0 && value <= 1e9

const isPath = (value: unknown): value is Array<string> =>
  Array.isArray(value) && value.length <= maxPath && value.every((id) => isText(id, 256))

export const decodeRequest = (bytes: Uint8Array): Request | undefined => {
  const read = parse(bytes)
  if (read === undefined) return undefined
  const { callId, depth, headers, hops, large, method, path, timeoutMs, url, version } = read
  if (typeof large !== "boolean") return undefined
  if (!isText(callId, 128) || !isText(version, 128) || !isText(method, 32) || !isText(url, 65_536)) return undefined
  if (!isCount(timeoutMs) || !isCount(depth) || !isCount(hops) || !isPath(path) || !isPairs(headers)) return undefined
  return { callId, version, method, url, headers, timeoutMs, depth, hops, path, large }
}

/** The status and headers of an instance's reply; undefined when it is not one that can be sent to a client. */
export const decodeReplyHead = (bytes: Uint8Array): ReplyHead | undefined => readReplyHead(parse(bytes))

const readReplyHead = (read: unknown): ReplyHead | undefined => {
  if (!isRecord(read)) return undefined
  const { headers, status } = read
  if (typeof status !== "number" || !Number.isInteger(status) || status < 200 || status > 599) return undefined
  return isPairs(headers) ? { status, headers } : undefined
}

/** Wraps the reply head of an instance, unread, in what the node tells. Valid as long as that of `encodeRequest`. */
export const encodeReply = (told: Told, replyHead: Uint8Array): Uint8Array => {
  const start = write(`{"told":${JSON.stringify(told)},"reply":`, 0)
  const end = start + replyHead.length
  if (scratch.length <= end) {
    const larger = new Uint8Array(end + 1)
    larger.set(scratch.subarray(0, start))
    scratch = larger
  }
  scratch.set(replyHead, start)
  scratch[end] = 0x7d
  return written(end + 1)
}

export const decodeReply = (bytes: Uint8Array): { readonly told: Told; readonly head: ReplyHead } | undefined => {
  const read = parse(bytes)
  const told = read?.["told"]
  const head = readReplyHead(read?.["reply"])
  if (head === undefined || !isRecord(told)) return undefined
  const { exec, init, node, queue, start } = told
  if (start !== "warm" && start !== "prewarmed" && start !== "cold") return undefined
  if (!isText(node, 256) || !isCount(queue) || !isCount(init) || !isCount(exec)) return undefined
  return { told: { start, node, queue, init, exec }, head }
}

/** The head that accepts a large call. */
export const accepted = encoder.encode("{\"accepted\":true}")

/** A head as the first data of a reply. */
export const prefixed = (head: Uint8Array): Uint8Array => {
  const bytes = new Uint8Array(4 + head.length)
  new DataView(bytes.buffer).setUint32(0, head.length)
  bytes.set(head, 4)
  return bytes
}

const maxPrefixed = 256 * 1024

/** Takes a prefixed head out of the first data of a reply. */
export class PrefixReader {
  #bytes = new Uint8Array(0)

  /** The head and the data after it once it is complete; `broken` when it cannot be one. */
  push(chunk: Uint8Array): { readonly head: Uint8Array; readonly rest: Uint8Array } | "more" | "broken" {
    const bytes = new Uint8Array(this.#bytes.length + chunk.length)
    bytes.set(this.#bytes)
    bytes.set(chunk, this.#bytes.length)
    this.#bytes = bytes
    if (bytes.length < 4) return "more"
    const length = new DataView(bytes.buffer).getUint32(0)
    if (length > maxPrefixed) return "broken"
    if (bytes.length < 4 + length) return "more"
    return { head: bytes.subarray(4, 4 + length), rest: bytes.subarray(4 + length) }
  }
}

/** The `execMs` of a trailer, undefined when it carries none. */
export const decodeTrailer = (bytes: Uint8Array): number | undefined => {
  if (bytes.length === 0 || bytes.length > 1024) return undefined
  const execMs = parse(bytes)?.["execMs"]
  return isCount(execMs) ? execMs : undefined
}

/** Codes of stream errors between nodes: a refusal places the call anew, the others are the reason it failed. */
export const refusedCode = (refusal: string): string => `refused:${refusal}`
export const failedCode = (reason: string): string => `failed:${reason}`

export type Verdict =
  | { readonly _tag: "Refused"; readonly refusal: "busy" | "not-warm" | "draining" | "failing" }
  | { readonly _tag: "Failed"; readonly reason: string }
  /** Not a verdict of the other gateway: the connection itself ended. */
  | { readonly _tag: "Lost" }

const lost: Verdict = { _tag: "Lost" }

export const readCode = (code: string): Verdict => {
  if (code.startsWith("failed:")) return { _tag: "Failed", reason: code.slice("failed:".length) }
  if (!code.startsWith("refused:")) return lost
  const refusal = code.slice("refused:".length)
  return refusal === "busy" || refusal === "draining" || refusal === "failing"
    ? { _tag: "Refused", refusal }
    : { _tag: "Refused", refusal: "not-warm" }
}
