/** Typed user messages: what members say to each other beside membership.
 *
 * Job: names a kind of message, its shape, and which older ones a newer one makes pointless.
 * Boundary: queues, order and repair are the core's. Values travel as JSON of the schema, so that releases with slightly
 * different shapes still understand each other; about a kilobyte fits. A member without a reader for a kind skips it
 * silently and still passes it on. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { MemberId } from "../swim/Member.ts"

/** The message has more bytes than one datagram carries. Fault: the caller. State: unchanged, nothing was queued.
 * Retry: useless. */
export class MessageTooLarge extends Schema.TaggedError<MessageTooLarge>()("MessageTooLarge", {
  name: Schema.String,
  bytes: Schema.Finite
}) {
  override get message(): string {
    return `a "${this.name}" of ${this.bytes} bytes fits into no datagram`
  }
}

/** The message did not go out, or its receiver did not confirm it. Fault: `left` and `stopped`: the caller, this member
 * takes no part; otherwise the receiver is unknown or gone, or too much is under way to it. State: `member-gone` and
 * `expired`: it may have been received. Retry: safe for idempotent messages, useful for `queue-full` and `expired`. */
export class Undelivered extends Schema.TaggedError<Undelivered>()("Undelivered", {
  name: Schema.String,
  reason: Schema.Literals(["left", "stopped", "unknown-member", "member-gone", "queue-full", "expired"])
}) {
  override get message(): string {
    return `a "${this.name}" was not delivered: ${this.reason}`
  }
}

/** A reader of messages fell further behind than its buffer. Fault: the reader. State: the messages were passed on to
 * others. Retry: by reading again, from then on. */
export class SlowReader extends Schema.TaggedError<SlowReader>()("SlowReader", {
  name: Schema.String,
  waiting: Schema.Finite
}) {
  override get message(): string {
    return `a reader of "${this.name}" did not keep up: ${this.waiting} messages were waiting`
  }
}

/** One kind of message. */
export interface Broadcast<A> {
  readonly name: string
  readonly urgent: boolean
  readonly key: (value: A) => string
  readonly invalidates: (value: A) => ReadonlyArray<string>
  readonly encode: (value: A) => Effect.Effect<Uint8Array, Schema.SchemaError>
  /** undefined: not of this shape */
  readonly decode: (payload: Uint8Array) => Result.Result<A, Schema.SchemaError>
}

/** A message as a reader gets it. */
export interface Message<A> {
  readonly value: A
  readonly origin: MemberId
  /** Meant for this member alone. */
  readonly direct: boolean
}

export interface Options<A, I> {
  /** The same on all members, 1 to 64 bytes. */
  readonly name: string
  readonly schema: Schema.Codec<A, I>
  /** A newer message replaces an older one of the same name, key and origin wherever that still waits; at most 255 bytes.
   * Default: none, every message counts. */
  readonly key?: ((value: A) => string) | undefined
  /** Further keys whose waiting messages of this name and origin are withdrawn by this one. Default: none. */
  readonly invalidates?: ((value: A) => ReadonlyArray<string>) | undefined
  /** Goes before messages that are not urgent; ordered among urgent ones only. Default: false. */
  readonly urgent?: boolean | undefined
}

const utf8 = new TextEncoder()
const text = new TextDecoder()
const nameBytes = 64
const keyBytes = 255

/** Defines a kind of message. A wrong name is a defect. */
export const define = <A, I>(options: Options<A, I>): Broadcast<A> => {
  const { invalidates, key, name, schema, urgent = false } = options
  const size = utf8.encode(name).length
  if (size === 0 || size > nameBytes) {
    throw new Error(`the name of a broadcast has 1 to ${nameBytes} bytes, not ${size}`)
  }
  const json = Schema.fromJsonString(Schema.toCodecJson(schema))
  const encode = Schema.encodeEffect(json)
  const decode = Schema.decodeUnknownResult(json)
  return {
    name,
    urgent,
    key: (value) => key === undefined ? "" : short(key(value)),
    invalidates: (value) => invalidates === undefined ? [] : invalidates(value).map(short),
    encode: (value) => Effect.map(encode(value), (encoded) => utf8.encode(encoded)),
    decode: (payload) => decode(text.decode(payload))
  }
}

/** Keys longer than what travels are shortened in a way that keeps different ones apart with near certainty. */
const short = (key: string): string => {
  if (key.length <= keyBytes) return key
  let low = 0x811c9dc5
  let high = 0x9dc5811c
  for (let i = 0; i < key.length; i++) {
    low = Math.imul(low ^ key.charCodeAt(i), 0x01000193)
    high = Math.imul(high ^ key.charCodeAt(i), 0x85ebca6b)
  }
  return `${key.slice(0, keyBytes - 20)}#${(low >>> 0).toString(36)}${(high >>> 0).toString(36)}`
}

/** Messages that may wait for one reader: 16,384; beyond that its stream fails with `SlowReader`. Per node. */
export const ReaderCapacity: Context.Reference<number> = Context.Reference<number>("shoal/membership/ReaderCapacity", {
  defaultValue: () => 16_384
})
