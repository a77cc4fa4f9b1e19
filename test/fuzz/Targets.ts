/** Everything that reads bytes of others, with what must hold for any bytes.
 *
 * A target makes a corpus of valid inputs from a seed, then is given one mutated input at a time and says what became of
 * it: "taken", or the reason why it was refused. Whatever must not happen is thrown. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { AssertionError } from "node:assert"
import * as Hello from "../../src/cluster/Hello.ts"
import * as NodeMeta from "../../src/cluster/NodeMeta.ts"
import * as Reign from "../../src/cluster/Reign.ts"
import * as ReignStore from "../../src/cluster/ReignStore.ts"
import * as Store from "../../src/cluster/Store.ts"
import * as Frame from "../../src/functions/Frame.ts"
import * as Hop from "../../src/functions/Hop.ts"
import * as Mux from "../../src/functions/Mux.ts"
import { Cipher } from "../../src/membership/Cipher.ts"
import * as ClusterKey from "../../src/membership/ClusterKey.ts"
import * as Keyring from "../../src/membership/Keyring.ts"
import * as Sealing from "../../src/membership/Sealing.ts"
import * as NodeCipher from "../../src/node/NodeCipher.ts"
import * as Member from "../../src/swim/Member.ts"
import type * as Message from "../../src/swim/Message.ts"
import * as Params from "../../src/swim/Params.ts"
import * as Prng from "../../src/swim/Prng.ts"
import * as Swim from "../../src/swim/Swim.ts"
import * as Codec from "../../src/wire/Codec.ts"
import * as Envelope from "../../src/wire/Envelope.ts"
import * as Packet from "../../src/wire/Packet.ts"
import * as Saved from "../../src/wire/Saved.ts"
import * as StreamFrame from "../../src/wire/StreamFrame.ts"
import * as Messages from "../wire/Messages.ts"
import * as Mutation from "./Mutation.ts"

export interface Target {
  readonly name: string
  readonly make: (random: Prng.Prng) => {
    readonly corpus: Mutation.Corpus
    readonly take: (bytes: Uint8Array) => string
  }
}

const corpusSize = 400
const label = Envelope.label("shoal")
const taken = "taken"

const must = (holds: boolean, message: string): void => {
  if (!holds) throw new AssertionError({ message })
}

const many = <A>(make: () => A, size = corpusSize): ReadonlyArray<A> => Array.from({ length: size }, make)

const messages = (random: Prng.Prng): ReadonlyArray<Message.Message> =>
  Array.from({ length: 1 + Prng.below(random, 6) }, () => Messages.make(random))

const packets = (random: Prng.Prng, codec: Codec.Codec): Mutation.Corpus => {
  const packet = Packet.make(codec)
  return many(() => packet.encode(messages(random)))
}

const packetOf = (codec: Codec.Codec): Target => ({
  name: `packet-${codec.name}`,
  make: (random) => {
    const packet = Packet.make(codec)
    return {
      corpus: packets(random, codec),
      take: (bytes) => {
        const out: Array<Message.Message> = []
        const refused = packet.decode(bytes, out)
        must(out.length <= 1024, "more messages than a packet may hold")
        return refused ?? taken
      }
    }
  }
})

const streamOf = (codec: Codec.Codec, greeted: boolean): Target => ({
  name: `${greeted ? "greeted-" : ""}stream-${codec.name}`,
  make: (random) => {
    const plain = StreamFrame.make(codec)
    const framing = greeted ? Sealing.greeted(plain, label) : plain
    const greeting = greeted ? [...Envelope.greeting(label)] : []
    return {
      corpus: many(() => Uint8Array.from([...greeting, ...plain.encode(messages(random)), ...plain.end])),
      take: (bytes) => {
        const decoder = framing.decoder()
        const out: Array<Message.Message> = []
        let refused: string | undefined
        for (const chunk of Mutation.chunks(random, bytes)) {
          const now = decoder.push(chunk, out)
          must(refused === undefined || now === refused, "a broken stream goes on")
          refused = now
        }
        must(out.length <= bytes.length, "more messages than bytes")
        return refused ?? (decoder.ended ? taken : "incomplete")
      }
    }
  }
})

const envelopeClear: Target = {
  name: "envelope-clear",
  make: (random) => {
    const packet = Sealing.around(Packet.make(Codec.binary), Sealing.clear(label))
    const plain = many(() => packet.encode(messages(random)))
    return {
      corpus: [...plain, ...plain.slice(0, 50).map((bytes) => Envelope.clear(label, bytes))],
      take: (bytes) => {
        const out: Array<Message.Message> = []
        return packet.decode(bytes, out) ?? taken
      }
    }
  }
}

const secretOf = (fill: number): ClusterKey.Secret => Result.getOrThrow(ClusterKey.make(new Uint8Array(32).fill(fill)))

const ringOf = (...fills: ReadonlyArray<number>): Keyring.Keyring["Service"] => {
  const made = Effect.runSync(
    Keyring.make({ given: fills.map(secretOf), saved: undefined, save: () => Effect.void }).pipe(
      Effect.provide(NodeCipher.layer)
    )
  )
  if (made === undefined) throw new AssertionError({ message: "no ring" })
  return made.keyring
}

/** With a key nothing that was changed may be opened, not even in part: so no state can change. */
const envelopeSealed: Target = {
  name: "envelope-sealed",
  make: (random) => {
    const sender = Sealing.sealed({ label, ...ringOf(1) })
    const receiver = Sealing.around(Packet.make(Codec.binary), Sealing.sealed({ label, ...ringOf(1, 2) }))
    const stranger = Sealing.sealed({ label, ...ringOf(3) })
    const plain = packets(random, Codec.binary)
    const sealed = plain.map(sender.seal)
    const nested = sealed.slice(0, 50).map(sender.seal)
    const valid = new Set([...sealed, ...nested].map((bytes) => bytes.toString()))
    return {
      corpus: [...sealed, ...nested, ...plain.slice(0, 50), ...plain.slice(0, 50).map(stranger.seal)],
      take: (bytes) => {
        const out: Array<Message.Message> = []
        const refused = receiver.decode(bytes, out)
        if (refused === undefined || out.length > 0) must(valid.has(bytes.toString()), "a changed packet was opened")
        return refused ?? taken
      }
    }
  }
}

