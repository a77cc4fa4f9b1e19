/** Many streams over one byte connection: agent and function worker, and node and node.
 *
 * PURE. The side that dialled is the client and opens streams; the other side is the server and answers them. A stream
 * is: head, data, end from the client; head, data, end with a trailer from the server. The server's end finishes the
 * stream, also when the client was still sending; an error or a cancel of either side finishes it at once.
 * Flow control is per stream and direction: a sender may have `Window` bytes unconsumed at the receiver, who returns
 * them with `consumed`. So a stream nobody reads stops its writer and holds at most one window here.
 * Boundary: bytes come in by `receive` and leave by `write`; sockets, time and the meaning of heads are the owner's.
 * The callbacks of a stream must not throw; they are assigned in `onOpen`, or right after `open`.
 * Invariants: M5 (streams, windows and frames are bounded; a broken frame ends the connection with a reason), F1 (every
 * stream ends exactly once for each side: end, error or cancel). */
import * as Frame from "./Frame.ts"

/** Bytes a sender may have on the way per stream and direction. */
export const Window = 256 * 1024
/** Streams open at once on one connection, unless an option says otherwise. */
export const MaxStreams = 1024

export type Role = "client" | "server"

/** Why a connection was given up: the peer broke a rule of the frames or of the streams. */
export type Broken =
  | Frame.Broken
  | "credit-exceeded"
  | "credit-overflow"
  | "stream-order"
  | "stream-unknown"
  | "too-many-streams"

export interface Options {
  readonly role: Role
  /** Takes bytes in order. The chunks must not be changed afterwards. */
  readonly write: (chunks: ReadonlyArray<Uint8Array>) => void
  /** A client opened a stream. Assign the stream's callbacks here. */
  readonly onOpen?: (stream: MuxStream, head: Uint8Array) => void
  /** The peer broke the protocol; all streams have been given the error `broken`. Close the connection. */
  readonly onBroken: (reason: Broken) => void
  /** Called when the first byte is waiting: call `flush` a little later, for instance in a microtask. Without it
   * bytes leave at once, or at the end of the `receive` that caused them. */
  readonly onPending?: () => void
  readonly maxStreams?: number
}

export interface MuxStream {
  readonly id: number
  /** Server: the head of the reply, once, before any data. */
  head(bytes: Uint8Array): void
  /** Sends data. False: the window is used up; the data is queued, wait for `onWritable` before writing more. */
  write(chunk: Uint8Array): boolean
  end(trailer?: Uint8Array): void
  error(code: string, message: string): void
  cancel(): void
  /** Returns credit for data given to `onData`. Without it the peer stops after one window. */
  consumed(bytes: number): void
  /** True once no callback will be called any more and writes are dropped. */
  readonly finished: boolean
  onHead: ((head: Uint8Array) => void) | undefined
  onData: ((chunk: Uint8Array) => void) | undefined
  onEnd: ((trailer: Uint8Array) => void) | undefined
  onError: ((code: string, message: string) => void) | undefined
  onCancel: (() => void) | undefined
  onWritable: (() => void) | undefined
}

const nothing = new Uint8Array(0)
const encoder = new TextEncoder()
const decoder = new TextDecoder()
/** Payloads up to this size are copied beside their header; larger ones travel as chunks of their own. */
const CopyBytes = 4096
const ArenaBytes = 64 * 1024
/** Bytes waiting for `flush` before they are written anyway. */
const PendingBytes = 128 * 1024
const MaxErrorText = 4096
/** Credit is returned in steps of this size, so that small bodies cost no credit frames. */
const CreditStep = Window / 4

export class Mux {
  readonly #options: Options
  readonly #maxStreams: number
  readonly #streams = new Map<number, Stream>()
  readonly #decoder = new Frame.Decoder()
  readonly #onFrame: Frame.OnFrame
  readonly #pongs: Array<{ readonly token: number; readonly done: () => void }> = []
  #lastId = 0
  #pingToken = 0
  #pongDue: number | undefined
  #answeredPing = false
  #closed = false
  #receiving = false
  #arena: Uint8Array = nothing
  #arenaStart = 0
  #arenaEnd = 0
  #chunks: Array<Uint8Array> = []
  #pending = 0
  #late = 0

