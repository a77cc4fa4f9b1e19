/** One node of `shoal dev`: a process of its own that cannot outlive the one that started it.
 *
 * Each runs in a process group of its own, so that Ctrl-C in a terminal reaches only `shoal dev`, which then asks every
 * node once to leave. Its stdin is a pipe from here: when it ends, the node leaves by itself. What it writes to stderr is
 * kept to the last `keptLines`.
 * Boundary: starts, watches and ends; what the node does is not looked at beyond its ready line. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { spawn as spawnChild } from "node:child_process"
import { createInterface } from "node:readline"
import { CommandError } from "./Failure.ts"
import type { Ready } from "./Session.ts"

/** How a process ended: one of the two is set. */
export interface Ended {
  readonly code: number | null
  readonly signal: string | null
}

export interface DevProcess {
  readonly name: string
  readonly pid: number
  /** What the node said when it was ready; fails when it ended before. */
  readonly ready: Effect.Effect<Ready, CommandError>
  readonly ended: Effect.Effect<Ended>
  readonly isRunning: () => boolean
  /** The newest lines of its stderr, oldest first. */
  readonly lines: () => ReadonlyArray<string>
  /** Asks it to leave and kills it, with everything it started, when it has not ended in time. True: it had to. */
  readonly stop: Effect.Effect<boolean>
}

export interface Options {
  readonly name: string
  readonly entry: string
  readonly args: ReadonlyArray<string>
  readonly env: Readonly<Record<string, string | undefined>>
}

const keptLines = 20
const keptColumns = 500

/** How long the last lines of a process that ended are waited for. */
const lastLines = "200 millis"

/** `shoal dev` promises that every process is gone 5 seconds after it was asked to end. */
const patience = "4 seconds"

const ReadyLine = Schema.fromJsonString(Schema.Struct({
  event: Schema.Literal("ready"),
  name: Schema.String,
  gossip: Schema.String,
  http: Schema.String,
  rpc: Schema.String,
  data: Schema.String
}))

/** Starts the process; it is up to the caller to `stop` it. */
export const start = (options: Options): Effect.Effect<DevProcess, CommandError> =>
  Effect.gen(function*() {
    const ready = yield* Deferred.make<Ready, CommandError>()
    const ended = yield* Deferred.make<Ended>()
    const lines: Array<string> = []
    const state = { running: true }
    const fork = Effect.runForkWith(yield* Effect.context<never>())
    const child = spawnChild(process.execPath, [options.entry, "up", ...options.args, "--json", "--die-with-parent"], {
      detached: true,
      stdio: ["pipe", "pipe", "pipe"],
      env: options.env
    })
    const end = (how: Ended) => {
      state.running = false
      Deferred.doneUnsafe(ready, Effect.fail(startFailure(options.name, how, lines)))
      Deferred.doneUnsafe(ended, Effect.succeed(how))
    }
    child.on("error", (error) => {
      lines.push(error.message)
      end({ code: 1, signal: null })
    })
    // Its last lines come before "close"; what it started may keep that from coming at all.
    child.on("close", (code, signal) => end({ code, signal }))
    child.on("exit", (code, signal) => {
      state.running = false
      fork(Effect.andThen(Effect.sleep(lastLines), Effect.sync(() => end({ code, signal }))))
    })
    child.stdin.on("error", () => {}) // the node may be gone before its pipe is
    createInterface({ input: child.stdout }).on("line", (line) => {
      const message = Schema.decodeOption(ReadyLine)(line)
      if (Option.isSome(message)) Deferred.doneUnsafe(ready, Effect.succeed(message.value))
    })
    createInterface({ input: child.stderr }).on("line", (line) => {
      lines.push(line.slice(0, keptColumns))
      if (lines.length > keptLines) lines.shift()
    })
    const pid = child.pid
    if (pid === undefined) {
      return yield* Effect.flatMap(Deferred.await(ready), () => Effect.die("no process, but ready"))
    }
    const stop = Effect.gen(function*() {
      if (!state.running) return false
      signal(pid, "SIGTERM")
      const left = yield* Effect.timeoutOption(Deferred.await(ended), patience)
      if (Option.isSome(left)) return false
      signal(-pid, "SIGKILL")
      yield* Effect.timeoutOption(Deferred.await(ended), "500 millis")
      return true
    })
    return {
      name: options.name,
      pid,
      ready: Deferred.await(ready),
      ended: Deferred.await(ended),
      isRunning: () => state.running,
      lines: () => lines,
      stop
    }
  })

/** `a process that was killed by SIGKILL`, `exit 1`. */
export const describeEnd = ({ code, signal }: Ended): string =>
  signal === null ? `ended with exit ${code ?? 0}` : `was killed by ${signal}`

const startFailure = (name: string, how: Ended, lines: ReadonlyArray<string>): CommandError =>
  new CommandError({
    message: [`${name} ${describeEnd(how)} before it was ready`, ...lines.map((line) => `  ${name} | ${line}`)].join(
      "\n"
    )
  })

/** A process or, with a negative id, its group. One that is gone already needs no signal. */
const signal = (pid: number, name: "SIGTERM" | "SIGKILL"): void => {
  try {
    process.kill(pid, name)
  } catch {
    // gone
  }
}
