/** User broadcasts: numbered per origin and run, delivered once, passed on within their own queue.
 *
 * PURE. Boundary: payloads are opaque; kinds and schemas are the layers' above.
 * Invariants: M5 (remembered numbers are bounded per origin, origins by the table). */
import * as Core from "./Core.ts"
import type * as Message from "./Message.ts"
import * as Spread from "./Spread.ts"

const window = 4096

export const publish = (
  core: Core.Core,
  options: { readonly kind: string; readonly key: string; readonly payload: Uint8Array }
): void => {
  const message: Message.Broadcast = {
    _tag: "Broadcast",
    origin: core.self.id,
    bootId: core.self.bootId,
    seq: core.broadcastSeq++,
    kind: options.kind,
    key: options.key,
    payload: options.payload
  }
  if (!Spread.broadcast(core, queueKey(message), message)) return Core.reject(core, "oversized-broadcast")
  Core.notify(core, { _tag: "Delivered", broadcast: message })
}

/** A broadcast with a key takes the place of an older one with the same key. */
const queueKey = (message: Message.Broadcast): string =>
  message.key === ""
    ? `${message.seq}\u0000${message.bootId}\u0000${message.origin}`
    : `k\u0000${message.kind}\u0000${message.key}\u0000${message.origin}`

export const receive = (core: Core.Core, message: Message.Broadcast): void => {
  if (message.origin === core.self.id || !isNew(core, message)) return
  Core.notify(core, { _tag: "Delivered", broadcast: message })
  Spread.broadcast(core, queueKey(message), message)
}

const isNew = (core: Core.Core, message: Message.Broadcast): boolean => {
  let origin = core.origins.get(message.origin)
  if (origin === undefined || origin.bootId !== message.bootId) {
    if (origin === undefined && core.origins.size >= core.params.maxMembers) return false
    origin = { bootId: message.bootId, floor: Math.max(0, message.seq - window), above: new Set() }
    core.origins.set(message.origin, origin)
  }
  const { above } = origin
  if (message.seq < origin.floor || above.has(message.seq)) return false
  above.add(message.seq)
  if (message.seq >= origin.floor + 2 * window) origin.floor = message.seq - window
  while (above.delete(origin.floor)) origin.floor++
  if (above.size > 2 * window) { for (const seq of above) if (seq < origin.floor) above.delete(seq) }
  return true
}
