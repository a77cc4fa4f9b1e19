/** What one full gossip packet costs: encoding, decoding, handling at 100 to 10,000 members; and memory per member.
 *
 * A packet is a ping and as much news as fits into 1,400 bytes, either all known already or all fresh. */
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as Core from "../../src/swim/Core.ts"
import * as Member from "../../src/swim/Member.ts"
import type * as Message from "../../src/swim/Message.ts"
import * as Params from "../../src/swim/Params.ts"
import * as Prng from "../../src/swim/Prng.ts"
import * as Swim from "../../src/swim/Swim.ts"
import * as Codec from "../../src/wire/Codec.ts"
import * as Packet from "../../src/wire/Packet.ts"
import { type Row, row } from "./Row.ts"

const packets = 20_000
const warmup = 3000
const meta = new TextEncoder().encode(JSON.stringify({ release: "1.0.0", zone: "a" }))

const identity = (index: number): Member.Identity => ({
  id: Member.id(`member-${index}`),
  bootId: 1_000_000 + index,
  startedAt: 1_700_000_000_000 + index,
  address: { host: `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`, port: 7946 },
  meta
})

const alive = (index: number, incarnation: number): Message.Alive => ({
  _tag: "Alive",
  ...identity(index),
  incarnation
})

const machine = (size: number, wire: Packet.Packet): Swim.Swim => {
  const swim = Swim.make({
    self: identity(0),
    params: Params.lan,
    seed: 1,
    now: 0,
    sizeOf: wire.sizeOf,
    packetOverhead: wire.overhead,
    capacity: size
  })
  const out: Array<Swim.Output> = []
  for (let index = 1; index < size; index++) {
    const from = identity(index).address
    Swim.step(swim, { _tag: "Received", now: 0, from, messages: [alive(index, 0)] }, out)
    out.length = 0
  }
  return swim
}

/** A ping and news about random members until nothing more fits. */
const full = (
  random: Prng.Prng,
  size: number,
  wire: Packet.Packet,
  news: (index: number) => Message.Message
): { readonly from: Member.Address; readonly messages: Array<Message.Message>; readonly bytes: Uint8Array } => {
  const sender = identity(1 + Prng.below(random, size - 1))
  const messages: Array<Message.Message> = [{
    _tag: "Ping",
    seq: 1 + Prng.below(random, 1_000_000),
    target: identity(0).id,
    from: sender.id,
    bootId: sender.bootId,
    digest: 1 + Prng.below(random, 1_000_000_000)
  }]
  let left = Params.lan.datagramBudget - wire.overhead - wire.sizeOf(messages[0] ?? { _tag: "Who" })
  while (true) {
    const message = news(1 + Prng.below(random, size - 1))
    left -= wire.sizeOf(message)
    if (left < 0) return { from: sender.address, messages, bytes: wire.encode(messages) }
    messages.push(message)
  }
}

const micros = (begun: number): number => (performance.now() - begun) * 1000

/** Decoding and handling, with the timers that come due every ten milliseconds of virtual time. */
const handle = (size: number, kind: "known" | "fresh"): Array<number> => {
  const wire = Packet.make(Codec.binary)
  const sender = Packet.make(Codec.binary) // another process, with what it remembers
  const swim = machine(size, wire)
  const random = Prng.make(7)
  const incarnations = new Map<number, number>()
  const news = (index: number): Message.Message => {
    if (kind === "known") return alive(index, 0)
    const next = (incarnations.get(index) ?? 0) + 1
    incarnations.set(index, next)
    return alive(index, next)
  }
  const samples: Array<number> = []
  const out: Array<Swim.Output> = []
  for (let i = 0; i < warmup + packets; i++) {
    const { bytes, from } = full(random, size, sender, news)
    const now = i / 4 // four packets a millisecond
    const begun = performance.now()
    const messages: Array<Message.Message> = []
    if (wire.decode(bytes, messages) !== undefined) throw new Error("a packet was refused")
    Swim.step(swim, { _tag: "Received", now, from, messages }, out)
    if (i >= warmup) samples.push(micros(begun))
    out.length = 0
    if (i % 40 === 0) {
      Swim.step(swim, { _tag: "TimerFired", now }, out)
      Swim.step(swim, { _tag: "Drained", now }, out)
      out.length = 0
    }
  }
  return samples
}

/** Bytes that one more member costs a table of ten thousand. */
const memory = (): number => {
  setFlagsFromString("--expose-gc")
  const collect = runInNewContext("gc") as () => void
  const used = (): number => {
    collect()
    collect()
    const { arrayBuffers, heapUsed } = process.memoryUsage()
    return heapUsed + arrayBuffers
  }
  const size = 10_000
  const wire = Packet.make(Codec.binary)
  const before = used()
  const swim = machine(size, wire)
  Core.living(swim) // keeps it
  const after = used()
  if (Core.living(swim) !== size) throw new Error("members are missing")
  return (after - before) / size
}

const timed = (times: number, work: () => void): Array<number> => {
  const samples: Array<number> = []
  for (let i = 0; i < warmup + times; i++) {
    const begun = performance.now()
    work()
    if (i >= warmup) samples.push(micros(begun))
  }
  return samples
}

const codec = (which: Codec.Codec): { readonly bytes: number; readonly parts: number; readonly rows: Array<Row> } => {
  const random = Prng.make(3)
  const sizes = Packet.make(which)
  const { bytes, messages } = full(random, 1000, sizes, (index) => alive(index, index % 5))
  const copy = row(`packets.bare-copy-of-1400-bytes`, "µs", timed(packets, () => void bytes.slice()))
  const control = { name: copy.name, p50: copy.p50 }
  // A new object per message: nothing is taken from the cache.
  const encode = timed(packets, () => void Packet.make(which).encode(messages))
  const cached = timed(packets, () => void sizes.encode(messages))
  const decode = timed(packets, () => void sizes.decode(bytes, []))
  return {
    bytes: bytes.length,
    parts: messages.length,
    rows: [
      copy,
      row(`packets.encode-full-${which.name}`, "µs", encode, control),
      row(`packets.encode-full-${which.name}-cached`, "µs", cached, control),
      row(`packets.decode-full-${which.name}`, "µs", decode, control)
    ]
  }
}

export const run = async (progress: (line: string) => void): Promise<ReadonlyArray<Row>> => {
  // First, before anything else has left something to collect.
  const rows = [row("packets.memory-per-member", "B", [memory()])]
  progress(`${rows[0]?.p50} B of memory per member`)
  for (const which of [Codec.binary, Codec.json]) {
    const { bytes, parts, rows: measured } = codec(which)
    progress(`${which.name}: ${bytes} bytes for ${parts} messages`)
    rows.push(...measured, row(`packets.bytes-per-alive-${which.name}`, "B", [bytes / parts]))
  }
  const copy = rows[1]
  const control = copy === undefined ? null : { name: copy.name, p50: copy.p50 }
  for (const size of [100, 1000, 10_000]) {
    for (const kind of ["known", "fresh"] as const) {
      const samples = handle(size, kind)
      rows.push(row(`packets.handle-${kind}-news-at-${size}`, "µs", samples, control))
      progress(`${kind} news at ${size}: ${rows.at(-1)?.p50} µs, p99 ${rows.at(-1)?.p99} µs`)
    }
  }
  return rows
}
