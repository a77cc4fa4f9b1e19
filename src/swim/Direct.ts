/** Messages to one member: numbered per pair and run, acknowledged, repeated until then, delivered in order and once.
 *
 * PURE. Boundary: payloads are opaque. A message ends with its acknowledgement, with the death of its target's run, or
 * after `broadcastAge`; the sender hears which. `base` tells the receiver what the sender does not wait for any more.
 * Invariants: M5 (so many messages under way per member, so many members). */
import * as Core from "./Core.ts"
import type * as Member from "./Member.ts"
import * as Members from "./Members.ts"
import type * as Message from "./Message.ts"
import * as Spread from "./Spread.ts"

const maxWaiting = 256
const maxPeers = 4096

interface Waiting {
  readonly message: Message.Direct
  readonly token: number
  readonly since: number
  sentAt: number
}

/** What waits for the acknowledgement of one member. */
export interface Outbox {
  readonly bootId: number
  next: number
  readonly waiting: Map<number, Waiting>
}

/** What one run of a member has sent us. */
export interface Inbox {
  readonly bootId: number
  next: number
  readonly held: Map<number, Message.Direct>
}

export interface Send {
  readonly to: Member.MemberId
  /** Returned with the outcome. */
  readonly token: number
  readonly kind: string
  readonly payload: Uint8Array
}

export type Failure = "left" | "unknown-member" | "queue-full" | "oversized" | "member-gone" | "expired"

const done = (core: Core.Core, token: number, error?: Failure): void =>
  Core.notify(core, error === undefined ? { _tag: "Sent", token } : { _tag: "Sent", token, error })

const target = (core: Core.Core, id: Member.MemberId): number => {
  const row = Members.find(core.table, id)
  return row >= 0 && Members.isActive(core.table, row) ? row : -1
}

export const send = (core: Core.Core, options: Send): void => {
  const { kind, payload, to, token } = options
  if (core.status === "left") return done(core, token, "left")
  if (to === core.self.id) {
    const message = create(core, to, { bootId: core.self.bootId, seq: 0, base: 0, kind, payload })
    Core.notify(core, { _tag: "Received", message })
    return done(core, token)
  }
  const row = target(core, to)
  if (row < 0) return done(core, token, "unknown-member")
  const { bootId } = Members.identity(core.table, row)
  const outbox = outboxFor(core, to, bootId)
  if (outbox === undefined || outbox.waiting.size >= maxWaiting) return done(core, token, "queue-full")
  const base = lowest(outbox)
  const message = create(core, to, { bootId, seq: outbox.next, base, kind, payload })
  if (!Spread.isSendable(core, message)) return done(core, token, "oversized")
  outbox.next++
  core.directNext = Math.max(core.directNext, outbox.next)
  outbox.waiting.set(message.seq, { message, token, since: core.now, sentAt: core.now })
  Core.send(core, Members.identity(core.table, row).address, [message])
  watch(core)
}

const create = (
  core: Core.Core,
  to: Member.MemberId,
  options: Pick<Message.Direct, "seq" | "base" | "kind" | "payload"> & { readonly bootId: number }
): Message.Direct => {
  const { base, bootId, kind, payload, seq } = options
  return { _tag: "Direct", from: core.self.id, bootId: core.self.bootId, to, toBoot: bootId, seq, base, kind, payload }
}

/** The lowest number that is still waited for. Numbers are added in rising order. */
const lowest = (outbox: Outbox): number => {
  for (const seq of outbox.waiting.keys()) return seq
  return outbox.next
}

const outboxFor = (core: Core.Core, to: Member.MemberId, bootId: number): Outbox | undefined => {
  const known = core.outboxes.get(to)
  if (known?.bootId === bootId) return known
  if (known !== undefined) abandon(core, known, "member-gone")
  else if (core.outboxes.size >= maxPeers) return undefined
  // Never below a number that this target may have seen from us.
  const outbox: Outbox = { bootId, next: core.directNext, waiting: new Map() }
  core.outboxes.set(to, outbox)
  return outbox
}