/** The protocol machine under whatever a codec lets through: it may believe lies here, but never throw or grow. */
const machine: Target = {
  name: "machine",
  make: (random) => {
    const packet = Packet.make(Codec.binary)
    const from = { host: "10.0.0.9", port: 7946 }
    let now = 0
    let fed = 0
    let swim = fresh(packet)
    return {
      corpus: packets(random, Codec.binary),
      take: (bytes) => {
        const received: Array<Message.Message> = []
        const refused = packet.decode(bytes, received)
        const out: Array<Swim.Output> = []
        now += 5
        if (++fed % 500 === 0) { // a liar may name any number of members; another test bounds the table
          swim = fresh(packet)
          now = 0
        }
        if (received.length > 0) Swim.step(swim, { _tag: "Received", now, from, messages: received }, out)
        Swim.step(swim, { _tag: "TimerFired", now }, out)
        Swim.step(swim, { _tag: "Drained", now }, out)
        for (const output of out) {
          if (output._tag !== "Send") continue
          const size = output.messages.reduce((sum, message) => sum + packet.sizeOf(message), packet.overhead)
          must(size <= Params.lan.datagramBudget, "a datagram above the budget")
        }
        return refused ?? taken
      }
    }
  }
}

/** One codec counts and encodes, as in a real member: what is passed on keeps the bytes in which it came. */
const fresh = (packet: Packet.Packet): Swim.Swim =>
  Swim.make({
    self: {
      id: Member.id("self"),
      bootId: 1,
      startedAt: 1,
      address: { host: "10.0.0.1", port: 7946 },
      meta: new Uint8Array(0)
    },
    params: Params.lan,
    seed: 1,
    now: 0,
    sizeOf: packet.sizeOf,
    packetOverhead: packet.overhead
  })

