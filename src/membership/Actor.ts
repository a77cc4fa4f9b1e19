/** One turn of the membership: inputs into the pure core, its outputs into batches.
 *
 * Job: translates mail into the core's inputs and the core's outputs into what the shell has to do at the end of the
 * turn: datagrams to send, streams to open, events to tell, one moment to wake up.
 * Boundary: decides nothing and performs nothing; `Membership` runs the loop and the effects. One fiber calls it.
 * Invariants: M5, M6. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type { Address } from "../swim/Member.ts"
import type { Message } from "../swim/Message.ts"
import * as Swim from "../swim/Swim.ts"
import type { Packet } from "../wire/Packet.ts"
import type { Counters } from "./Metrics.ts"
import type { StreamInput, Streams } from "./Streams.ts"
import type { Incoming, Outgoing } from "./Transport.ts"

/** What the actor's mailbox holds. */
export type Mail =
  | { readonly _tag: "Datagrams"; readonly batch: NonEmptyReadonlyArray<Incoming> }
  /** `answer` hears at once why the core refused the command, or undefined */
  | {
    readonly _tag: "Command"
    readonly command: Swim.Command
    readonly answer?: (refused: string | undefined) => void
  }
  | { readonly _tag: "Wake" }
  | StreamInput

/** Unanswered pings whose time is remembered. */
const pingsKept = 256
/** Refused datagrams of one turn that may be logged. */
const refusedKept = 16

export class Actor {
  readonly swim: Swim.Swim
  /** datagrams to send at the end of the turn */
  datagrams: Array<Outgoing> = []
  /** streams to dial at the end of the turn */
  dials: Array<{ readonly stream: number; readonly to: Address }> = []
  /** events to log and act upon at the end of the turn; subscribers were already told */
  events: Array<Swim.Event> = []
  /** datagrams that were refused, to log at the end of the turn; more than these are only counted */
  refused: Array<{ readonly reason: string; readonly from: Address }> = []
  /** when the core wants to be woken, monotonic milliseconds; the first turn starts it */
  timerAt = -Infinity
  private readonly out: Array<Swim.Output> = []
  /** why the command in hand was refused */
  private refusal: string | undefined = undefined
  private readonly pings = new Map<number, number>()
  private readonly packet: Packet
  private readonly streams: Streams
  private readonly counters: Counters
  private readonly publish: (event: Swim.Event) => void

  constructor(options: {
    readonly swim: Swim.Swim
    readonly packet: Packet
    readonly streams: Streams
    readonly counters: Counters
    /** called inside the step that caused the event, so that snapshots and events never cross */
    readonly publish: (event: Swim.Event) => void
  }) {
    this.swim = options.swim
    this.packet = options.packet
    this.streams = options.streams
    this.counters = options.counters
    this.publish = options.publish
  }

  /** Takes all mail of a turn; returns how many datagrams it held. */
  take(mails: ReadonlyArray<Mail>, now: number): number {
    let datagrams = 0
    for (const mail of mails) {
      switch (mail._tag) {
        case "Datagrams": {
          for (const datagram of mail.batch) this.receive(datagram, now)
          datagrams += mail.batch.length
          break
        }
        case "Command": {
          this.refusal = undefined
          this.step({ _tag: "Command", now, command: mail.command })
          mail.answer?.(this.refusal)
          break
        }
        case "StreamClosed": {
          this.step({ ...mail, now })
          this.streams.close(mail.stream)
          break
        }
        case "StreamOpened":
        case "StreamReceived": {
          this.step({ ...mail, now })
          break
        }
        case "Wake":
          break
      }
    }
    return datagrams
  }

  /** Tells the core that its moment has come; false when it has not. */
  fire(now: number): boolean {
    if (now < this.timerAt) return false
    this.timerAt = Infinity
    this.step({ _tag: "TimerFired", now })
    return true
  }

  /** Tells the core that everything received so far has been processed. */
  drained(now: number): void {
    this.step({ _tag: "Drained", now })
  }

  /** Remembers when a ping was sent, for the round-trip times only. */
  private asked(seq: number, now: number): void {
    if (this.pings.size >= pingsKept) this.pings.clear()
    this.pings.set(seq, now)
  }

  private answered(seq: number, now: number): void {
    const sentAt = this.pings.get(seq)
    if (sentAt === undefined) return
    this.pings.delete(seq)
    this.counters.onRoundTrip(now - sentAt)
  }

  private receive(datagram: Incoming, now: number): void {
    const { counters } = this
    counters.datagramsIn++
    counters.bytesIn += datagram.payload.length
    const messages: Array<Message> = []
    const refused = this.packet.decode(datagram.payload, messages)
    if (refused !== undefined) {
      counters.reject(refused)
      if (this.refused.length < refusedKept) this.refused.push({ reason: refused, from: datagram.from })
    }
    for (const message of messages) if (message._tag === "Ack") this.answered(message.seq, now)
    if (messages.length > 0) this.step({ _tag: "Received", now, from: datagram.from, messages })
  }

  private step(input: Swim.Input): void {
    const { out } = this
    Swim.step(this.swim, input, out)
    for (const output of out) this.interpret(output, input.now)
    out.length = 0
  }

  private interpret(output: Swim.Output, now: number): void {
    switch (output._tag) {
      case "Send": {
        const payload = this.packet.encode(output.messages)
        this.counters.datagramsOut++
        this.counters.bytesOut += payload.length
        this.datagrams.push({ payload, to: output.to })
        for (const message of output.messages) if (message._tag === "Ping") this.asked(message.seq, now)
        return
      }
      case "SetTimer": {
        this.timerAt = output.at
        return
      }
      case "OpenStream": {
        this.dials.push({ stream: output.stream, to: output.to })
        return
      }
      case "StreamSend":
        return this.streams.send(output.stream, output.messages, output.end)
      case "CloseStream":
        return this.streams.close(output.stream)
      case "Rejected": {
        if (output.from === undefined) this.refusal = output.reason
        return this.counters.reject(output.reason)
      }
      case "Notify": {
        this.publish(output.event)
        if (!isMessage(output.event)) this.events.push(output.event)
        return
      }
    }
  }
}

/** Messages of users are no changes of state: nothing is logged for them. */
const isMessage = ({ _tag }: Swim.Event): boolean => _tag === "Delivered" || _tag === "Received" || _tag === "Sent"
