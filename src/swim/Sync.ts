/** Push-pull: two tables compared over a stream, digest first, states only where they differ.
 *
 * PURE. Boundary: one exchange; when and with whom is decided in `Recovery` and by the periodic timer in `Swim`.
 * The exchange (initiator > acceptor):
 *   > SyncDigest                     hash of the whole table; `join` = I have nothing, tell me all
 *   < SyncBuckets                    no hashes: equal (or a joiner's answer); otherwise one per bucket
 *   > SyncWant, State*, Item*, SyncEnd
 *   < State*, Item*, SyncEnd
 * A joiner reads all states first and then tells who it is (the newest start is known by then).
 * Invariants: M5 (streams, chunks and buckets are bounded), M1 (through `Rumor`). */
import * as Broadcasts from "./Broadcasts.ts"
import * as Core from "./Core.ts"
import * as Identities from "./Identities.ts"
import * as Items from "./Items.ts"
import type * as Member from "./Member.ts"
import * as Members from "./Members.ts"
import type * as Message from "./Message.ts"
import * as Newcomers from "./Newcomers.ts"
import * as Rumor from "./Rumor.ts"

/** Frames stay well below the stream's frame limit. */
const chunkBytes = 32 * 1024
const maxBuckets = 1024

/** Tombstones near their end are not spoken of: peers forget at slightly different times. */
const isSpoken = (core: Core.Core, row: number): boolean =>
  Members.isActive(core.table, row) ||
  Members.age(core.table, row, core.now) < core.params.tombstoneRetention * 0.9

interface Each {
  readonly member: (name: number, hash: number, row: number) => void
  readonly item: (name: number, hash: number, item: Message.Item) => void
}

/** Every entry of ours with the hash of its name; row -1 is ourselves. */
const forEach = (core: Core.Core, each: Each): void => {
  const { identities } = core.table
  Members.forEach(core.table, (row) => {
    if (!isSpoken(core, row)) return
    const name = Identities.nameHash(identities, core.table.record[row] ?? 0)
    each.member(name, Members.hash(core.table, row), row)
  })
  each.member(
    Identities.hashName(core.self.id),
    Core.selfHash(core),
    -1
  )
  for (const item of core.items.values()) {
    each.item(Identities.hashName(item.key), Core.itemHash(item), item)
  }
}

/** Of all that is spoken of: the table keeps its own part up to date, only tombstones near their end are taken out. */
const wholeDigest = (core: Core.Core): { readonly count: number; readonly hash: number } => {
  const { table } = core
  let low = table.sum
  let high = table.high
  let count = table.size
  const add = (hash: number, sign: 1 | -1): void => {
    low = (low + sign * hash) >>> 0
    high = (high + sign * Members.highOf(hash)) & 0x1fffff
    count += sign
  }
  add(Core.selfHash(core), 1)
  for (const item of core.items.values()) add(Core.itemHash(item), 1)
  if (table.counts[2] + table.counts[3] > 0) {
    Members.forEach(table, (row) => {
      if (!isSpoken(core, row)) add(Members.hash(table, row), -1)
    })
  }
  return { count, hash: high * 4294967296 + low }
}

const buckets = (core: Core.Core, count: number): Uint32Array => {
  const sums = new Uint32Array(count)
  const add = (name: number, hash: number): void => {
    const at = name % count
    sums[at] = ((sums[at] ?? 0) + hash) >>> 0
  }
  forEach(core, { member: add, item: add })
  return sums
}

const bucketCount = (entries: number): number => {
  let count = 16
  while (count < maxBuckets && count * 4 < entries) count *= 2
  return count
}

const stateOfSelf = (core: Core.Core): Message.State => {
  const { address, bootId, id, meta, startedAt } = core.self
  return {
    _tag: "State",
    id,
    bootId,
    startedAt,
    address,
    incarnation: core.incarnation,
    status: core.status,
    age: 0,
    meta
  }
}