const hello: Target = {
  name: "hello",
  make: (random) => ({
    corpus: many(() =>
      Hello.toBytes({
        ...Hello.protocol,
        kind: Prng.below(random, 2) === 0 ? "control" : "data",
        label: "shoal",
        id: `n${Prng.below(random, 100)}`,
        bootId: Prng.below(random, 2 ** 31),
        epoch: Prng.below(random, 100),
        serializations: ["binary/effect-4.1.0", "ndjson"]
      })
    ),
    take: (bytes) => {
      const read = Hello.read(bytes)
      if (Result.isFailure(read)) return read.failure
      if (read.success._tag === "None") must(bytes.length < 7 + 1024, "a hello is waited for without end")
      return read.success._tag === "None" ? "incomplete" : taken
    }
  })
}

const frames = (random: Prng.Prng): Uint8Array => {
  const one = () => {
    const type = ([1, 2, 3, 4, 5, 6, 7, 8] as const)[Prng.below(random, 8)] ?? Frame.Head
    const payload = type === Frame.Credit ? Frame.encodeU32(Prng.below(random, 2 ** 20)) : new Uint8Array(
      Prng.below(random, 40)
    )
    return Frame.encode(type, Prng.below(random, 6), payload)
  }
  return Uint8Array.from(Array.from({ length: 1 + Prng.below(random, 6) }, () => [...one()]).flat())
}

const frame: Target = {
  name: "frame",
  make: (random) => ({
    corpus: many(() => frames(random)),
    take: (bytes) => {
      const decoder = new Frame.Decoder()
      for (const chunk of Mutation.chunks(random, bytes)) {
        const broken = decoder.push(chunk, (_type, _stream, payload) => {
          must(payload.length <= Frame.MaxPayload, "a frame above its limit")
        })
        if (broken !== undefined) return broken
      }
      return taken
    }
  })
}

const muxOf = (role: Mux.Role): Target => ({
  name: `mux-${role}`,
  make: (random) => ({
    corpus: many(() => frames(random)),
    take: (bytes) => {
      const broken: Array<string> = []
      const mux = new Mux.Mux({
        role,
        maxStreams: 4,
        write: () => {},
        onOpen: (stream) => {
          stream.head(new Uint8Array(1))
          stream.onData = (chunk) => stream.consumed(chunk.length)
          stream.onEnd = () => stream.end()
        },
        onBroken: (reason) => broken.push(reason)
      })
      if (role === "client") mux.open(new Uint8Array(1))
      for (const chunk of Mutation.chunks(random, bytes)) {
        mux.receive(chunk)
        if (Prng.below(random, 4) === 0) mux.flush()
      }
      must(mux.inflight <= 4, "more streams than allowed")
      must(broken.length <= 1, "broken more than once")
      mux.closeAll("end")
      return broken[0] ?? taken
    }
  })
})

const fromOptional = (
  name: string,
  corpus: (random: Prng.Prng) => Uint8Array,
  decode: (bytes: Uint8Array) => unknown
): Target => ({
  name,
  make: (random) => ({
    corpus: many(() => corpus(random)),
    take: (bytes) => decode(bytes) === undefined ? "refused" : taken
  })
})

const reignOf = (random: Prng.Prng): Reign.Reign => ({
  epoch: Prng.below(random, 2 ** 31),
  id: Member.id(`n${Prng.below(random, 1000)}`),
  bootId: 1 + Prng.below(random, 2 ** 31),
  startedAt: Prng.below(random, 2 ** 31),
  predecessor: undefined,
  kind: "plain",
  witnesses: Prng.below(random, 200)
})

const utf8 = new TextEncoder()
const text = new TextDecoder()

