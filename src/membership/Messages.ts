/** From the core's deliveries to those who read and send messages.
 *
 * Job: one bounded buffer per reader and kind; outcomes of targeted messages by token.
 * Boundary: runs inside the core's step and never waits: a reader that falls behind fails, a kind without a reader is
 * skipped and counted. Invariants: M5. */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { MemberId } from "../swim/Member.ts"
import type * as Swim from "../swim/Swim.ts"
import * as Broadcast from "./Broadcast.ts"
import type { Counters } from "./Metrics.ts"

interface Delivery {
  readonly origin: MemberId
  readonly payload: Uint8Array
  readonly direct: boolean
}

type Reader = Queue.Queue<Delivery, Broadcast.SlowReader | Cause.Done>

export class Messages {
  private readonly readers = new Map<string, Set<Reader>>()
  private readonly outcomes = new Map<number, Deferred.Deferred<string | undefined>>()
  private readonly counters: Counters
  private tokens = 0
  private final: Cause.Cause<Cause.Done> | undefined = undefined

  constructor(counters: Counters) {
    this.counters = counters
  }

  /** Takes an event of the core. */
  publish(event: Swim.Event): void {
    if (event._tag === "Delivered") {
      const { kind, origin, payload } = event.broadcast
      this.deliver(kind, { origin, payload, direct: false })
    } else if (event._tag === "Received") {
      const { from, kind, payload } = event.message
      this.deliver(kind, { origin: from, payload, direct: true })
    } else if (event._tag === "Sent") {
      const outcome = this.outcomes.get(event.token)
      this.outcomes.delete(event.token)
      if (outcome !== undefined) Deferred.doneUnsafe(outcome, Effect.succeed(event.error))
    }
  }

  private deliver(kind: string, delivery: Delivery): void {
    const readers = this.readers.get(kind)
    if (readers === undefined) {
      this.counters.messagesSkipped++
      return
    }
    this.counters.messagesDelivered++
    for (const queue of readers) {
      if (Queue.offerUnsafe(queue, delivery)) continue
      const waiting = Queue.sizeUnsafe(queue)
      Queue.failCauseUnsafe(queue, Cause.fail(new Broadcast.SlowReader({ name: kind, waiting })))
      this.remove(kind, queue)
    }
  }

  /** Waits for the outcome of a targeted message: undefined, or why it failed. */
  readonly outcome = <E>(
    post: (token: number) => Effect.Effect<void, E>
  ): Effect.Effect<string | undefined, E> =>
    Effect.suspend(() => {
      if (this.final !== undefined) return Effect.succeed("stopped")
      const token = ++this.tokens
      const outcome = Deferred.makeUnsafe<string | undefined>()
      this.outcomes.set(token, outcome)
      return Effect.ensuring(
        Effect.andThen(post(token), Deferred.await(outcome)),
        Effect.sync(() => this.outcomes.delete(token))
      )
    })

  /** Everything of one kind from the moment it is read. */
  read<A>(definition: Broadcast.Broadcast<A>): Stream.Stream<Broadcast.Message<A>, Broadcast.SlowReader> {
    const subscribe = Effect.gen({ self: this }, function*() {
      const capacity = yield* Broadcast.ReaderCapacity
      const queue = yield* Queue.dropping<Delivery, Broadcast.SlowReader | Cause.Done>(capacity)
      if (this.final !== undefined) Queue.failCauseUnsafe(queue, this.final)
      yield* Effect.acquireRelease(
        Effect.sync(() => this.add(definition.name, queue)),
        () => Effect.sync(() => this.remove(definition.name, queue))
      )
      return Stream.fromQueue(queue)
    })
    return Stream.unwrap(subscribe).pipe(
      Stream.map(({ direct, origin, payload }): ReadonlyArray<Broadcast.Message<A>> => {
        const decoded = definition.decode(payload)
        if (Result.isSuccess(decoded)) return [{ value: decoded.success, origin, direct }]
        this.counters.reject("malformed-user-message")
        return []
      }),
      Stream.flattenIterable
    )
  }

  private add(kind: string, queue: Reader): void {
    const readers = this.readers.get(kind) ?? new Set()
    readers.add(queue)
    this.readers.set(kind, readers)
  }

  private remove(kind: string, queue: Reader): void {
    const readers = this.readers.get(kind)
    readers?.delete(queue)
    if (readers?.size === 0) this.readers.delete(kind)
  }

  /** Ends all streams, with `cause` when something broke, and fails what waits for an outcome. */
  end(cause: Cause.Cause<Cause.Done>): void {
    if (this.final !== undefined) return
    this.final = cause
    for (const readers of this.readers.values()) for (const queue of readers) Queue.failCauseUnsafe(queue, cause)
    for (const outcome of this.outcomes.values()) Deferred.doneUnsafe(outcome, Effect.succeed("stopped"))
    this.outcomes.clear()
  }
}