/** Sends `head`, the entries of the wanted buckets and the end, in bounded chunks. */
const sendStates = (
  core: Core.Core,
  stream: Core.Stream,
  options: {
    readonly head: ReadonlyArray<Message.Message>
    readonly wanted: (name: number) => boolean
    readonly close: boolean
  }
): void => {
  let chunk: Array<Message.Message> = [...options.head]
  let bytes = 0
  const push = (message: Message.Message): void => {
    bytes += core.sizeOf(message)
    if (bytes > chunkBytes) {
      core.out.push({ _tag: "StreamSend", stream: stream.id, messages: chunk, end: false })
      chunk = []
      bytes = 0
    }
    chunk.push(message)
  }
  forEach(core, {
    member: (name, _hash, row) => {
      if (options.wanted(name)) push(row < 0 ? stateOfSelf(core) : Rumor.state(core, row))
    },
    item: (name, _hash, item) => {
      if (options.wanted(name)) push(item)
    }
  })
  for (const have of Broadcasts.heads(core, Infinity)) push(have)
  chunk.push({ _tag: "SyncEnd" })
  stream.sent = true
  core.out.push({ _tag: "StreamSend", stream: stream.id, messages: chunk, end: options.close })
}

const say = (core: Core.Core, stream: Core.Stream, messages: ReadonlyArray<Message.Message>, end: boolean): void => {
  core.out.push({ _tag: "StreamSend", stream: stream.id, messages, end })
}

const opened = (core: Core.Core, initiator: boolean): number => {
  let count = 0
  for (const stream of core.streams.values()) if (stream.initiator === initiator) count++
  return count
}

const make = (
  core: Core.Core,
  options: Pick<Core.Stream, "id" | "initiator" | "purpose" | "address" | "argument">
): Core.Stream => {
  const stream: Core.Stream = {
    ...options,
    sent: false,
    received: false,
    equal: false,
    // As memberlist has it (plain settings) a joiner passes on all it was told: that repairs rumours that died.
    quiet: options.purpose === "join" && core.params.settleInterval > 0,
    opened: false,
    joiner: false,
    peer: undefined,
    reported: false,
    changed: 0
  }
  core.streams.set(stream.id, stream)
  Core.timer(core, core.params.streamTimeout, Core.Kind.stream, stream.id)
  return stream
}

/** Begins an exchange (or a ping over a stream); false when too many are open. */
export const open = (
  core: Core.Core,
  options: Pick<Core.Stream, "purpose" | "address" | "argument">
): Core.Stream | undefined => {
  if (opened(core, true) >= core.params.maxStreams) return undefined
  core.stream += 2
  const stream = make(core, { ...options, id: core.stream, initiator: true })
  core.out.push({ _tag: "OpenStream", stream: stream.id, to: options.address })
  return stream
}

export const onOpened = (core: Core.Core, id: number, remote: Member.Address, initiator: boolean): void => {
  if (!initiator) {
    if (opened(core, false) >= core.params.maxStreams) {
      core.out.push({ _tag: "CloseStream", stream: id })
      return Core.reject(core, "too-many-streams", remote)
    }
    make(core, { id, initiator: false, purpose: "accepted", address: remote, argument: 0 }).opened = true
    return
  }
  const stream = core.streams.get(id)
  if (stream === undefined) {
    core.out.push({ _tag: "CloseStream", stream: id })
    return
  }
  stream.opened = true
  if (stream.purpose === "ping") {
    const probe = core.probes.get(stream.argument)
    if (probe === undefined || !Members.has(core.table, probe.row)) return close(core, stream)
    const target = Members.identity(core.table, probe.row).id
    const { bootId, id: from } = core.self
    const digest = Core.digest(core)
    return say(core, stream, [{ _tag: "Ping", seq: probe.seq, target, from, bootId, digest }], false)
  }
  const { count, hash } = wholeDigest(core)
  const join = stream.purpose === "join"
  say(core, stream, [{ _tag: "SyncDigest", from: core.self.id, bootId: core.self.bootId, join, count, hash }], false)
}

export const close = (core: Core.Core, stream: Core.Stream): void => {
  core.streams.delete(stream.id)
  core.out.push({ _tag: "CloseStream", stream: stream.id })
}

/** The acceptor's first answer. */
const onDigest = (core: Core.Core, stream: Core.Stream, message: Message.SyncDigest): void => {
  const { bootId, id: from } = core.self
  const head = (hashes: Uint8Array): Message.Message => ({ _tag: "SyncBuckets", from, bootId, hashes })
  if (message.join) {
    return sendStates(core, stream, { head: [head(new Uint8Array(0))], wanted: () => true, close: true })
  }
  const own = wholeDigest(core)
  if (own.hash === message.hash && own.count === message.count) {
    stream.sent = true
    stream.equal = true
    return say(core, stream, [head(new Uint8Array(0)), { _tag: "SyncEnd" }], true)
  }
  const sums = buckets(core, bucketCount(Math.max(own.count, Math.min(message.count, core.params.maxMembers))))
  const hashes = new Uint8Array(sums.length * 4)
  const view = new DataView(hashes.buffer)
  for (let i = 0; i < sums.length; i++) view.setUint32(i * 4, sums[i] ?? 0)
  say(core, stream, [head(hashes)], false)
}

