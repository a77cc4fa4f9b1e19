/** The first bytes on every stream between nodes: who calls, for what, and which protocol. PURE.
 *
 * Job: magic, protocol range, kind of connection, cluster label, member, bootId, epoch of the reign and the
 * serializations the sender can speak, as one frame of at most 1 KiB; read incrementally and refused with a reason.
 * Boundary: only bytes. What a connection carries afterwards is its kind's business; who may call is decided by the
 * reader of the hello. */
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

/** The protocol versions this release speaks; a peer must share at least one. */
export const protocol = { min: 1, max: 1 } as const

/** What the connection is for: calls of the control plane, or invocations of functions. */
export const Kind = Schema.Literals(["control", "data"])
export type Kind = typeof Kind.Type

export const Hello = Schema.Struct({
  min: Schema.Int,
  max: Schema.Int,
  kind: Kind,
  /** clusters with different labels never talk */
  label: Schema.String,
  id: Schema.String,
  bootId: Schema.Int,
  /** epoch of the reign the sender obeys, 0 if none */
  epoch: Schema.Int,
  /** RPC serializations in order of preference, or the one chosen in the answer */
  serializations: Schema.Array(Schema.String),
  /** set in an answer that refuses */
  refused: Schema.optionalKey(Schema.String)
})
export type Hello = typeof Hello.Type

/** "SHOL" and the version of the hello's own frame. */
const magic = Uint8Array.of(0x53, 0x48, 0x4f, 0x4c, 1)
const headerBytes = magic.length + 2
const limitBytes = 1024

const encode = Schema.encodeResult(Schema.fromJsonString(Hello))
const decode = Schema.decodeUnknownResult(Schema.fromJsonString(Hello))

/** The frame of a hello. A hello of our own that is too large is a defect. */
export const toBytes = (hello: Hello): Uint8Array => {
  const body = new TextEncoder().encode(Result.getOrThrow(encode(hello)))
  if (body.length > limitBytes) throw new RangeError("a hello must fit 1 KiB: shorten the label or the node's name")
  const bytes = new Uint8Array(headerBytes + body.length)
  bytes.set(magic)
  bytes[magic.length] = body.length >> 8
  bytes[magic.length + 1] = body.length & 0xff
  bytes.set(body, headerBytes)
  return bytes
}

/** A hello and the bytes that came after it. */
export interface Read {
  readonly hello: Hello
  readonly rest: Uint8Array
}

/** Reads a hello from the bytes received so far: `None` while it is incomplete, a reason when it cannot be one. */
export const read = (bytes: Uint8Array): Result.Result<Option.Option<Read>, string> => {
  const compared = Math.min(bytes.length, magic.length)
  for (let i = 0; i < compared; i++) {
    if (bytes[i] !== magic[i]) return Result.fail("not a shoal peer")
  }
  const high = bytes[magic.length]
  const low = bytes[magic.length + 1]
  if (high === undefined || low === undefined) return Result.succeed(Option.none())
  const size = (high << 8) | low
  if (size > limitBytes) return Result.fail("hello too large")
  if (bytes.length < headerBytes + size) return Result.succeed(Option.none())
  const decoded = decode(new TextDecoder().decode(bytes.subarray(headerBytes, headerBytes + size)))
  if (Result.isFailure(decoded)) return Result.fail("malformed hello")
  return Result.succeed(Option.some({ hello: decoded.success, rest: bytes.subarray(headerBytes + size) }))
}

/** Why a node with `own` must refuse a peer with `theirs`, if it must. */
export const refusal = (own: Hello, theirs: Hello): string | undefined => {
  if (theirs.refused !== undefined) return theirs.refused
  if (own.label !== theirs.label) return "other cluster label"
  if (theirs.min > own.max || theirs.max < own.min) {
    return `no common protocol version: ${own.min}-${own.max} here, ${theirs.min}-${theirs.max} there`
  }
  if (own.kind !== theirs.kind) return `expected a ${own.kind} connection`
  if (own.kind === "control" && !theirs.serializations.some((name) => own.serializations.includes(name))) {
    return "no common serialization"
  }
  return undefined
}
