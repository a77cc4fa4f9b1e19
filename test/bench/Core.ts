/** The protocol machine alone: what one member spends on the packets it gets and sends, beside copying their bytes. */
import process from "node:process"
import * as Gossip from "../../src/swim/Gossip.ts"
import * as Member from "../../src/swim/Member.ts"
import * as Members from "../../src/swim/Members.ts"
import type * as Message from "../../src/swim/Message.ts"
import * as Params from "../../src/swim/Params.ts"
import * as Prng from "../../src/swim/Prng.ts"
import * as Swim from "../../src/swim/Swim.ts"
import * as Codec from "../../src/wire/Codec.ts"
import * as Packet from "../../src/wire/Packet.ts"
import { type Row, row } from "./Row.ts"

const packet = Packet.make(Codec.binary)
const random = Prng.make(1)
const start = 1_700_000_000_000
const rounds = 3000

const address = (index: number): Member.Address => ({
  host: `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`,
  port: 7946
})

const alive = (index: number, incarnation: number): Message.Alive => ({
  _tag: "Alive",
  id: Member.id(`node-${index}`),
  bootId: 281_474_976_000_000 + index,
  startedAt: start + index,
  address: address(index),
  incarnation,
  meta: new Uint8Array(32)
})

/** A machine that knows so many others. */
const among = (nodes: number): Swim.Swim => {
  const { _tag: _, incarnation: __, ...self } = alive(0, 0)
  const swim = Swim.make({
    self,
    params: Params.lan,
    seed: 1,
    now: 0,
    sizeOf: packet.sizeOf,
    packetOverhead: packet.overhead
  })
  const states = Array.from({ length: nodes }, (_, i): Message.State => ({
    ...alive(i + 1, 0),
    _tag: "State",
    status: "alive",
    age: 1000
  }))
  Swim.step(swim, { _tag: "Command", now: 0, command: { _tag: "Restore", states } }, [])
  Swim.step(swim, { _tag: "TimerFired", now: 0 }, [])
  return swim
}

/** As many fresh updates as fit into one datagram, encoded. */
const fullPacket = (nodes: number, incarnation: number): Uint8Array => {
  const messages: Array<Message.Message> = []
  let size = packet.overhead
  while (true) {
    const message = alive(1 + Prng.below(random, nodes), incarnation)
    size += packet.sizeOf(message)
    if (size > Params.lan.datagramBudget) return packet.encode(messages)
    messages.push(message)
  }
}

/** Microseconds of each call. */
const times = (count: number, work: (i: number) => void): Array<number> => {
  const samples: Array<number> = []
  for (let i = 0; i < count; i++) {
    const began = process.hrtime.bigint()
    work(i)
    samples.push(Number(process.hrtime.bigint() - began) / 1000)
  }
  return samples.slice(Math.floor(count / 5))
}

const handling = (nodes: number, control: Row["control"]): Array<Row> => {
  const swim = among(nodes)
  const from = address(1)
  let now = 0
  const packets = Array.from({ length: rounds }, (_, i) => fullPacket(nodes, i + 1))
  const full = times(rounds, (i) => {
    const messages: Array<Message.Message> = []
    packet.decode(packets[i] ?? new Uint8Array(0), messages)
    Swim.step(swim, { _tag: "Received", now: ++now, from, messages }, [])
  })
  const { bootId, id } = alive(1, 0)
  const rates = Array.from({ length: 20 }, (_, slice) => {
    const began = process.hrtime.bigint()
    const count = 5000
    for (let seq = 0; seq < count; seq++) {
      const ping: Message.Ping = {
        _tag: "Ping",
        seq: slice * count + seq,
        target: swim.self.id,
        from: id,
        bootId,
        digest: 1
      }
      Swim.step(swim, { _tag: "Received", now, from, messages: [ping] }, [])
    }
    return count / (Number(process.hrtime.bigint() - began) / 1e9)
  })
  return [
    row(`core.fullPacket.${nodes}`, "us", full, control),
    row(`core.pings.${nodes}`, "packets/s", rates.slice(5))
  ]
}

const codec = (control: Row["control"]): Array<Row> => {
  const encoded = Array.from({ length: rounds }, (_, i) => fullPacket(1000, i))
  const decoded = times(rounds, (i) => void packet.decode(encoded[i] ?? new Uint8Array(0), []))
  const fresh = Array.from({ length: rounds }, (_, i) => Array.from({ length: 10 }, (_, k) => alive(k, i)))
  const encodedTimes = times(rounds, (i) => void packet.encode(fresh[i] ?? []))
  // An update is encoded once and passed on many times.
  const again = times(rounds, (i) => void packet.encode(fresh[i] ?? []))
  return [
    row("wire.decode.fullPacket", "us", decoded, control),
    row("wire.encode.10updates", "us", encodedTimes, control),
    row("wire.encode.10updates.again", "us", again, control),
    row("wire.bytes.alive", "B", [packet.sizeOf(alive(1, 1))])
  ]
}

const queue = (control: Row["control"]): Array<Row> => {
  const gossip = Gossip.make({ maxEntries: 200_000, maxBytes: 1e9, maxAge: Infinity })
  const added = times(100_000, (i) => {
    const message: Message.Broadcast = {
      _tag: "Broadcast",
      origin: Member.id("node-1"),
      bootId: 1,
      lane: 0,
      seq: i,
      kind: "bench",
      key: "",
      payload: new Uint8Array(0)
    }
    Gossip.add(gossip, { key: String(i), message, size: 40 + i % 200, limit: 1400, now: 0 })
  })
  const filled = times(5000, () => {
    Gossip.fill(gossip, { room: 1400, limit: 12, below: Infinity, now: 0, into: [] })
  })
  return [
    row("gossip.add.100000", "us", added, control),
    row("gossip.fill.100000", "us", filled, control)
  ]
}

export const run = (progress: (line: string) => void): Promise<ReadonlyArray<Row>> => {
  const bytes = fullPacket(1000, 0)
  const into = new Uint8Array(2048)
  progress("control: copying a full packet")
  const copies = row("core.control.copy", "us", times(rounds, () => into.set(bytes)))
  const control = { name: "copying 1400 bytes", p50: copies.p50 }
  const rows: Array<Row> = [copies]
  for (const nodes of [100, 1000, 10_000]) {
    progress(`packets among ${nodes}`)
    rows.push(...handling(nodes, control))
  }
  progress("encoding and decoding")
  rows.push(...codec(control))
  progress("100000 queued broadcasts")
  rows.push(...queue(control))
  rows.push(row("core.bytesPerEntry", "B", [Members.bytesPerEntry]))
  return Promise.resolve(rows)
}
