/** What members hear of the membership: a snapshot, then every change, each reader at its own pace.
 *
 * Job: one bounded buffer per reader. A reader that falls behind loses deltas, never state: after what it still has it
 * gets a new snapshot that holds everything.
 * Boundary: snapshot and publication both happen on the actor's fiber or between its steps, so that a snapshot is never
 * older than the deltas before it and no delta falls between. Invariants: M5. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import type { Member } from "../swim/Member.ts"

/** A keyed value that gossip carries; a higher value (compared as bytes) replaces a lower one. */
export interface Item {
  readonly key: string
  readonly value: Uint8Array
}

/** Everything that is known at one moment: the first change of every reader, and after an overflow. */
export interface Snapshot {
  readonly _tag: "Snapshot"
  readonly members: ReadonlyArray<Member>
  readonly items: ReadonlyArray<Item>
}

/** One change. `Joined` is also a return after a failure or a leave, `Updated` a change of address or metadata,
 * `Refuted` the end of a suspicion, `Replaced` a new run (`bootId`) under the same name. */
export type Delta =
  | { readonly _tag: "Joined" | "Updated" | "Suspected" | "Refuted" | "Failed" | "Left"; readonly member: Member }
  | { readonly _tag: "Replaced"; readonly member: Member; readonly previous: Member }
  | { readonly _tag: "ItemChanged"; readonly key: string; readonly value: Uint8Array }

export type Change = Snapshot | Delta

interface Reader {
  readonly queue: Queue.Queue<Change, Cause.Done>
  /** deltas were lost, or nothing was read yet: a snapshot is owed */
  owed: boolean
}

export class Changes {
  private readonly readers = new Set<Reader>()
  private readonly snapshot: () => Snapshot
  private readonly capacity: number
  private final: Cause.Cause<Cause.Done> | undefined = undefined
  /** snapshots sent because a reader was too slow */
  resyncs = 0

  constructor(options: { readonly capacity: number; readonly snapshot: () => Snapshot }) {
    this.capacity = options.capacity
    this.snapshot = options.snapshot
  }

  /** Hands `delta` to every reader; the slow ones are resynchronised later. */
  publish(delta: Delta): void {
    for (const reader of this.readers) {
      if (reader.owed) continue // its snapshot will hold this
      if (!Queue.offerUnsafe(reader.queue, delta)) reader.owed = true
    }
  }

  /** Ends all streams, with `cause` when something broke; later readers end at once. */
  end(cause: Cause.Cause<Cause.Done>): void {
    if (this.final !== undefined) return
    this.final = cause
    for (const reader of this.readers) Queue.failCauseUnsafe(reader.queue, cause)
  }

  readonly stream: Stream.Stream<Change> = Stream.unwrap(
    Effect.gen({ self: this }, function*() {
      const queue = yield* Queue.dropping<Change, Cause.Done>(this.capacity)
      const reader: Reader = { queue, owed: true }
      if (this.final !== undefined) Queue.failCauseUnsafe(queue, this.final)
      yield* Effect.acquireRelease(
        Effect.sync(() => this.readers.add(reader)),
        () => Effect.sync(() => this.readers.delete(reader))
      )
      let first = true
      const pull = Effect.suspend((): Effect.Effect<NonEmptyReadonlyArray<Change>, Cause.Done> => {
        if (!reader.owed) return Queue.takeAll(queue)
        const pending = Queue.sizeUnsafe(queue)
        if (pending > 0) return Queue.takeN(queue, pending) as Effect.Effect<[Change, ...Array<Change>], Cause.Done>
        reader.owed = false
        if (!first) this.resyncs++
        first = false
        return Effect.succeed([this.snapshot()])
      })
      return Stream.fromPull(Effect.succeed(pull))
    })
  )
}
