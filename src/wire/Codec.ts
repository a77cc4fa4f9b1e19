/** One message to bytes and back. Codecs are interchangeable; all members of a cluster use the same one.
 *
 * PURE. Boundary: no framing (`Packet`, `StreamFrame`) and no meaning. The only file that touches `SchemaBinary`.
 * Schemas are check-free, which keeps the codec on its fast path; ranges are checked here after decoding. Decoding is
 * total: any bytes give a message or a text. The evolvable layout is used: a field or message that a newer release
 * adds is skipped by an older one. */
import * as SchemaBinary from "effect/encoding/SchemaBinary"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Member from "../swim/Member.ts"
import * as Message from "../swim/Message.ts"

export interface Codec {
  readonly name: string
  readonly encode: (message: Message.Message) => Uint8Array
  readonly decode: (bytes: Uint8Array) => Result.Result<Message.Message, string>
}

const maxText = 255
const maxPayload = 65_535
/** Accusations end well below the largest safe integer, so that a refutation can always go above them. */
const maxAccused = 2 ** 52
const maxStart = 2 ** 47

const isWhole = (value: number, max: number): boolean => Number.isSafeInteger(value) && value >= 0 && value <= max
const isSeq = (value: number): boolean => isWhole(value, 0xffffffff)
const isBoot = (value: number): boolean => isWhole(value, Member.maxBootId)
const isText = (text: string, max: number): boolean => text.length > 0 && text.length <= max
const isId = (text: string): boolean => isText(text, Member.maxIdBytes)
const isAddress = (address: Member.Address): boolean =>
  isText(address.host, Member.maxHostBytes) && isWhole(address.port, 65_535) && address.port > 0
const isMeta = (meta: Uint8Array): boolean => meta.length <= Member.maxMeta

/** A number in a lane of broadcasts. */
const isNumber = (value: number): boolean => isWhole(value, 2 ** 48)
const isLane = (message: { readonly origin: string; readonly bootId: number; readonly lane: number }): boolean =>
  isId(message.origin) && isBoot(message.bootId) && isWhole(message.lane, 1)

const isIdentity = (message: Message.Alive | Message.State): boolean =>
  isId(message.id) && isBoot(message.bootId) && isWhole(message.startedAt, maxStart) && isAddress(message.address) &&
  isMeta(message.meta)

/** What the schemas leave open: lengths and ranges. */
const isValid = (message: Message.Message): boolean => {
  switch (message._tag) {
    case "Ping":
      return isSeq(message.seq) && isId(message.target) && isId(message.from) && isBoot(message.bootId) &&
        isSeq(message.digest)
    case "PingReq":
      return isSeq(message.seq) && isId(message.target) && isAddress(message.address) && isId(message.from) &&
        isWhole(message.left, 600_000)
    case "Ack":
      return isSeq(message.seq) && isSeq(message.digest)
    case "Nack":
      return isSeq(message.seq)
    case "Alive":
      return isIdentity(message) && isWhole(message.incarnation, Number.MAX_SAFE_INTEGER)
    case "State":
      return isIdentity(message) && isWhole(message.age, 2 ** 42) &&
        isWhole(message.incarnation, message.status === "alive" ? Number.MAX_SAFE_INTEGER : maxAccused)
    case "Suspect":
    case "Dead":
    case "Ask":
      return isId(message.id) && isBoot(message.bootId) && isWhole(message.incarnation, maxAccused) &&
        isId(message.from)
    case "Left":
      return isId(message.id) && isBoot(message.bootId) && isWhole(message.incarnation, maxAccused)
    case "LeftAck":
      return isBoot(message.bootId) && isId(message.from)
    case "Item":
      return isText(message.key, Message.maxKeyBytes) && message.value.length <= Message.maxItemBytes
    case "Broadcast":
      return isLane(message) && isNumber(message.seq) && message.kind.length <= maxText &&
        message.key.length <= maxText && message.payload.length <= maxPayload
    case "Skip":
      return isLane(message) && isNumber(message.seq) && isNumber(message.until) && message.seq < message.until
    case "Want":
      return isLane(message) && isId(message.from) && isNumber(message.low) && message.have.length <= 128
    case "Have":
      return isLane(message) && isId(message.from) && isNumber(message.low) && isNumber(message.head)
    case "Direct":
      return isId(message.from) && isBoot(message.bootId) && isId(message.to) && isBoot(message.toBoot) &&
        isNumber(message.seq) && isNumber(message.base) && message.base <= message.seq &&
        message.kind.length <= maxText && message.payload.length <= maxPayload
    case "DirectAck":
      return isId(message.from) && isBoot(message.bootId) && isNumber(message.seq)
    case "SyncDigest":
      return isId(message.from) && isBoot(message.bootId) && isWhole(message.count, 2 ** 32) &&
        isWhole(message.hash, Number.MAX_SAFE_INTEGER)
    case "SyncBuckets":
      return isId(message.from) && isBoot(message.bootId) && message.hashes.length <= 4096
    case "SyncWant":
      return message.buckets.length <= 128 && isWhole(message.count, 1024)
    case "Who":
    case "SyncEnd":
      return true
  }
}

const checked = (decoded: Result.Result<Message.Message, unknown>): Result.Result<Message.Message, string> =>
  Result.isFailure(decoded)
    ? Result.fail("malformed-message")
    : isValid(decoded.success)
    ? Result.succeed(decoded.success)
    : Result.fail("out-of-range")

const fromSchema = (options: {
  readonly name: string
  readonly encode: (message: Message.Message) => Uint8Array
  readonly decode: (bytes: Uint8Array) => Result.Result<Message.Message, unknown>
}): Codec => ({
  name: options.name,
  encode: options.encode,
  decode: (bytes) => {
    // The parsers report junk as values; this keeps "total" true even where one of them has a defect.
    try {
      return checked(options.decode(bytes))
    } catch {
      return Result.fail("malformed-message")
    }
  }
})

const binarySchema = SchemaBinary.toCodec(Message.Message)
const encodeBinary = Schema.encodeUnknownResult(binarySchema)

/** Compact binary, the default. Encoded bytes are copied out of the encoder's arena: they are kept. */
export const binary: Codec = fromSchema({
  name: "binary",
  encode: (message) => Result.getOrThrow(encodeBinary(message)).slice(),
  decode: Schema.decodeUnknownResult(binarySchema)
})

const jsonSchema = Schema.fromJsonString(Schema.toCodecJson(Message.Message))
const encodeJson = Schema.encodeUnknownResult(jsonSchema)
const decodeJson = Schema.decodeUnknownResult(jsonSchema)
const toText = new TextDecoder("utf-8", { fatal: true })
const toBytes = new TextEncoder()

/** Readable in a packet capture. */
export const json: Codec = fromSchema({
  name: "json",
  encode: (message) => toBytes.encode(Result.getOrThrow(encodeJson(message))),
  decode: (bytes) => decodeJson(toText.decode(bytes))
})
