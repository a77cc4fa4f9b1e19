/** The gateway to `effect/cli`: the only file that imports it.
 *
 * What differs from its defaults: wrong usage is a `UsageError` with one line (not the whole help on stdout), the help
 * shows defaults and variables, and of the built-in flags only --help, --version and --completions exist.
 * Boundary: knows nothing of Shoal's commands; `Root` declares them. */
import * as Argument from "effect/cli/Argument"
import * as CliConfig from "effect/cli/CliConfig"
import type * as CliError from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Sink from "effect/Sink"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as Terminal from "effect/Terminal"
import { UsageError } from "./Failure.ts"

export { Argument, Command, Flag }

export interface FlagText {
  readonly flag: string
  readonly metavar: string
  readonly description: string
  readonly default?: string
  readonly env?: string
}

/** A flag with a value, undefined when absent. Its default is only described here and applied by the command. */
export const text = (spec: FlagText): Flag.Flag<string | undefined> =>
  Flag.map(Flag.optional(described(spec)), Option.getOrUndefined)

/** A flag that may be repeated; empty when absent. */
export const texts = (spec: FlagText): Flag.Flag<ReadonlyArray<string>> => Flag.atLeast(described(spec), 0)

/** A flag without a value. */
export const toggle = (flag: string, description: string): Flag.Flag<boolean> =>
  Flag.Boolean(flag).pipe(Flag.withoutNegation, Flag.withDescription(description), Flag.withDefault(false))

const described = (spec: FlagText): Flag.Flag<string> => {
  const notes = [
    ...(spec.default === undefined ? [] : [`default: ${spec.default}`]),
    ...(spec.env === undefined ? [] : [`variable: ${spec.env}`])
  ]
  const suffix = notes.length === 0 ? "" : ` (${notes.join("; ")})`
  return Flag.String(spec.flag).pipe(Flag.withMetavar(spec.metavar), Flag.withDescription(spec.description + suffix))
}

export interface RunOptions {
  readonly version: string
  readonly args: ReadonlyArray<string>
  readonly color: boolean
  /** Writes text to stdout and waits until it is taken. */
  readonly print: (text: string) => Effect.Effect<void>
}

/** Parses the arguments and runs the command they name. */
export const run = <Name extends string, Input, E, R, ContextInput>(
  command: Command.Command<Name, Input, ContextInput, E, R>,
  options: RunOptions
) => {
  const formatter = CliOutput.defaultFormatter({ colors: options.color })
  const present = (event: CliOutput.Presenter.Event): Effect.Effect<void> => {
    switch (event._tag) {
      case "Help":
        return options.print(`${formatter.formatHelpDoc(event.helpDoc)}\n`)
      case "Version":
        return options.print(`${event.name} ${event.version}\n`)
      case "InvalidInvocation":
        return Effect.void // becomes a UsageError below
    }
  }
  return Command.runWith(command, { version: options.version })(options.args).pipe(
    Effect.catchIf(isShowHelp, (help) => {
      const [first] = help.errors
      return first === undefined ? Effect.void : Effect.fail(usageError(first, help.commandPath))
    }),
    Effect.provideService(CliConfig.CliConfig, CliConfig.make({ builtIns })),
    Effect.provideService(CliOutput.Presenter, { present }),
    Effect.provide(environment)
  )
}

const builtIns = [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions]

const isShowHelp = (error: unknown): error is CliError.ShowHelp =>
  typeof error === "object" && error !== null && "_tag" in error && error._tag === "ShowHelp"

const usageError = (error: CliError.NonShowHelpErrors, path: ReadonlyArray<string>): UsageError =>
  new UsageError({ message: `${describe(error, path)}; see "${path.join(" ")} --help"` })

const describe = (error: CliError.NonShowHelpErrors, path: ReadonlyArray<string>): string => {
  const command = path.join(" ")
  switch (error._tag) {
    case "UnrecognizedOption":
      return `unknown flag ${error.option} for "${command}"${guess(error.suggestions)}`
    case "UnknownSubcommand":
      return `unknown command "${error.subcommand}"${guess(error.suggestions)}`
    case "MissingOption":
      return `flag --${error.option} is missing`
    case "MissingArgument":
      return `argument ${error.argument.toUpperCase()} is missing for "${command}"`
    case "UnexpectedArgument":
      return `"${command}" takes no argument ${error.arguments.map((argument) => `"${argument}"`).join(", ")}`
    case "InvalidValue":
      return error.value === "" && error.kind === "flag"
        ? `flag --${error.option} needs a value`
        : `${error.kind === "flag" ? "--" : ""}${error.option}: ${firstLine(error.message)}`
    case "DuplicateOption":
    case "ValidationError":
    case "UserError":
      return firstLine(error.message)
  }
}

const guess = (suggestions: ReadonlyArray<string>): string =>
  suggestions[0] === undefined ? "" : ` (did you mean ${suggestions[0]}?)`

const firstLine = (text: string): string => text.split("\n", 1)[0] ?? ""

/** Parsing text flags touches no file, terminal or process, so that none is loaded for it. */
const environment = Layer.mergeAll(
  FileSystem.layerNoop({}),
  Path.layer,
  Layer.succeed(
    Stdio.Stdio,
    Stdio.make({ args: Effect.succeed([]), stdout: () => Sink.drain, stderr: () => Sink.drain, stdin: Stream.empty })
  ),
  Layer.succeed(
    Terminal.Terminal,
    Terminal.make({
      columns: Effect.succeed(80),
      rows: Effect.succeed(24),
      size: Effect.die("the terminal is not used for parsing"),
      readInput: Effect.die("the terminal is not used for parsing"),
      readLine: Effect.die("the terminal is not used for parsing"),
      display: () => Effect.void
    })
  ),
  Layer.succeed(
    ChildProcessSpawner.ChildProcessSpawner,
    ChildProcessSpawner.make(() => Effect.die("no process is used for parsing"))
  )
)