const reign = fromOptional("reign", (random) => Reign.toBytes(reignOf(random)), (bytes) => {
  const read = Reign.fromBytes(bytes)
  if (read !== undefined) must(Reign.isValid(read), "a reign that is not valid")
  return read
})

const reignFile = fromOptional(
  "reign-file",
  (random) => ReignStore.toBytes({ floor: Prng.below(random, 2 ** 31), reign: reignOf(random) }),
  ReignStore.fromBytes
)

const nodeMeta = fromOptional("node-meta", (random) =>
  NodeMeta.encode({
    http: "10.0.0.1:1",
    rpc: "10.0.0.1:2",
    data: "[::1]:3",
    release: `1.${Prng.below(random, 100)}`,
    eligible: true,
    tags: { zone: "a" }
  }) ?? new Uint8Array(0), NodeMeta.decode)

const saved: Target = {
  name: "saved-members",
  make: (random) => ({
    corpus: many(() => {
      const states = messages(random).filter((message) => message._tag === "State")
      return Saved.encode({ savedAt: Prng.below(random, 2 ** 31), states })
    }),
    take: (bytes) => Result.match(Saved.decode(bytes), { onFailure: (why) => why, onSuccess: () => taken })
  })
}

const hopRequest = fromOptional("hop-request", (random) =>
  Hop.encodeRequest({
    version: "a".repeat(64),
    callId: `c${Prng.below(random, 1000)}`,
    method: "GET",
    url: "/x?y=1",
    headers: [["accept", "*/*"]],
    timeoutMs: 1000,
    depth: 0,
    hops: Prng.below(random, 3),
    path: ["n1"],
    large: false
  }), Hop.decodeRequest)

const hopTrailer = fromOptional(
  "hop-trailer",
  (random) => utf8.encode(JSON.stringify({ execMs: Prng.below(random, 1000) })),
  Hop.decodeTrailer
)

const sealedFile = fromOptional("store-seal", (random) => Store.seal(Reign.toBytes(reignOf(random))), (bytes) => {
  const opened = Store.unseal(bytes)
  return opened._tag === "None" ? undefined : opened.value
})

const keyText = fromOptional(
  "key-text",
  (random) => utf8.encode(Buffer.from(new Uint8Array(32).fill(1 + Prng.below(random, 255))).toString("base64")),
  (bytes) => {
    const parsed = ClusterKey.parse(text.decode(bytes))
    if (Result.isSuccess(parsed)) must(Redacted.value(parsed.success).length >= 16, "a key that is too short")
    return Result.getOrElse(parsed, () => undefined)
  }
)

/** A key wrapped for the wire: any change is seen. */
const wrappedKey: Target = {
  name: "wrapped-key",
  make: () => {
    const cipher = Effect.runSync(Effect.provide(Cipher, NodeCipher.layer))
    const wrapped = many(() => ClusterKey.wrap(cipher, secretOf(1), secretOf(2)), 50)
    const valid = new Set(wrapped)
    return {
      corpus: wrapped.map((one) => utf8.encode(one)),
      take: (bytes) => {
        const given = text.decode(bytes)
        const opened = ClusterKey.unwrap(cipher, secretOf(1), given)
        if (opened === undefined) return "refused"
        const canonical = Buffer.from(given, "base64").toString("base64")
        must(valid.has(canonical), "a changed key was unwrapped")
        return taken
      }
    }
  }
}

export const targets: ReadonlyArray<Target> = [
  packetOf(Codec.binary),
  packetOf(Codec.json),
  streamOf(Codec.binary, false),
  streamOf(Codec.json, false),
  streamOf(Codec.binary, true),
  envelopeClear,
  envelopeSealed,
  machine,
  hello,
  frame,
  muxOf("server"),
  muxOf("client"),
  nodeMeta,
  reign,
  reignFile,
  saved,
  sealedFile,
  hopRequest,
  hopTrailer,
  keyText,
  wrappedKey
]
