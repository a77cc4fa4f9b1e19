/** The part of a reign that survives a restart: the epoch floor and the reign obeyed last, in one small file.
 *
 * Job: writes are merged and made one at a time; a claim waits for its own. A file that is torn or altered is named in
 * the log and counts as none: peers tell the epoch again.
 * Boundary: `Store` does the fsync. Invariants: R2 across a restart. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Semaphore from "effect/Semaphore"
import * as Reign from "./Reign.ts"
import * as Store from "./Store.ts"

export const path = "cluster/reign"

export interface Saved {
  readonly floor: number
  readonly reign: Reign.Reign | undefined
}

export const none: Saved = { floor: 0, reign: undefined }

export const toBytes = (saved: Saved): Uint8Array => {
  const reign = saved.reign === undefined ? new Uint8Array(0) : Reign.toBytes(saved.reign)
  const bytes = new Uint8Array(8 + reign.length)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(saved.floor))
  bytes.set(reign, 8)
  return Store.seal(bytes)
}

/** undefined when the bytes are not a whole file of ours. */
export const fromBytes = (sealed: Uint8Array): Saved | undefined => {
  const opened = Store.unseal(sealed)
  if (Option.isNone(opened) || opened.value.length < 8) return undefined
  const bytes = opened.value
  const floor = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0))
  if (floor >= Reign.limit) return undefined
  if (bytes.length === 8) return { floor, reign: undefined }
  const reign = Reign.fromBytes(bytes.slice(8))
  return reign === undefined ? undefined : { floor: Math.max(floor, reign.epoch), reign }
}

export interface ReignStore {
  readonly saved: Saved
  /** Merges and writes; true when it is on disk. */
  readonly save: (saved: Saved) => Effect.Effect<boolean>
}

export const make: Effect.Effect<ReignStore, Store.StoreError, Store.Store> = Effect.gen(function*() {
  const store = yield* Store.Store
  const semaphore = yield* Semaphore.make(1)
  const found = yield* store.read(path)
  const read = Option.match(found, { onNone: () => none, onSome: fromBytes })
  if (read === undefined) {
    yield* Effect.logError("the file of the reign is damaged and ignored").pipe(
      Effect.annotateLogs({ path: store.location(path) })
    )
  }
  const saved = read ?? none
  let wanted = saved
  let written = saved
  const write = Effect.suspend(() => {
    // whoever waited finds its value already written by the one before
    if (written === wanted) return Effect.succeed(true)
    const next = wanted
    return store.replace(path, toBytes(next)).pipe(
      Effect.andThen(Effect.sync(() => {
        written = next
        return true
      })),
      Effect.catchTag("StoreError", (error) =>
        Effect.logError("could not write the reign to disk").pipe(
          Effect.annotateLogs({ reason: error.reason, detail: error.detail }),
          Effect.as(false)
        ))
    )
  })
  return {
    saved,
    save: (next) =>
      Effect.suspend(() => {
        const floor = Math.max(wanted.floor, next.floor)
        const reign = Reign.max(wanted.reign, next.reign)
        if (floor !== wanted.floor || !Reign.equals(reign, wanted.reign)) wanted = { floor, reign }
        return semaphore.withPermits(1)(write)
      })
  }
})
