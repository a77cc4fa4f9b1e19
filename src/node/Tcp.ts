/** Byte connections of a node: plain TCP without a cluster key, TLS 1.3 with one.
 *
 * Job: makes servers and connections that behave alike. With a keyring both sides prove that they hold a key of the
 * ring by a pre-shared key derived from it; its fingerprint is the identity in the handshake. The caller uses the key
 * that seals, the called one takes any. When a key is removed nothing more is opened with it, and the connections that
 * were end `lingerMs` later, so that answers on their way (also to the removal itself) arrive.
 * Boundary: who the peer is (member, label) is told by the hello that follows. There are no certificates: a server that
 * has one is a stranger. Session tickets are off, or a removed key would live on in them. */
import * as Redacted from "effect/Redacted"
import * as Crypto from "node:crypto"
import * as Net from "node:net"
import * as Tls from "node:tls"
import type { Ring } from "../membership/Keyring.ts"
import { HandshakeFailed } from "../membership/Transport.ts"
import type { Address } from "../swim/Member.ts"

export interface Tcp {
  /** A server that is not listening yet; it hears only of connections that may talk. */
  readonly createServer: (onConnection: (socket: Net.Socket) => void) => Net.Server
  /** A connection being opened; writes wait until it may be used, which `onOpen` tells. */
  readonly connect: (to: Address, onOpen?: () => void) => Net.Socket
  /** The key that connections are opened with now: those of another one should be replaced when they are idle. */
  readonly identity: () => string
}

export const plain: Tcp = {
  createServer: (onConnection) => Net.createServer({ noDelay: true }, onConnection),
  connect: ({ host, port }, onOpen) => Net.connect({ host, port, noDelay: true }, onOpen),
  identity: () => ""
}

/** A stranger that was turned away. */
export interface Refused {
  readonly reason: "unknown-key" | "wrong-key" | "no-key" | "not-tls" | "handshake-timeout" | "handshake"
  readonly remote: string
}

const handshakeTimeout = 3000
export const lingerMs = 5000

/** The only cipher suite whose hash fits keys that come from outside (RFC 8446, 4.2.11). */
const common = {
  minVersion: "TLSv1.3",
  maxVersion: "TLSv1.3",
  ciphers: "TLS_AES_128_GCM_SHA256"
} as const

export const secured = (options: {
  readonly ring: Ring
  readonly onRefused: (refused: Refused) => void
  readonly lingerMs?: number
}): Tcp => {
  const { onRefused, ring } = options
  const open = new Identities()
  ring.onRemoved((id) => {
    setTimeout(() => {
      if (ring.get(id) === undefined) open.close(id)
    }, options.lingerMs ?? lingerMs).unref()
  })
  return {
    identity: () => ring.primary().id,
    createServer: (onConnection) => {
      const asked = new WeakMap<Tls.TLSSocket, { readonly id: string; readonly known: boolean }>()
      const server = Tls.createServer({
        ...common,
        noDelay: true,
        handshakeTimeout,
        secureOptions: Crypto.constants.SSL_OP_NO_TICKET,
        pskCallback: (socket, id) => {
          const key = ring.get(id)
          asked.set(socket, { id, known: key !== undefined })
          return key === undefined ? null : Buffer.from(Redacted.value(key.psk))
        }
      }, (socket) => {
        const identity = asked.get(socket)?.id ?? ""
        if (ring.get(identity) === undefined) socket.destroy() // removed while the handshake went on
        else {
          open.add(identity, socket)
          onConnection(socket)
        }
      })
      server.on("tlsClientError", (error: NodeJS.ErrnoException, socket) => {
        const reason = reasonOf(error.code ?? "", asked.get(socket)?.known)
        if (reason !== undefined) onRefused({ reason, remote: socket.remoteAddress ?? "" })
        if (reason === "handshake-timeout") socket.destroy() // after any other error it ends itself, having told why
      })
      return server
    },
    connect: ({ host, port }, onOpen) => {
      const socket = Tls.connect({
        ...common,
        host,
        port,
        ca: [],
        servername: "",
        checkServerIdentity: () => new Error("certificates are not accepted"),
        pskCallback: () => {
          const key = ring.primary()
          open.add(key.id, socket)
          return { identity: key.id, psk: Redacted.value(key.psk) }
        }
      }, onOpen)
      socket.setNoDelay(true)
      return socket
    }
  }
}

/** What a failed handshake says of the other end; undefined when it only went away. */
const reasonOf = (code: string, known: boolean | undefined): Refused["reason"] | undefined => {
  if (code === "ECONNRESET" || code === "EPIPE") return undefined
  if (code === "ERR_TLS_HANDSHAKE_TIMEOUT") return "handshake-timeout"
  if (known === false) return "unknown-key"
  if (known === true) return "wrong-key"
  if (code === "ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM") return "no-key"
  return code === "ERR_SSL_HTTP_REQUEST" || code === "ERR_SSL_WRONG_VERSION_NUMBER" ? "not-tls" : "handshake"
}

/** Why a connection could not be opened, for those who must tell a dead process from a stranger. */
export const openFailure = (error: NodeJS.ErrnoException): Error => {
  const { code = "" } = error
  // EPROTO: what was written before the handshake had ended fails with the alert that ended it.
  if (/^ERR_(SSL|TLS)|^EPROTO$|CERT|ISSUER|CHAIN/.test(code)) {
    return new HandshakeFailed({ reason: "refused", detail: code })
  }
  return code === "ECONNRESET" ? new HandshakeFailed({ reason: "closed", detail: code }) : error
}

/** Open sockets by the key that opened them. */
class Identities {
  readonly #sockets = new Map<string, Set<Net.Socket>>()

  add(id: string, socket: Net.Socket): void {
    const known = this.#sockets.get(id)
    const sockets = known ?? new Set()
    if (known === undefined) this.#sockets.set(id, sockets)
    sockets.add(socket)
    socket.once("close", () => {
      sockets.delete(socket)
      if (sockets.size === 0) this.#sockets.delete(id)
    })
  }

  close(id: string): void {
    for (const socket of this.#sockets.get(id) ?? []) socket.destroy()
  }
}