const abandon = (core: Core.Core, outbox: Outbox, error: Failure): void => {
  for (const { token } of outbox.waiting.values()) done(core, token, error)
  outbox.waiting.clear()
}

const watch = (core: Core.Core): void => {
  if (core.directSet) return
  core.directSet = true
  Core.timer(core, core.params.probeTimeout / 4, Core.Kind.direct)
}

/** Repeats what was not acknowledged. */
export const onTimer = (core: Core.Core): void => {
  core.directSet = false
  let open = false
  for (const [to, outbox] of core.outboxes) {
    if (outbox.waiting.size === 0) continue
    const row = target(core, to)
    if (row < 0 || Members.identity(core.table, row).bootId !== outbox.bootId) {
      abandon(core, outbox, "member-gone")
      continue
    }
    repeat(core, outbox, Members.identity(core.table, row).address)
    if (outbox.waiting.size > 0) open = true
  }
  if (open) watch(core)
}

const repeat = (core: Core.Core, outbox: Outbox, address: Member.Address): void => {
  for (const [seq, waiting] of outbox.waiting) {
    if (core.now - waiting.since > core.params.broadcastAge) {
      outbox.waiting.delete(seq)
      done(core, waiting.token, "expired")
    }
  }
  const again: Array<Message.Message> = []
  const base = lowest(outbox)
  for (const waiting of outbox.waiting.values()) {
    if (core.now - waiting.sentAt < core.params.probeTimeout / 2) continue
    waiting.sentAt = core.now
    again.push(waiting.message.base === base ? waiting.message : { ...waiting.message, base })
  }
  if (again.length > 0) Core.send(core, address, again)
}

export const onAck = (core: Core.Core, message: Message.DirectAck): void => {
  const outbox = core.outboxes.get(message.from)
  const waiting = outbox?.waiting.get(message.seq)
  if (outbox === undefined || waiting === undefined || message.bootId !== core.self.bootId) return
  outbox.waiting.delete(message.seq)
  done(core, waiting.token)
}

export const receive = (core: Core.Core, message: Message.Direct, from: Member.Address): void => {
  if (message.to !== core.self.id || message.toBoot !== core.self.bootId) {
    return Core.reject(core, "message-for-another", from)
  }
  let inbox = core.inboxes.get(message.from)
  if (inbox === undefined || inbox.bootId !== message.bootId) {
    if (inbox === undefined && core.inboxes.size >= maxPeers && !forgetOne(core)) {
      return Core.reject(core, "too-many-senders", from)
    }
    inbox = { bootId: message.bootId, next: message.base, held: new Map() }
    core.inboxes.set(message.from, inbox)
  }
  if (message.seq >= Math.max(inbox.next, message.base) + maxWaiting) {
    return Core.reject(core, "message-too-far-ahead", from)
  }
  Core.reply(core, { _tag: "DirectAck", from: core.self.id, bootId: message.bootId, seq: message.seq })
  if (message.seq >= inbox.next) inbox.held.set(message.seq, message)
  deliver(core, inbox, message.base)
}

/** In order; numbers below `base` that have not come are given up by their sender. */
const deliver = (core: Core.Core, inbox: Inbox, base: number): void => {
  while (inbox.held.size > 0 || inbox.next < base) {
    const message = inbox.held.get(inbox.next)
    if (message === undefined && inbox.next >= base) return
    if (inbox.held.size === 0) {
      inbox.next = base
      return
    }
    inbox.held.delete(inbox.next++)
    if (message !== undefined) Core.notify(core, { _tag: "Received", message })
  }
}

/** Makes room for a sender by forgetting one that is gone. */
const forgetOne = (core: Core.Core): boolean => {
  for (const id of core.inboxes.keys()) {
    if (target(core, id) >= 0) continue
    core.inboxes.delete(id)
    return true
  }
  return false
}

/** Forgets pairs that are over. */
export const reap = (core: Core.Core): void => {
  for (const [id, outbox] of core.outboxes) {
    if (outbox.waiting.size === 0 && target(core, id) < 0) core.outboxes.delete(id)
  }
  for (const id of core.inboxes.keys()) if (target(core, id) < 0) core.inboxes.delete(id)
}
