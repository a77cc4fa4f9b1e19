/** A simulated disk under real layers: a `Store` on a `World`, with what a crash leaves of it.
 *
 * Job: takes the steps of the real store (temporary file, sync, rename, sync of the folder) one after another in virtual
 * time. A killed process leaves what the kernel has; a power loss leaves what was synced, and of the rest the old bytes,
 * the new ones or, where a file was not synced before its rename or is appended to, a torn part. A full disk refuses.
 * Every decision comes from the world's seeded generator (M7).
 * Boundary: `Store` says what is promised; `lies` breaks the promise (it acknowledges before anything is synced), to
 * prove what notices. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { check, Store, StoreError } from "../cluster/Store.ts"
import type { World } from "./World.ts"

/** How the disk behaves; every field may change while it runs. */
export interface Conditions {
  /** of each step of a write: uniform between the two, milliseconds */
  latency: readonly [min: number, max: number]
  /** refuses to write */
  full: boolean
  /** for which files a write is acknowledged that is not synced */
  lies: (path: string) => boolean
}

export interface Counters {
  writes: number
  refused: number
  /** files that a power loss set back or tore */
  lost: number
  torn: number
}

/** What the kernel has and the platter has not. */
interface Unsynced {
  /** the bytes themselves are not synced: a power loss may leave a part of them */
  readonly data: boolean
}

/** Runs a step of the program that uses the disk, when that program runs. */
export type Gate = (run: () => void) => void

/** When the kernel writes back by itself what nobody synced, milliseconds. */
const writeBack = 5000

export class SimDisk {
  readonly conditions: Conditions
  readonly counters: Counters = { writes: 0, refused: 0, lost: 0, torn: 0 }
  private readonly world: World
  /** what programs read */
  private readonly files = new Map<string, Uint8Array>()
  /** what a power loss leaves */
  private readonly platter = new Map<string, Uint8Array>()
  private readonly unsynced = new Map<string, Unsynced>()

  constructor(world: World, conditions: Partial<Conditions> = {}) {
    this.world = world
    this.conditions = { latency: [0.1, 1], full: false, lies: () => false, ...conditions }
  }

  /** The store of one process. It does nothing more once the process is gone: `gate` drops its steps. */
  store(gate: Gate = (run) => run()): Store["Service"] {
    return Store.of({
      read: (path) =>
        Effect.map(check("read", path), () => {
          const bytes = this.files.get(path)
          return bytes === undefined ? Option.none() : Option.some(bytes.slice())
        }),
      replace: (path, bytes) =>
        Effect.andThen(check("replace", path, bytes), this.write("replace", path, bytes.slice(), gate)),
      append: (path, bytes) =>
        Effect.andThen(
          check("append", path, bytes),
          Effect.suspend(() => this.write("append", path, join(this.files.get(path), bytes), gate))
        ),
      remove: (path) => Effect.andThen(check("remove", path), this.write("remove", path, undefined, gate)),
      list: (prefix) => Effect.sync(() => this.paths(prefix)),
      location: (path) => `simulated:${path}`
    })
  }

  /** What is on it for who looks now. */
  paths(prefix = ""): ReadonlyArray<string> {
    return [...this.files.keys()].filter((path) => path.startsWith(prefix)).sort()
  }

  /** The machine loses its power: what was not synced is lost, kept or torn. */
  powerLoss(): void {
    for (const [path, { data }] of this.unsynced) {
      const roll = this.world.random()
      const bytes = this.files.get(path)
      if (roll < 0.5) {
        this.counters.lost++
        continue
      }
      if (data && bytes !== undefined && roll < 0.75) {
        this.counters.torn++
        this.platter.set(path, bytes.slice(0, Math.floor(this.world.random() * bytes.length)))
      } else this.settle(path)
    }
    this.unsynced.clear()
    this.files.clear()
    for (const [path, bytes] of this.platter) this.files.set(path, bytes)
  }

  /** A new, empty disk in its place. */
  wipe(): void {
    this.unsynced.clear()
    this.files.clear()
    this.platter.clear()
  }

  private step(): number {
    const [min, max] = this.conditions.latency
    return min + this.world.random() * (max - min)
  }

  private write(
    operation: "replace" | "append" | "remove",
    path: string,
    bytes: Uint8Array | undefined,
    gate: Gate
  ): Effect.Effect<void, StoreError> {
    return Effect.uninterruptible(Effect.callback<void, StoreError>((resume) => {
      const { conditions, world } = this
      if (conditions.full && operation !== "remove") {
        this.counters.refused++
        const error = new StoreError({ operation, path, reason: "Full", detail: "no space left on the device" })
        world.after(this.step(), () => gate(() => resume(Effect.fail(error))))
        return
      }
      this.counters.writes++
      const done = () => gate(() => resume(Effect.void))
      if (conditions.lies(path)) {
        this.show(path, bytes, true)
        world.after(writeBack * (0.2 + world.random()), () => this.sync(path))
        return void world.after(this.step(), done)
      }
      // the bytes of a temporary file are synced before anybody can see them under this name
      world.after(this.step(), () =>
        gate(() => {
          this.show(path, bytes, operation === "append")
          world.after(this.step(), () => {
            this.sync(path)
            done()
          })
        }))
    }))
  }

  private show(path: string, bytes: Uint8Array | undefined, data: boolean): void {
    if (bytes === undefined) this.files.delete(path)
    else this.files.set(path, bytes)
    this.unsynced.set(path, { data })
  }

  /** What has this name now is on the platter, whether or not the process that wrote it lives. */
  private sync(path: string): void {
    if (this.unsynced.delete(path)) this.settle(path)
  }

  private settle(path: string): void {
    const bytes = this.files.get(path)
    if (bytes === undefined) this.platter.delete(path)
    else this.platter.set(path, bytes)
  }
}

const join = (before: Uint8Array | undefined, bytes: Uint8Array): Uint8Array => {
  const joined = new Uint8Array((before?.length ?? 0) + bytes.length)
  if (before !== undefined) joined.set(before)
  joined.set(bytes, before?.length ?? 0)
  return joined
}