const isPowerOfTwo = (n: number): boolean => n >= 16 && n <= maxBuckets && (n & (n - 1)) === 0

const isWanted = (bits: Uint8Array, count: number) => (name: number): boolean => {
  const at = name % count
  return ((bits[at >> 3] ?? 0) & (1 << (at & 7))) !== 0
}

/** The initiator learns where the tables differ. */
const onBuckets = (core: Core.Core, stream: Core.Stream, hashes: Uint8Array): void => {
  const count = hashes.length / 4
  if (count === 0) {
    stream.equal = stream.purpose !== "join"
    return
  }
  if (!isPowerOfTwo(count)) return refuse(core, stream, "malformed-buckets")
  const own = buckets(core, count)
  const view = new DataView(hashes.buffer, hashes.byteOffset, hashes.byteLength)
  const bits = new Uint8Array(count >> 3)
  for (let i = 0; i < count; i++) {
    if (view.getUint32(i * 4) !== own[i]) bits[i >> 3] = (bits[i >> 3] ?? 0) | (1 << (i & 7))
  }
  sendStates(core, stream, {
    head: [{ _tag: "SyncWant", buckets: bits, count }],
    wanted: isWanted(bits, count),
    close: true
  })
}

const refuse = (core: Core.Core, stream: Core.Stream, reason: string): void => {
  Core.reject(core, reason, stream.address)
  close(core, stream)
}

/** One message of an exchange. True when this side has now heard everything. */
export const receive = (core: Core.Core, stream: Core.Stream, message: Message.Message): boolean => {
  switch (message._tag) {
    case "SyncDigest":
      if (stream.initiator || stream.sent) refuse(core, stream, "unexpected-digest")
      else {
        stream.peer = message.from
        stream.joiner = message.join
        onDigest(core, stream, message)
      }
      return false
    case "SyncBuckets":
      if (!stream.initiator || stream.sent) refuse(core, stream, "unexpected-buckets")
      else {
        stream.peer = message.from
        onBuckets(core, stream, message.hashes)
      }
      return false
    case "SyncWant":
      if (stream.initiator || stream.sent) refuse(core, stream, "unexpected-want")
      else if (!isPowerOfTwo(message.count) || message.buckets.length !== message.count >> 3) {
        refuse(core, stream, "malformed-want")
      } else {
        const wanted = isWanted(message.buckets, message.count)
        sendStates(core, stream, { head: [], wanted, close: true })
      }
      return false
    case "State":
      onState(core, stream, message)
      return false
    case "Item":
      Items.learn(core, message, !stream.quiet)
      return false
    case "Have":
      Broadcasts.onHave(core, message)
      return false
    case "SyncEnd":
      stream.received = true
      return true
    default:
      Core.reject(core, "unexpected-on-stream", stream.address)
      return false
  }
}

/** A joiner ends the exchange by saying who it is. */
export const introduceSelf = (core: Core.Core, stream: Core.Stream): void => {
  stream.sent = true
  say(core, stream, [stateOfSelf(core), { _tag: "SyncEnd" }], true)
}

/** What an exchange tells about one member. A death we did not see is a suspicion first: its subject may refute. */
export const onState = (core: Core.Core, stream: Core.Stream, message: Message.State): void => {
  const since = core.now - message.age
  if (message.status === "dead" || message.status === "left") {
    if (message.age >= core.params.tombstoneRetention) return
  }
  const before = core.out.length
  const source: Rumor.Source = { spread: !stream.quiet, since }
  const row = Members.find(core.table, message.id)
  const known = row >= 0 ? Members.identity(core.table, row) : undefined
  if (
    message.status === "dead" && known?.bootId === message.bootId && Members.isActive(core.table, row)
  ) Rumor.claim(core, message, "suspect", { spread: true }, stream.peer ?? core.self.id)
  else Rumor.introduce(core, message, source)
  if (stream.joiner && message.id === stream.peer) Newcomers.letIn(core, message)
  if (core.out.length > before) stream.changed++
}
