/** The other nodes as this gateway can use them: one data connection each, opened on demand.
 *
 * Boundary: knows who can be reached now and carries streams there; which node a call goes to is decided above it.
 * A connection that is refused or breaks makes its node be skipped for `skipMs`. One without streams is closed after
 * `idleMs`. A node that the view holds dead, or that came back as another run, loses its connection at once.
 * Invariants: M5 (one connection per member; at most `maxWaiting` calls wait for one to open), F1. */
import type * as Hello from "../../cluster/Hello.ts"
import type * as Link from "../../functions/Link.ts"
import type * as Mux from "../../functions/Mux.ts"
import type { Tcp } from "../Tcp.ts"
import * as DataSocket from "./DataSocket.ts"
import type { GatewayMetrics } from "./GatewayMetrics.ts"

export const maxWaiting = 1024
/** Added to the load of a suspect, so that it is chosen last. */
const suspectLoad = 1e6

export interface Options {
  readonly self: string
  readonly tcp: Tcp
  readonly hello: () => Hello.Hello
  readonly metrics: GatewayMetrics
  readonly now: () => number
  readonly skipMs: number
  readonly connectMs: number
  readonly idleMs: number
}

/** Gets the stream to a node, or undefined when the node cannot be reached; the call was not sent then. */
export type Opened = (stream: Mux.MuxStream | undefined) => void

interface Waiting {
  readonly head: Uint8Array
  readonly opened: Opened
}

class Peer {
  member: Link.Member
  skippedUntil = 0
  usedAt = 0
  connection: DataSocket.DataSocket | undefined
  /** the key of the connection */
  identity = ""
  /** connections of a key that is used no longer, until their calls have ended */
  readonly retired = new Set<DataSocket.DataSocket>()
  waiting: Array<Waiting> = []

  constructor(member: Link.Member) {
    this.member = member
  }
}

/** `host:port` or `[v6]:port`. */
const parseAddress = (text: string): { readonly host: string; readonly port: number } | undefined => {
  const matched = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text)
  const host = matched?.[1] ?? matched?.[2]
  const port = Number(matched?.[3])
  return host === undefined || !(port > 0 && port < 65_536) ? undefined : { host, port }
}

export class PeerPool {
  readonly #options: Options
  readonly #peers = new Map<string, Peer>()
  #closed = false

  constructor(options: Options) {
    this.#options = options
  }

  get connections(): number {
    let open = 0
    for (const peer of this.#peers.values()) if (peer.connection?.ready === true) open++
    return open
  }

  /** Follows the view. */
  update(members: ReadonlyArray<Link.Member>): void {
    const seen = new Set<string>()
    for (const member of members) {
      if (member.id === this.#options.self) continue
      seen.add(member.id)
      const peer = this.#peers.get(member.id)
      if (peer === undefined) {
        this.#peers.set(member.id, new Peer(member))
        continue
      }
      const before = peer.member
      peer.member = member
      const moved = before.bootId !== member.bootId || before.data !== member.data
      if (moved) peer.skippedUntil = 0
      // A node that left still finishes what it runs for us.
      if (moved || member.status === "dead") this.#drop(peer)
    }
    for (const [id, peer] of this.#peers) {
      if (seen.has(id)) continue
      this.#peers.delete(id)
      // Forgotten after it left: what it still finishes for us ends with its process.
      if (peer.member.status !== "left") this.#drop(peer)
    }
  }

  /** Calls on their way to a node, or -1 when it cannot be used now. */
  readonly load = (node: Link.Warm): number => {
    const peer = this.#peers.get(node.id)
    if (peer === undefined || peer.member.bootId !== node.bootId || peer.member.data === undefined) return -1
    const { status } = peer.member
    if (status !== "alive" && status !== "suspect") return -1
    if (peer.skippedUntil > this.#options.now()) return -1
    const load = peer.waiting.length + (peer.connection?.mux.inflight ?? 0)
    return status === "suspect" ? load + suspectLoad : load
  }

  /** Opens a stream with this head; at once on an open connection, else when one opens or cannot. */
  open(node: Link.Warm, head: Uint8Array, opened: Opened): void {
    const peer = this.#peers.get(node.id)
    if (peer === undefined || this.#closed) return opened(undefined)
    peer.usedAt = this.#options.now()
    if (peer.connection?.ready === true && peer.identity !== this.#options.tcp.identity()) this.#retire(peer)
    const { connection } = peer
    if (connection?.ready === true) return opened(connection.mux.open(head))
    if (peer.waiting.length >= maxWaiting) return opened(undefined)
    peer.waiting.push({ head: head.slice(), opened })
    if (connection === undefined) this.#connect(peer)
  }

  sweep(now: number): void {
    for (const peer of this.#peers.values()) {
      const { connection } = peer
      for (const retired of peer.retired) if (retired.mux.inflight === 0) retired.close()
      if (connection?.ready !== true || connection.mux.inflight > 0) continue
      if (now - peer.usedAt >= this.#options.idleMs) this.#drop(peer)
    }
  }

  close(): void {
    this.#closed = true
    for (const peer of this.#peers.values()) this.#drop(peer)
  }

  #drop(peer: Peer): void {
    peer.connection?.close()
    for (const retired of peer.retired) retired.close()
  }

  /** Lets a connection finish what it carries, and take nothing new. */
  #retire(peer: Peer): void {
    if (peer.connection !== undefined) peer.retired.add(peer.connection)
    peer.connection = undefined
  }

  #connect(peer: Peer): void {
    const address = peer.member.data === undefined ? undefined : parseAddress(peer.member.data)
    if (address === undefined) return this.#unreachable(peer, this.#options.skipMs)
    peer.identity = this.#options.tcp.identity()
    const socket = this.#options.tcp.connect(address)
    const connection: DataSocket.DataSocket = new DataSocket.DataSocket({
      socket,
      role: "client",
      hello: this.#options.hello,
      helloMs: this.#options.connectMs,
      onReady: (from) => {
        // Another process took over the address: the one we were sent to is gone.
        if (from.id !== peer.member.id || from.bootId !== peer.member.bootId) return connection.close("wrong-peer")
        const waiting = peer.waiting
        peer.waiting = []
        for (const { head, opened } of waiting) opened(connection.mux.open(head))
      },
      onClosed: ({ broken, local }) => {
        if (broken !== undefined) this.#options.metrics.reject(broken)
        if (peer.retired.delete(connection)) return // the one that replaced it tells whether the node can be reached
        if (peer.connection === connection) peer.connection = undefined
        this.#unreachable(peer, local ? 0 : this.#options.skipMs)
      }
    })
    peer.connection = connection
  }

  #unreachable(peer: Peer, skipMs: number): void {
    peer.skippedUntil = this.#options.now() + skipMs
    const waiting = peer.waiting
    peer.waiting = []
    for (const { opened } of waiting) opened(undefined)
  }
}
