/** One TCP connection between two gateways: the hello of both sides, then multiplexed streams.
 *
 * Boundary: bytes in and out and when to give a connection up; which calls travel on it is the business of `PeerPool`
 * and `PeerListener`. Writes of one turn of the event loop leave together. Junk never throws: it ends the connection
 * with a reason.
 * Invariants: M5 (an unfinished hello is at most one read long and has its time limit), F1 (every stream of a
 * connection that ends is told). */
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Net from "node:net"
import * as Hello from "../../cluster/Hello.ts"
import * as Mux from "../../functions/Mux.ts"

/** Code of the error every open stream gets when its connection ends. */
export const lostCode = "lost"

export interface Options {
  readonly socket: Net.Socket
  readonly role: Mux.Role
  /** Our side of the hello, made when it is sent. */
  readonly hello: () => Hello.Hello
  readonly helloMs: number
  readonly onOpen?: (stream: Mux.MuxStream, head: Uint8Array, from: Hello.Hello) => void
  /** Hellos are exchanged, streams may be opened. */
  readonly onReady: (from: Hello.Hello) => void
  /** Once, at the end, after every stream was told. */
  readonly onClosed: (end: End) => void
}

export interface End {
  /** It had been ready. */
  readonly ready: boolean
  /** We closed it without a fault of the peer. */
  readonly local: boolean
  /** Why the peer's bytes could not be read on. */
  readonly broken: string | undefined
}

export class DataSocket {
  readonly mux: Mux.Mux
  readonly #options: Options
  readonly #timer: NodeJS.Timeout
  #from: Hello.Hello | undefined
  #held: Uint8Array | undefined
  #flushing = false
  #closed = false

  constructor(options: Options) {
    this.#options = options
    const { socket } = options
    socket.setNoDelay(true)
    this.mux = new Mux.Mux({
      role: options.role,
      maxStreams: 4096,
      write: (chunks) => this.#write(chunks),
      onOpen: (stream, head) => {
        if (this.#from !== undefined) options.onOpen?.(stream, head, this.#from)
      },
      onBroken: (reason) => this.close(reason),
      onPending: () => this.#pending()
    })
    this.#timer = setTimeout(() => this.close("hello-timeout"), options.helloMs)
    socket.on("data", (chunk: Uint8Array) => this.#received(chunk))
    socket.on("error", () => this.#end(false, undefined))
    socket.on("close", () => this.#end(false, undefined))
    if (options.role === "client") socket.write(Hello.toBytes(options.hello()))
  }

  get ready(): boolean {
    return this.#from !== undefined && !this.#closed
  }

  /** Ends it and tells every stream. With a reason the peer is at fault. */
  close(broken?: string): void {
    this.#end(broken === undefined, broken)
  }

  #end(local: boolean, broken: string | undefined): void {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#timer)
    this.mux.closeAll(lostCode)
    this.#options.socket.destroySoon()
    this.#options.onClosed({ ready: this.#from !== undefined, local, broken })
  }

  #received(chunk: Uint8Array): void {
    if (this.#closed) return
    if (this.#from !== undefined) return this.mux.receive(chunk)
    const bytes = this.#held === undefined ? chunk : Buffer.concat([this.#held, chunk])
    const read = Hello.read(bytes)
    if (Result.isFailure(read)) return this.close("hello")
    if (Option.isNone(read.success)) {
      this.#held = bytes
      return
    }
    this.#held = undefined
    this.#greeted(read.success.value)
  }

  #greeted({ hello, rest }: Hello.Read): void {
    const { onReady, role, socket } = this.#options
    const own = this.#options.hello()
    const refused = Hello.refusal(own, hello)
    if (role === "server") socket.write(Hello.toBytes(refused === undefined ? own : { ...own, refused }))
    if (refused !== undefined) return this.close("hello-refused")
    clearTimeout(this.#timer)
    this.#from = hello
    onReady(hello)
    if (rest.length > 0) this.mux.receive(rest)
  }

  /** Bytes of many calls leave in one system call: after everything that can be read now was read. */
  #pending(): void {
    if (this.#flushing) return
    this.#flushing = true
    setImmediate(() => {
      this.#flushing = false
      this.mux.flush()
    })
  }

  #write(chunks: ReadonlyArray<Uint8Array>): void {
    const { socket } = this.#options
    if (socket.destroyed) return
    if (chunks.length === 1 && chunks[0] !== undefined) {
      socket.write(chunks[0])
      return
    }
    socket.cork()
    for (const chunk of chunks) socket.write(chunk)
    socket.uncork()
  }
}
