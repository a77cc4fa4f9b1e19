/** Frames of a multiplexed byte connection: twelve bytes of header, then a bounded payload.
 *
 * PURE. Layout, big endian: version u8, type u8, stream id u48, payload length u32, payload.
 * Boundary: what a frame means for its stream is decided by `Mux`. This module lays frames out and takes them apart,
 * in chunks of any size; it neither buffers more than one frame nor throws on junk.
 * Invariants: M5 (a frame is at most `MaxPayload` bytes, so a decoder holds at most that). */

/** The version every frame carries; another one ends the connection. */
export const Version = 1
export const HeaderBytes = 12
/** The largest payload of any frame, in bytes. Data is cut into frames of `DataBytes`. */
export const MaxPayload = 128 * 1024
export const DataBytes = 64 * 1024
/** The largest stream id: 48 bits, so a connection never runs out of them. */
export const MaxStream = 2 ** 48 - 1

export const Head = 1
export const Data = 2
export const End = 3
export const Cancel = 4
export const Error = 5
export const Credit = 6
export const Ping = 7
export const Pong = 8

export type Type =
  | typeof Head
  | typeof Data
  | typeof End
  | typeof Cancel
  | typeof Error
  | typeof Credit
  | typeof Ping
  | typeof Pong

/** Takes one frame. `payload` is a view into the received chunk where the frame lay in one chunk. */
export type OnFrame = (type: Type, stream: number, payload: Uint8Array) => void

const high = 2 ** 32
const nothing = new Uint8Array(0)

/** Writes a header at `offset`; the caller made room for `HeaderBytes`. */
export const writeHeader = (
  into: Uint8Array,
  offset: number,
  header: { readonly type: Type; readonly stream: number; readonly length: number }
): void => {
  const { length, stream, type } = header
  const top = Math.floor(stream / high)
  into[offset] = Version
  into[offset + 1] = type
  into[offset + 2] = top >>> 8
  into[offset + 3] = top
  into[offset + 4] = stream >>> 24
  into[offset + 5] = stream >>> 16
  into[offset + 6] = stream >>> 8
  into[offset + 7] = stream
  into[offset + 8] = length >>> 24
  into[offset + 9] = length >>> 16
  into[offset + 10] = length >>> 8
  into[offset + 11] = length
}

/** One whole frame in a buffer of its own. */
export const encode = (type: Type, stream: number, payload: Uint8Array = nothing): Uint8Array => {
  const bytes = new Uint8Array(HeaderBytes + payload.length)
  writeHeader(bytes, 0, { type, stream, length: payload.length })
  bytes.set(payload, HeaderBytes)
  return bytes
}

export const readU32 = (bytes: Uint8Array, offset: number): number =>
  (((bytes[offset] ?? 0) << 24) | ((bytes[offset + 1] ?? 0) << 16) | ((bytes[offset + 2] ?? 0) << 8)
    | (bytes[offset + 3] ?? 0)) >>> 0

export const encodeU32 = (value: number): Uint8Array =>
  Uint8Array.of(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255)

/** Why a connection cannot be read further. */
export type Broken = "frame-version" | "frame-type" | "frame-size"

/** Incremental decoder of one direction of one connection. After it returned a reason it must not be used again. */
export class Decoder {
  readonly #header = new Uint8Array(HeaderBytes)
  #headerFill = 0
  #payload: Uint8Array | undefined
  #payloadFill = 0
  #type: Type = Head
  #stream = 0
  #length = 0
  #stopped = false

  /** Ignores the rest of the chunk being read, and everything after it. */
  stop(): void {
    this.#stopped = true
  }

  /** Feeds bytes; calls `onFrame` for every frame completed by them. */
  push(chunk: Uint8Array, onFrame: OnFrame): Broken | undefined {
    let offset = 0
    while (offset < chunk.length && !this.#stopped) {
      if (this.#payload !== undefined) {
        offset += this.#fill(this.#payload, chunk, offset)
        if (this.#payloadFill < this.#length) return undefined
        const payload = this.#payload
        this.#payload = undefined
        onFrame(this.#type, this.#stream, payload)
        continue
      }
      if (this.#headerFill === 0 && chunk.length - offset >= HeaderBytes) {
        const broken = this.#read(chunk, offset)
        if (broken !== undefined) return broken
        offset += HeaderBytes
      } else {
        const take = Math.min(HeaderBytes - this.#headerFill, chunk.length - offset)
        this.#header.set(chunk.subarray(offset, offset + take), this.#headerFill)
        this.#headerFill += take
        offset += take
        if (this.#headerFill < HeaderBytes) return undefined
        this.#headerFill = 0
        const broken = this.#read(this.#header, 0)
        if (broken !== undefined) return broken
      }
      if (chunk.length - offset >= this.#length) {
        const payload = this.#length === 0 ? nothing : chunk.subarray(offset, offset + this.#length)
        offset += this.#length
        onFrame(this.#type, this.#stream, payload)
      } else {
        this.#payload = new Uint8Array(this.#length)
        this.#payloadFill = 0
      }
    }
    return undefined
  }

  #fill(into: Uint8Array, chunk: Uint8Array, offset: number): number {
    const take = Math.min(this.#length - this.#payloadFill, chunk.length - offset)
    into.set(chunk.subarray(offset, offset + take), this.#payloadFill)
    this.#payloadFill += take
    return take
  }

  #read(bytes: Uint8Array, offset: number): Broken | undefined {
    if (bytes[offset] !== Version) return "frame-version"
    const type = bytes[offset + 1] ?? 0
    if (!isType(type)) return "frame-type"
    this.#type = type
    this.#stream = ((bytes[offset + 2] ?? 0) * 256 + (bytes[offset + 3] ?? 0)) * high + readU32(bytes, offset + 4)
    this.#length = readU32(bytes, offset + 8)
    return this.#length > MaxPayload ? "frame-size" : undefined
  }
}

const isType = (type: number): type is Type => type >= Head && type <= Pong
