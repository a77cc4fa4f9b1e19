/** One protocol machine driven by hand: its peers are only what the test says they say. */
import * as Core from "../../src/swim/Core.ts"
import * as Member from "../../src/swim/Member.ts"
import type * as Message from "../../src/swim/Message.ts"
import * as Params from "../../src/swim/Params.ts"
import * as Swim from "../../src/swim/Swim.ts"
import * as Codec from "../../src/wire/Codec.ts"
import * as Packet from "../../src/wire/Packet.ts"

export const packet = Packet.make(Codec.binary)

export const start = 1_700_000_000_000

export const address = (index: number): Member.Address => ({ host: `10.0.${index >> 8}.${index & 255}`, port: 7946 })

export const id = (index: number): Member.MemberId => Member.id(`n${index}`)

export const alive = (index: number, incarnation = 0, extra: Partial<Message.Alive> = {}): Message.Alive => ({
  _tag: "Alive",
  id: id(index),
  bootId: 1000 + index,
  startedAt: start + index,
  address: address(index),
  incarnation,
  meta: new Uint8Array(0),
  ...extra
})

type Accusation = Message.Suspect | Message.Dead

export const accuse = (
  _tag: Accusation["_tag"],
  index: number,
  incarnation: number,
  from = 9
): Accusation => ({ _tag, id: id(index), bootId: 1000 + index, incarnation, from: id(from) })

export const left = (index: number, incarnation: number): Message.Left => ({
  _tag: "Left",
  id: id(index),
  bootId: 1000 + index,
  incarnation
})

interface Sent {
  readonly at: number
  readonly to: Member.Address
  readonly message: Message.Message
}

export class Machine {
  now = 0
  readonly swim: Swim.Swim
  readonly params: Params.Params
  sent: Array<Sent> = []
  events: Array<Swim.Event> = []
  outputs: Array<Swim.Output> = []
  rejected: Array<string> = []
  largest = 0
  /** Drained is given after each timer; off to play a busy socket. */
  drains = true
  /** Every ping is acknowledged at once (but nothing is ever refuted). */
  answers = false
  private wake = Infinity

  constructor(params: Partial<Params.Params> = {}, seed = 1) {
    this.params = { ...Params.lan, ...params }
    this.swim = Swim.make({
      self: { id: id(0), bootId: 1000, startedAt: start, address: address(0), meta: new Uint8Array(0) },
      params: this.params,
      seed,
      now: 0,
      sizeOf: packet.sizeOf,
      packetOverhead: packet.overhead
    })
    this.step({ _tag: "TimerFired", now: 0 })
  }

  step(input: Swim.Input): void {
    const out: Array<Swim.Output> = []
    Swim.step(this.swim, input, out)
    for (const output of out) {
      this.outputs.push(output)
      if (output._tag === "Send") {
        const size = output.messages.reduce((sum, message) => sum + packet.sizeOf(message), packet.overhead)
        this.largest = Math.max(this.largest, size)
        for (const message of output.messages) this.sent.push({ at: this.now, to: output.to, message })
      }
      if (output._tag === "Send" && this.answers) this.answer(output.to, output.messages)
      if (output._tag === "SetTimer") this.wake = output.at
      if (output._tag === "Notify") this.events.push(output.event)
      if (output._tag === "Rejected") this.rejected.push(output.reason)
    }
  }

  private answer(from: Member.Address, messages: ReadonlyArray<Message.Message>): void {
    for (const message of messages) {
      if (message._tag !== "Ping") continue
      const ack: Message.Message = { _tag: "Ack", seq: message.seq, digest: Core.digest(this.swim) }
      this.step({ _tag: "Received", now: this.now, from, messages: [ack] })
    }
  }

  /** A datagram from a member. */
  receive(from: number, ...messages: ReadonlyArray<Message.Message>): void {
    this.step({ _tag: "Received", now: this.now, from: address(from), messages })
  }

  /** Lets time pass, waking the machine whenever it asked for it. */
  advance(duration: number): void {
    const until = this.now + duration
    while (this.wake <= until) {
      this.now = Math.max(this.now, this.wake)
      this.step({ _tag: "TimerFired", now: this.now })
      if (this.drains) this.step({ _tag: "Drained", now: this.now })
    }
    this.now = until
  }

  /** Time passes in which the process does not run. */
  stall(duration: number): void {
    this.now += duration
  }

  drained(): void {
    this.step({ _tag: "Drained", now: this.now })
  }

  command(command: Swim.Command): void {
    this.step({ _tag: "Command", now: this.now, command })
  }

  status(index: number): Member.Status | undefined {
    return Swim.member(this.swim, id(index))?.status
  }

  clear(): void {
    this.sent = []
    this.events = []
    this.outputs = []
    this.rejected = []
  }

  /** What was sent of one kind, in order. */
  sentOf<Tag extends Message.Message["_tag"]>(
    tag: Tag
  ): Array<Sent & { readonly message: Extract<Message.Message, { readonly _tag: Tag }> }> {
    return this.sent.filter((
      sent
    ): sent is Sent & { readonly message: Extract<Message.Message, { readonly _tag: Tag }> } =>
      sent.message._tag === tag
    )
  }

  eventsOf(tag: Swim.Event["_tag"]): Array<Swim.Event> {
    return this.events.filter((event) => event._tag === tag)
  }

  /** The first message of a kind that is sent while time passes, or nothing. */
  until<Tag extends Message.Message["_tag"]>(tag: Tag, limit: number): Sent & {
    readonly message: Extract<Message.Message, { readonly _tag: Tag }>
  } {
    const before = this.sentOf(tag).length
    for (let passed = 0; passed <= limit; passed += 1) {
      const found = this.sentOf(tag)[before]
      if (found !== undefined) return found
      this.advance(1)
    }
    throw new Error(`no ${tag} within ${limit} ms`)
  }
}

/** A machine that knows members 1 to n. */
export const among = (n: number, params: Partial<Params.Params> = {}, seed = 1): Machine => {
  const machine = new Machine(params, seed)
  for (let index = 1; index <= n; index++) machine.receive(index, alive(index))
  machine.clear()
  return machine
}
