/** Messages over a stream of bytes: frames of `length u32be | kind u8 | (length u16be | message)*`.
 *
 * Kind 0 holds messages, kind 1 says that nothing follows from this side (transports need no half-close).
 *
 * PURE. Boundary: incremental and bounded: a frame above `maxFrame` breaks the stream before it is buffered, a broken
 * stream stays broken. Decoding never throws. */
import type * as Message from "../swim/Message.ts"
import type * as Codec from "./Codec.ts"
import * as Packet from "./Packet.ts"

export const maxFrame = 256 * 1024
const head = 5
const kindMessages = 0
const kindEnd = 1

export interface StreamFrame {
  readonly encode: (messages: ReadonlyArray<Message.Message>) => Uint8Array
  readonly end: Uint8Array
  readonly decoder: () => Decoder
}

export interface Decoder {
  /** Appends the messages of all complete frames to `out`; a text says why the stream is broken. */
  readonly push: (chunk: Uint8Array, out: Array<Message.Message>) => string | undefined
  /** The end frame has arrived. */
  readonly ended: boolean
}

export const make = (codec: Codec.Codec): StreamFrame => ({
  encode: (messages) => encode(codec, messages),
  end: frame(kindEnd, []),
  decoder: () => new StreamDecoder(codec)
})

const frame = (kind: number, parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  let size = 0
  for (const part of parts) size += 2 + part.length
  const bytes = new Uint8Array(head + size)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, 1 + size)
  bytes[4] = kind
  let at = head
  for (const part of parts) {
    view.setUint16(at, part.length)
    bytes.set(part, at + 2)
    at += 2 + part.length
  }
  return bytes
}

/** One frame; more messages than fit become several frames in a row. */
const encode = (codec: Codec.Codec, messages: ReadonlyArray<Message.Message>): Uint8Array => {
  const frames: Array<Uint8Array> = []
  let parts: Array<Uint8Array> = []
  let size = 1
  for (const message of messages) {
    const part = codec.encode(message)
    if (size + 2 + part.length > maxFrame) {
      frames.push(frame(kindMessages, parts))
      parts = []
      size = 1
    }
    parts.push(part)
    size += 2 + part.length
  }
  frames.push(frame(kindMessages, parts))
  return frames.length === 1 ? frames[0] ?? concat(frames) : concat(frames)
}

const concat = (chunks: ReadonlyArray<Uint8Array>): Uint8Array => {
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0))
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes
}

class StreamDecoder implements Decoder {
  ended = false
  private broken: string | undefined
  private readonly codec: Codec.Codec
  /** What has arrived of the frame in hand, head included; grows only with received bytes. */
  private buffer = new Uint8Array(256)
  private filled = 0

  constructor(codec: Codec.Codec) {
    this.codec = codec
  }

  push(chunk: Uint8Array, out: Array<Message.Message>): string | undefined {
    let at = 0
    while (at < chunk.length && this.broken === undefined) {
      const wanted = this.filled < 4 ? 4 : 4 + this.length()
      const take = Math.min(wanted - this.filled, chunk.length - at)
      this.append(chunk.subarray(at, at + take))
      at += take
      if (this.filled === 4) {
        const length = this.length()
        if (length < 1 || length > maxFrame) this.broken = "frame-too-large"
      } else if (this.filled > 4 && this.filled === 4 + this.length()) {
        this.broken = this.complete(out)
        this.filled = 0
      }
    }
    return this.broken
  }

  private complete(out: Array<Message.Message>): string | undefined {
    if (this.ended) return "frame-after-end"
    const kind = this.buffer[4]
    if (kind === kindEnd) {
      this.ended = true
      return undefined
    }
    if (kind !== kindMessages) return "unknown-frame"
    return Packet.parts(this.codec, this.buffer.subarray(0, this.filled), { at: head, out, max: maxFrame })
  }

  private length(): number {
    return new DataView(this.buffer.buffer).getUint32(0)
  }

  private append(bytes: Uint8Array): void {
    if (this.filled + bytes.length > this.buffer.length) {
      const larger = new Uint8Array(Math.max(this.filled + bytes.length, this.buffer.length * 2))
      larger.set(this.buffer.subarray(0, this.filled))
      this.buffer = larger
    }
    this.buffer.set(bytes, this.filled)
    this.filled += bytes.length
  }
}