  constructor(options: Options) {
    this.#options = options
    this.#maxStreams = options.maxStreams ?? MaxStreams
    this.#onFrame = (type, id, payload) => this.#frame(type, id, payload)
  }

  /** Streams open now. */
  get inflight(): number {
    return this.#streams.size
  }

  /** Frames that arrived for streams already finished; normal around cancels and early replies. */
  get late(): number {
    return this.#late
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Opens a stream. Undefined: closed, too many streams, or a head above `Frame.MaxPayload`. */
  open(head: Uint8Array): MuxStream | undefined {
    if (this.#closed || this.#streams.size >= this.#maxStreams || this.#lastId >= Frame.MaxStream) return undefined
    if (head.length > Frame.MaxPayload) return undefined
    const stream = new Stream(this, ++this.#lastId, "client")
    this.#streams.set(stream.id, stream)
    this.send(Frame.Head, stream.id, head)
    return stream
  }

  /** Asks the peer's loop for a sign of life. False: closed, or 64 questions are open already. */
  ping(onPong: () => void): boolean {
    if (this.#closed || this.#pongs.length >= 64) return false
    this.#pingToken = (this.#pingToken + 1) >>> 0
    this.#pongs.push({ token: this.#pingToken, done: onPong })
    this.send(Frame.Ping, 0, Frame.encodeU32(this.#pingToken))
    return true
  }

  receive(chunk: Uint8Array): void {
    if (this.#closed) return
    this.#receiving = true
    const broken = this.#decoder.push(chunk, this.#onFrame)
    if (broken !== undefined) this.#break(broken)
    this.#answeredPing = false
    if (this.#pongDue !== undefined) {
      this.send(Frame.Pong, 0, Frame.encodeU32(this.#pongDue))
      this.#pongDue = undefined
    }
    this.#receiving = false
    if (this.#pending > 0 && this.#options.onPending === undefined) this.flush()
  }

  /** Gives all waiting bytes to `write`. */
  flush(): void {
    if (this.#pending === 0) return
    this.#sealArena()
    const chunks = this.#chunks
    this.#chunks = []
    this.#pending = 0
    this.#options.write(chunks)
  }

  /** Ends every stream with this error and takes nothing more in or out. The connection is the owner's to close. */
  closeAll(code: string, message: string = code): void {
    if (this.#closed) return
    this.flush()
    this.#closed = true
    this.#decoder.stop()
    this.#pongs.length = 0
    const streams = [...this.#streams.values()]
    this.#streams.clear()
    for (const stream of streams) stream.fail(code, message)
  }

  /** For streams: queues one frame. */
  send(type: Frame.Type, id: number, payload: Uint8Array): void {
    if (this.#closed) return
    const copied = payload.length <= CopyBytes
    const room = Frame.HeaderBytes + (copied ? payload.length : 0)
    if (this.#arenaEnd + room > this.#arena.length) {
      this.#sealArena()
      this.#arena = new Uint8Array(ArenaBytes)
      this.#arenaStart = 0
      this.#arenaEnd = 0
    }
    Frame.writeHeader(this.#arena, this.#arenaEnd, { type, stream: id, length: payload.length })
    this.#arenaEnd += Frame.HeaderBytes
    if (copied) {
      this.#arena.set(payload, this.#arenaEnd)
      this.#arenaEnd += payload.length
    } else {
      this.#sealArena()
      this.#chunks.push(payload)
    }
    const first = this.#pending === 0
    this.#pending += Frame.HeaderBytes + payload.length
    if (this.#pending >= PendingBytes) this.flush()
    else if (this.#options.onPending !== undefined) {
      if (first) this.#options.onPending()
    } else if (!this.#receiving) this.flush()
  }

  /** For streams: forgets a finished one. */
  forget(id: number): void {
    this.#streams.delete(id)
  }

  #sealArena(): void {
    if (this.#arenaEnd === this.#arenaStart) return
    this.#chunks.push(this.#arena.subarray(this.#arenaStart, this.#arenaEnd))
    this.#arenaStart = this.#arenaEnd
  }

  #break(reason: Broken): void {
    if (this.#closed) return
    this.closeAll("broken", reason)
    this.#options.onBroken(reason)
  }

  #frame(type: Frame.Type, id: number, payload: Uint8Array): void {
    if (this.#closed) return
    if (type === Frame.Ping) return this.#pinged(payload)
    if (type === Frame.Pong) return this.#pong(Frame.readU32(payload, 0))
    const stream = this.#streams.get(id)
    if (stream !== undefined) {
      const broken = stream.accept(type, payload)
      if (broken !== undefined) this.#break(broken)
      return
    }
    if (type === Frame.Head && this.#options.role === "server") return this.#accept(id, payload)
    if (id > this.#lastId || id === 0) return this.#break("stream-unknown")
    this.#late++
  }

  #accept(id: number, head: Uint8Array): void {
    if (id <= this.#lastId) return this.#break("stream-order")
    if (this.#streams.size >= this.#maxStreams) return this.#break("too-many-streams")
    this.#lastId = id
    const stream = new Stream(this, id, "server")
    this.#streams.set(id, stream)
    this.#options.onOpen?.(stream, head)
  }

  /** The first answer leaves before anything behind the question is looked at, which may keep this loop from turning:
   * a peer without an answer knows that nothing was. A second one goes at the end of the chunk, to the newest question: a
   * flood of pings cannot fill our write queue. */
  #pinged(token: Uint8Array): void {
    if (this.#answeredPing) {
      this.#pongDue = Frame.readU32(token, 0)
      return
    }
    this.#answeredPing = true
    this.send(Frame.Pong, 0, token)
    this.flush()
  }

  #pong(token: number): void {
    const answered = this.#pongs.findIndex((pong) => pong.token === token)
    for (const pong of this.#pongs.splice(0, answered + 1)) pong.done()
  }
}

class Stream implements MuxStream {
  readonly id: number
  readonly #mux: Mux
  readonly #role: Role
  onHead: ((head: Uint8Array) => void) | undefined = undefined
  onData: ((chunk: Uint8Array) => void) | undefined = undefined
  onEnd: ((trailer: Uint8Array) => void) | undefined = undefined
  onError: ((code: string, message: string) => void) | undefined = undefined
  onCancel: (() => void) | undefined = undefined
  onWritable: (() => void) | undefined = undefined
  #finished = false
  #headSent: boolean
  #headReceived: boolean
  #endReceived = false
  #ended = false
  #endSent = false
  #trailer: Uint8Array = nothing
  #credit = Window
  #queue: Array<Uint8Array> | undefined
  #starved = false
  #allowance = Window
  #owed = 0

  constructor(mux: Mux, id: number, role: Role) {
    this.#mux = mux
    this.id = id
    this.#role = role
    this.#headSent = role === "client"
    this.#headReceived = role === "server"
  }

  get finished(): boolean {
    return this.#finished
  }

  head(bytes: Uint8Array): void {
    if (this.#finished || this.#headSent) return
    if (bytes.length > Frame.MaxPayload) return this.error("head-too-large", "the head exceeds the largest frame")
    this.#headSent = true
    this.#mux.send(Frame.Head, this.id, bytes)
  }

  write(chunk: Uint8Array): boolean {
    if (this.#finished || this.#ended) return true
    if (!this.#headSent) this.head(nothing)
    if (chunk.length === 0) return !this.#starved
    if (this.#queue === undefined && chunk.length <= this.#credit) this.#data(chunk)
    else {
      this.#queue ??= []
      this.#queue.push(chunk)
      this.#drain()
    }
    this.#starved = this.#credit === 0 || this.#queue !== undefined
    return !this.#starved
  }

  end(trailer: Uint8Array = nothing): void {
    if (this.#finished || this.#ended) return
    if (!this.#headSent) this.head(nothing)
    this.#ended = true
    this.#trailer = trailer.length > Frame.MaxPayload ? nothing : trailer
    if (this.#queue === undefined) this.#sendEnd()
  }

  error(code: string, message: string): void {
    if (this.#finished) return
    const text = JSON.stringify({ code: code.slice(0, 64), message: message.slice(0, MaxErrorText) })
    this.#mux.send(Frame.Error, this.id, encoder.encode(text))
    this.#finish()
  }

  cancel(): void {
    if (this.#finished) return
    this.#mux.send(Frame.Cancel, this.id, nothing)
    this.#finish()
  }

  consumed(bytes: number): void {
    if (this.#finished || this.#endReceived) return
    this.#owed += bytes
    if (this.#owed < CreditStep) return
    // Never more than was taken: a caller that counts wrongly must not make us break the peer's window.
    const grant = Math.min(this.#owed, Window - this.#allowance)
    this.#owed = 0
    if (grant <= 0) return
    this.#allowance += grant
    this.#mux.send(Frame.Credit, this.id, Frame.encodeU32(grant))
  }

  /** For the connection: one frame of this stream. */
  accept(type: Frame.Type, payload: Uint8Array): Broken | undefined {
    switch (type) {
      case Frame.Head:
        if (this.#headReceived) return "stream-order"
        this.#headReceived = true
        this.onHead?.(payload)
        return undefined
      case Frame.Data:
        if (!this.#headReceived || this.#endReceived || payload.length === 0) return "stream-order"
        if (payload.length > this.#allowance) return "credit-exceeded"
        this.#allowance -= payload.length
        this.onData?.(payload)
        return undefined
      case Frame.End:
        if (!this.#headReceived || this.#endReceived) return "stream-order"
        this.#endReceived = true
        if (this.#role === "client") this.#finish()
        this.onEnd?.(payload)
        return undefined
      case Frame.Cancel:
        this.#finish()
        this.onCancel?.()
        return undefined
      case Frame.Error: {
        const { code, message } = readError(payload)
        this.#finish()
        this.onError?.(code, message)
        return undefined
      }
      default:
        return this.#credited(Frame.readU32(payload, 0))
    }
  }

  /** For the connection: it is gone. */
  fail(code: string, message: string): void {
    if (this.#finished) return
    this.#finish()
    this.onError?.(code, message)
  }

  #credited(bytes: number): Broken | undefined {
    this.#credit += bytes
    if (this.#credit > Window) return "credit-overflow"
    this.#drain()
    if (this.#queue !== undefined || this.#finished) return undefined
    if (this.#ended) {
      this.#sendEnd()
    } else if (this.#starved && this.#credit > 0) {
      this.#starved = false
      this.onWritable?.()
    }
    return undefined
  }

  #drain(): void {
    const queue = this.#queue
    if (queue === undefined) return
    let taken = 0
    while (taken < queue.length && this.#credit > 0) {
      const chunk = queue[taken] ?? nothing
      if (chunk.length <= this.#credit) {
        this.#data(chunk)
        taken++
      } else {
        const part = this.#credit
        this.#data(chunk.subarray(0, part))
        queue[taken] = chunk.subarray(part)
      }
    }
    if (taken === queue.length) this.#queue = undefined
    else if (taken > 0) queue.splice(0, taken)
  }

  #data(chunk: Uint8Array): void {
    this.#credit -= chunk.length
    if (chunk.length <= Frame.DataBytes) return this.#mux.send(Frame.Data, this.id, chunk)
    for (let at = 0; at < chunk.length; at += Frame.DataBytes) {
      this.#mux.send(Frame.Data, this.id, chunk.subarray(at, at + Frame.DataBytes))
    }
  }

  #sendEnd(): void {
    if (this.#finished || this.#endSent) return
    this.#endSent = true
    this.#mux.send(Frame.End, this.id, this.#trailer)
    if (this.#role === "server") this.#finish()
  }

  #finish(): void {
    this.#finished = true
    this.#queue = undefined
    this.#mux.forget(this.id)
  }
}

const readError = (payload: Uint8Array): { readonly code: string; readonly message: string } => {
  try {
    const value: unknown = JSON.parse(decoder.decode(payload))
    if (typeof value === "object" && value !== null && "code" in value && "message" in value) {
      return { code: String(value.code), message: String(value.message) }
    }
  } catch {
    // Junk instead of an error is still an error.
  }
  return { code: "unknown", message: "the peer sent an error that cannot be read" }
}
