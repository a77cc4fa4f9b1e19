/** A world with its own time: a virtual clock and a scheduler that run real Effect programs synchronously.
 *
 * Job: fibers, sleeps, timeouts and schedules of any number of simulated nodes run on one heap of events, with no turn
 * of the real event loop between them, so that the same seed gives the same run, event by event (M7), and an hour
 * passes as fast as its events can be computed.
 * Boundary: knows nothing of networks or disks (`SimNet`, `SimDisk`). Programs inside must not use promises, real
 * timers, real IO or unseeded randomness. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Scheduler from "effect/Scheduler"

/** An event that is due at `at`; cancelled events stay in the heap and do nothing. */
interface Event {
  readonly at: number
  readonly order: number
  run: (() => void) | undefined
}

const before = (a: Event, b: Event): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)

/** How a node's own clock differs from the world's time: `rate` 1 and `offset` 0 is a perfect clock. */
export interface Skew {
  rate: number
  /** milliseconds added to wall-clock time only */
  offset: number
}

export class World {
  /** virtual milliseconds since the world began */
  now = 0
  /** events run so far */
  events = 0
  /** what wall clocks show at `now` 0, in milliseconds since the Unix epoch */
  readonly epoch: number
  private order = 0
  private readonly heap: Array<Event> = []
  private tasks: Array<(() => void) | undefined> = []
  private readonly prng: () => number
  readonly seed: number
  readonly scheduler: Scheduler.Scheduler

  constructor(options: { readonly seed: number; readonly epoch?: number }) {
    this.seed = options.seed
    this.epoch = options.epoch ?? 1_700_000_000_000
    this.prng = mulberry32(options.seed)
    this.scheduler = new Scheduler.MixedScheduler("async", (task) => {
      const queue = this.tasks
      const index = queue.push(task) - 1
      return () => {
        queue[index] = undefined
      }
    })
  }

  /** A random number in [0, 1) of the world's own seeded generator. */
  random = (): number => this.prng()

  /** Runs `run` after `delay` virtual milliseconds; the result cancels it. */
  after(delay: number, run: () => void): () => void {
    const event: Event = { at: this.now + Math.max(0, delay), order: this.order++, run }
    this.push(event)
    return () => {
      event.run = undefined
    }
  }

  /** A clock for one node, by default a perfect one. */
  clock(skew: Skew = { rate: 1, offset: 0 }): Clock.Clock {
    const monotonic = () => this.now * skew.rate
    const wall = () => Math.floor(this.epoch + this.now * skew.rate + skew.offset)
    const nanos = (millis: number) => BigInt(Math.round(millis * 1000)) * thousand
    return {
      currentTimeMillisUnsafe: wall,
      currentTimeNanosUnsafe: () => nanos(wall()),
      monotonicTimeNanosUnsafe: () => nanos(monotonic()),
      currentTimeMillis: Effect.sync(wall),
      currentTimeNanos: Effect.sync(() => nanos(wall())),
      monotonicTimeNanos: Effect.sync(() => nanos(monotonic())),
      sleep: (duration) =>
        Effect.callback<void>((resume) => {
          const millis = Duration.toMillis(duration)
          if (millis === Infinity) return
          const cancel = this.after(millis / skew.rate, () => resume(Effect.void))
          return Effect.sync(cancel)
        })
    }
  }

  /** Starts a program in this world; it begins to run with the next `runFor` or `runUntil`. */
  fork<A, E>(
    effect: Effect.Effect<A, E>,
    options: { readonly seed?: string; readonly skew?: Skew } = {}
  ): Fiber.Fiber<A, E> {
    const context = Context.make(Clock.Clock, this.clock(options.skew)).pipe(
      Context.add(Scheduler.Scheduler, this.scheduler)
    )
    return Effect.runFork(
      effect.pipe(Random.withSeed(options.seed ?? `${this.seed}`), Effect.provideContext(context)),
      { scheduler: this.scheduler }
    )
  }

  /** Runs everything that is due within the next `millis` virtual milliseconds. */
  runFor(millis: number): void {
    this.runUntil(this.now + millis)
  }

  /** Runs everything that is due up to the virtual time `end`. */
  runUntil(end: number): void {
    this.drain()
    for (let next = this.heap[0]; next !== undefined && next.at <= end; next = this.heap[0]) {
      this.pop()
      if (next.run === undefined) continue
      this.now = next.at
      this.events++
      next.run()
      this.drain()
    }
    this.now = end
  }

  /** Runs until `fiber` is done, at most `millis` virtual milliseconds; `undefined` if it is not done by then. */
  join<A, E>(fiber: Fiber.Fiber<A, E>, millis = 60_000): Exit.Exit<A, E> | undefined {
    const end = this.now + millis
    this.drain()
    while (fiber.pollUnsafe() === undefined && this.now < end) {
      const next = this.heap[0]
      if (next === undefined || next.at > end) {
        this.now = end
        break
      }
      this.runUntil(next.at)
    }
    return fiber.pollUnsafe()
  }

  private drain(): void {
    while (this.tasks.length > 0) {
      const tasks = this.tasks
      this.tasks = []
      for (let i = 0; i < tasks.length; i++) tasks[i]?.()
    }
  }

  private push(event: Event): void {
    const heap = this.heap
    let i = heap.push(event) - 1
    while (i > 0) {
      const above = (i - 1) >> 1
      const parent = heap[above]
      if (parent === undefined || before(parent, event)) break
      heap[i] = parent
      i = above
    }
    heap[i] = event
  }

  private pop(): void {
    const heap = this.heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let i = 0
    for (;;) {
      let below = 2 * i + 1
      const left = heap[below]
      if (left === undefined) break
      const right = heap[below + 1]
      let child = left
      if (right !== undefined && before(right, left)) {
        child = right
        below++
      }
      if (before(last, child)) break
      heap[i] = child
      i = below
    }
    heap[i] = last
  }
}

const thousand = BigInt(1000)

/** A small seeded generator of numbers in [0, 1). */
export const mulberry32 = (seed: number): () => number => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}
