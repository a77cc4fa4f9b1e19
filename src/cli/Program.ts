/** Runs one command to its end: arguments in, one line on stderr and an exit code out.
 *
 * Exit codes: 0 done, also when a serving command was asked to end; 1 failed; 2 wrong usage. The first SIGINT, SIGTERM or
 * SIGHUP (or, below npm, the end of the parent) interrupts the command, which leaves in its finalizers; the second ends
 * the process at once, and so does a leave that takes too long.
 * Boundary: the only file of the command line that touches `process`. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as References from "effect/References"
import * as Schema from "effect/Schema"
import { homedir, hostname } from "node:os"
import manifest from "../../package.json" with { type: "json" }
import * as Cli from "./Cli.ts"
import { CommandError, exitCode, render, UsageError } from "./Failure.ts"
import * as Root from "./Root.ts"
import { type BundlerModule, type NodeModule, Session } from "./Session.ts"

export interface Options {
  readonly args: ReadonlyArray<string>
  readonly entry: string
  readonly loadNode: () => Promise<NodeModule>
  readonly loadBundler: () => Promise<BundlerModule>
}

/** npm and a terminal may both pass on one Ctrl-C: what comes this soon after the first signal is the same one. */
const sameSignalMillis = 250

/** Longer than a node needs to finish calls of the default time limit; then whoever sent SIGTERM has the process gone. */
const leaveLimit = "60 seconds"

export const run = (options: Options): void => {
  const state = { serving: false, signals: 0, firstAt: 0 }
  const interactive = process.stdout.isTTY
  const color = interactive && (process.env.NO_COLOR ?? "") === "" && process.env.TERM !== "dumb"
  const session: Session["Service"] = {
    version: manifest.version,
    entry: options.entry,
    env: process.env,
    forget: (variables, inArguments) =>
      Effect.sync(() => {
        for (const name of variables) Reflect.deleteProperty(process.env, name)
        if (inArguments) process.title = "shoal"
      }),
    hostname: hostname(),
    home: homedir(),
    terminal: {
      interactive,
      color,
      columns: () => process.stdout.columns ?? 80,
      rows: () => process.stdout.rows ?? 24
    },
    print: (text) => write(process.stdout, text),
    complain: (text) => write(process.stderr, text),
    loadNode: Effect.promise(options.loadNode),
    loadBundler: Effect.promise(options.loadBundler),
    serving: Effect.sync(() => {
      state.serving = true
    }),
    abandon: Effect.sync(() => process.exit(1)),
    parentGone
  }
  process.stdout.on("error", onBrokenPipe)
  process.stderr.on("error", onBrokenPipe)
  const command = Cli.run(Root.command, { args: options.args, version: manifest.version, color, print: session.print })
  const fiber = Effect.runFork(command.pipe(
    Effect.provideService(Session, session),
    Effect.provideService(References.LogToStderr, true)
  ))
  const keepAlive = Effect.runFork(Effect.forever(Effect.sleep("1 day"))) // a waiting fiber alone does not keep the process
  const onSignal = () => {
    const now = performance.now()
    if (state.signals > 0 && now - state.firstAt < sameSignalMillis) return
    state.signals += 1
    state.firstAt = now
    if (state.signals > 1) endNow("shoal: ended at once, on the second signal\n")
    fiber.interruptUnsafe()
    Effect.runFork(Effect.andThen(
      Effect.sleep(leaveLimit),
      Effect.sync(() => endNow("shoal: leaving took too long, ended at once\n"))
    ))
  }
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, onSignal)
  if (process.env["npm_lifecycle_event"] !== undefined) {
    Effect.runFork(Effect.andThen(orphaned(process.ppid), Effect.sync(onSignal)))
  }
  fiber.addObserver((exit) => {
    keepAlive.interruptUnsafe()
    const { code, line } = conclude(exit, state)
    Effect.runFork(Effect.andThen(
      line === "" ? Effect.void : write(process.stderr, `${line}\n`),
      Effect.sync(() => process.exit(code))
    ))
  })
}

/** What the end of a command means to the caller of the process. */
export const conclude = (
  exit: Exit.Exit<void, unknown>,
  state: { readonly serving: boolean; readonly signals: number }
): { readonly code: 0 | 1 | 2; readonly line: string } => {
  if (exit._tag === "Success") return { code: 0, line: "" }
  const error = exit.cause.reasons.find(Cause.isFailReason)?.error
  if (isExpected(error)) return { code: exitCode(error), line: render(error) }
  if (error !== undefined && error instanceof Error) return { code: 1, line: `shoal: ${error.message}` }
  if (Cause.hasInterruptsOnly(exit.cause)) return { code: state.serving ? 0 : 1, line: "" }
  return { code: 1, line: `shoal: internal error, this is a defect of shoal\n${Cause.pretty(exit.cause)}` }
}

const isExpected = Schema.is(Schema.Union([UsageError, CommandError]))

const write = (stream: NodeJS.WriteStream, text: string | Uint8Array): Effect.Effect<void> =>
  Effect.callback((resume) => {
    stream.write(text, () => resume(Effect.void))
  })

const endNow = (line: string): never => {
  process.stderr.write(line)
  return process.exit(1)
}

/** npm starts a command through a shell and passes a SIGTERM only to that shell, which dies without a word. */
const orphaned = (parent: number): Effect.Effect<void> =>
  Effect.suspend(() => process.ppid === parent ? Effect.sleep("500 millis") : Effect.void).pipe(
    Effect.repeat({ until: () => process.ppid !== parent })
  )

/** A reader that has seen enough (`shoal members | head -1`) is no failure. */
const onBrokenPipe = (error: NodeJS.ErrnoException): void => {
  if (error.code === "EPIPE" || error.code === "EIO") process.exit(0)
}

const parentGone: Effect.Effect<void> = Effect.callback((resume) => {
  const done = () => resume(Effect.void)
  process.stdin.once("end", done).once("error", done).once("close", done).resume()
})
