/** `shoal simulate`: many members in virtual time, deterministic, with a report.
 *
 * Boundary: reads flags and files, shows progress and prints; what happens in a run, and what is wrong with one, is
 * told by `src/testing/simulator`, which is loaded only here. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { parseDuration } from "./Deploy.ts"
import { CommandError, UsageError } from "./Failure.ts"
import * as Query from "./Query.ts"
import { Session } from "./Session.ts"
import * as Table from "./Table.ts"

export interface Flags {
  readonly scenario: string | undefined
  readonly nodes: string | undefined
  readonly seed: string | undefined
  readonly runs: string | undefined
  readonly profile: string | undefined
  readonly settings: string | undefined
  readonly loss: string | undefined
  readonly duration: string | undefined
  readonly count: string | undefined
  readonly set: ReadonlyArray<string>
  readonly plan: string | undefined
  readonly plot: string | undefined
  readonly save: string | undefined
  readonly bytes: boolean
  readonly fast: boolean
  readonly list: boolean
  readonly json: boolean
}

const load = Effect.all({
  Experiment: Effect.promise(() => import("../testing/simulator/Experiment.ts")),
  Plan: Effect.promise(() => import("../testing/simulator/Plan.ts")),
  Plot: Effect.promise(() => import("../testing/simulator/Plot.ts")),
  Regression: Effect.promise(() => import("../testing/simulator/Regression.ts")),
  Report: Effect.promise(() => import("../testing/simulator/Report.ts")),
  Scenarios: Effect.promise(() => import("../testing/simulator/Scenarios.ts"))
})
type Simulator = Effect.Success<typeof load>
type Plan = Simulator["Scenarios"]["all"][number] extends { readonly plan: (request: never) => infer P } ? P : never
type Experiment = InstanceType<Simulator["Experiment"]["Experiment"]>

const most = { nodes: 20_000, runs: 1_000_000, count: 1_000_000 }
const showEvery = 200
const absent: Effect.Effect<undefined> = Effect.as(Effect.void, undefined)

const whole = (
  flag: "nodes" | "seed" | "runs" | "count",
  text: string | undefined
): Effect.Effect<number | undefined, UsageError> => {
  if (text === undefined) return absent
  const least = flag === "nodes" ? 2 : flag === "seed" ? 0 : 1
  const highest = flag === "seed" ? 4_294_967_295 : most[flag]
  const value = Number(text)
  return /^\d+$/.test(text) && value >= least && value <= highest
    ? Effect.succeed(value)
    : Effect.fail(new UsageError({ message: `--${flag}: "${text}" is not a whole number from ${least} to ${highest}` }))
}

/** `0.2` or `20%` */
const share = (text: string): Effect.Effect<number, UsageError> => {
  const match = /^(\d+(?:\.\d+)?|\.\d+)(%?)$/.exec(text)
  const value = Number(match?.[1]) / (match?.[2] === "%" ? 100 : 1)
  return value >= 0 && value < 1
    ? Effect.succeed(value)
    : Effect.fail(new UsageError({ message: `--loss: "${text}" is not a share below 1, such as 0.2 or 20%` }))
}

const oneOf = <A extends string>(
  flag: string,
  text: string | undefined,
  choices: ReadonlyArray<A>
): Effect.Effect<A | undefined, UsageError> => {
  if (text === undefined) return absent
  const found = choices.find((choice) => choice === text)
  return found === undefined
    ? Effect.fail(new UsageError({ message: `--${flag}: "${text}" is not one of ${choices.join(", ")}` }))
    : Effect.succeed(found)
}

const millis = (text: string | undefined): Effect.Effect<number | undefined, UsageError> => {
  if (text === undefined) return absent
  return Option.match(parseDuration(text), {
    onNone: () =>
      Effect.fail(new UsageError({ message: `--duration: "${text}" is not a duration, such as 500ms, 30s or 5m` })),
    onSome: (duration) => Effect.succeed(Duration.toMillis(duration))
  })
}

/** `--set probeInterval=500 --set askFirst=false` */
const settingsOf = (given: ReadonlyArray<string>): Effect.Effect<Record<string, number | boolean>, UsageError> => {
  const settings: Record<string, number | boolean> = {}
  for (const text of given) {
    const match = /^([A-Za-z]+)=(true|false|\d+(?:\.\d+)?)$/.exec(text)
    if (match === null) {
      return Effect.fail(new UsageError({ message: `--set: "${text}" is not NAME=NUMBER, NAME=true or NAME=false` }))
    }
    const [, name = "", value = ""] = match
    settings[name] = value === "true" || value === "false" ? value === "true" : Number(value)
  }
  return Effect.succeed(settings)
}

const readPlan = Effect.fnUntraced(function*(simulator: Simulator, file: string) {
  const text = yield* Effect.try({
    try: () => Fs.readFileSync(file, "utf8"),
    catch: () => new UsageError({ message: `--plan: cannot read ${file}` })
  })
  const shape = Schema.fromJsonString(Schema.Union([simulator.Plan.Plan, simulator.Regression.Regression]))
  const read = yield* Effect.mapError(
    Schema.decodeEffect(shape)(text),
    (error) =>
      new UsageError({ message: `--plan: ${file} holds no plan: ${error.message.split("\n", 2).join(" ").trim()}` })
  )
  return "plan" in read ? read.plan : read
})

/** The plan of each seed, and how a single seed is run again. */
const planned = Effect.fnUntraced(function*(simulator: Simulator, flags: Flags) {
  const { Plan, Scenarios } = simulator
  const seed = yield* whole("seed", flags.seed)
  if (flags.plan !== undefined) {
    const plan = yield* readPlan(simulator, flags.plan)
    const first = seed ?? plan.seed
    return { seed: first, plan: (at: number): Plan => ({ ...plan, seed: at }), again: `--plan ${flags.plan}` }
  }
  const scenarios = Scenarios.all.map(({ name }) => name)
  const name = yield* oneOf("scenario", flags.scenario ?? "crash", scenarios)
  const scenario = Scenarios.find(name ?? "crash")
  if (scenario === undefined) return yield* new UsageError({ message: "--scenario: there are none" })
  const nodes = yield* whole("nodes", flags.nodes)
  const profile = yield* oneOf("profile", flags.profile, Plan.Profile.literals)
  const settings = yield* oneOf("settings", flags.settings, Plan.Settings.literals)
  const loss = flags.loss === undefined ? undefined : yield* share(flags.loss)
  const duration = yield* millis(flags.duration)
  const count = yield* whole("count", flags.count)
  const params = yield* settingsOf(flags.set)
  const network = loss === undefined ? undefined : { loss }
  const request = { nodes, profile, settings, duration, count, params, network }
  const words = [
    ["nodes", flags.nodes],
    ["profile", flags.profile],
    ["settings", flags.settings],
    ["loss", flags.loss],
    [
      "duration",
      flags.duration
    ],
    ["count", flags.count],
    ...flags.set.map((text) => ["set", text] as const)
  ] as const
  const again = words.flatMap(([flag, text]) => text === undefined ? [] : [`--${flag} ${text}`])
  return {
    seed: seed ?? 1,
    plan: (at: number): Plan => scenario.plan({ ...request, seed: at }),
    again: [`--scenario ${scenario.name}`, ...again].join(" ")
  }
})

const progressLine = ({ progress }: Experiment): string => {
  const { at, done, failures, point, runs } = progress
  const agreed = `${(100 * point.agreed).toFixed(0)} % agree in ${point.views} view${point.views === 1 ? "" : "s"}`
  const failed = failures === 0 ? "" : `, ${failures} failed`
  return `run ${Math.min(done + 1, runs)} of ${runs}: ${(at / 1000).toFixed(1)} s, ${agreed}${failed}`
}

/** Runs in portions, with a line on stderr that tells how far it is. */
const drive = Effect.fnUntraced(function*(experiment: Experiment, live: boolean) {
  const session = yield* Session
  let shown = -showEvery
  while (!experiment.advance()) {
    const now = yield* Clock.currentTimeMillis
    if (live && now - shown >= showEvery) {
      shown = now
      const line = progressLine(experiment).slice(0, Math.max(20, session.terminal.columns() - 1))
      yield* session.complain(`\r\u001b[K${line}`)
    }
    yield* Effect.yieldNow
  }
  if (live) yield* session.complain("\r\u001b[K")
})

const write = (flag: string, file: string, text: string): Effect.Effect<void, CommandError> =>
  Effect.try({
    try: () => {
      Fs.mkdirSync(Path.dirname(file), { recursive: true })
      Fs.writeFileSync(file, text)
    },
    catch: (error) =>
      new CommandError({ message: `--${flag}: cannot write ${file}: ${error instanceof Error ? error.message : ""}` })
  })

const plotKind = (file: string): Effect.Effect<"svg" | "html", UsageError> => {
  const kind = Path.extname(file).slice(1).toLowerCase()
  return kind === "svg" || kind === "html"
    ? Effect.succeed(kind)
    : Effect.fail(new UsageError({ message: `--plot: "${file}" ends neither in .svg nor in .html` }))
}

const printList = Effect.fnUntraced(function*({ Scenarios }: Simulator, json: boolean) {
  const session = yield* Session
  if (json) {
    const list = Scenarios.all.map(({ count, duration, name, nodes, summary }) => ({
      name,
      summary,
      nodes,
      count,
      duration
    }))
    return yield* session.print(`${Formatter.formatJson(list, { space: 2 })}\n`)
  }
  const rows = Scenarios.all.map(({ count, duration, name, nodes, summary }) => [
    name,
    String(nodes),
    [
      summary,
      ...(count === undefined ? [] : [`--count: ${count}`]),
      ...(duration === undefined ? [] : [`--duration: ${duration}`])
    ]
      .join("; ")
  ])
  yield* session.print(`${Table.render(["scenario", "nodes", "what happens"], rows, Query.style(session))}\n`)
})

/** What failed, how to see it again, and the smallest plan that still fails. */
const explain = Effect.fnUntraced(function*(simulator: Simulator, experiment: Experiment, flags: Flags, again: string) {
  const session = yield* Session
  const { Regression, Report } = simulator
  const { failures } = experiment.series
  const lines = Report.failures(experiment.series).slice(0, 20)
  for (const { seed } of failures.slice(0, 5)) lines.push(`again: shoal simulate ${again} --seed ${seed} --runs 1`)
  const shrunk = experiment.shrunk()
  if (shrunk !== undefined) {
    const story = Report.story(shrunk.regression.plan)
    lines.push(`shrunk in ${shrunk.tries} tries:`, ...story.map((line) => `  ${line}`))
    if (flags.save === undefined) lines.push("--save DIR keeps the shrunk plan")
    else {
      const file = Path.join(flags.save, Regression.fileName(shrunk.regression))
      yield* write("save", file, `${Formatter.formatJson(shrunk.regression, { space: 2 })}\n`)
      lines.push(`again: shoal simulate --plan ${file}`)
    }
  }
  yield* session.complain(`${lines.join("\n")}\n`)
  const { runs } = experiment.series
  return yield* new CommandError({ message: `an invariant was broken in ${failures.length} of ${runs} runs` })
})

export const simulate = Effect.fn("Simulate.simulate")(function*(flags: Flags) {
  const session = yield* Session
  const simulator = yield* load
  if (flags.list) return yield* printList(simulator, flags.json)
  const kind = flags.plot === undefined ? undefined : yield* plotKind(flags.plot)
  const { again, plan, seed } = yield* planned(simulator, flags)
  const runs = (yield* whole("runs", flags.runs)) ?? 1
  const problem = simulator.Plan.problem(plan(seed))
  if (problem !== undefined) {
    const flag = flags.plan === undefined ? (problem.startsWith("params.") ? "--set: " : "") : `--plan: ${flags.plan}: `
    return yield* new UsageError({ message: `${flag}${problem.replace(/^params\./, "")}` })
  }
  const experiment = new simulator.Experiment.Experiment({ plan, seed, runs, bytes: flags.bytes, check: !flags.fast })
  yield* drive(experiment, session.terminal.interactive && !flags.json)
  const { series } = experiment
  const { Plot, Report } = simulator
  if (flags.plot !== undefined) yield* write("plot", flags.plot, kind === "svg" ? Plot.svg(series) : Plot.html(series))
  if (flags.json) yield* session.print(`${Formatter.formatJson(Report.data(series), { space: 2 })}\n`)
  else {
    const table = Table.render([...Report.head], Report.cells(series), Query.style(session))
    yield* session.print([Report.title(series), "", table, "", ...Report.notes(series), ""].join("\n"))
  }
  if (series.failures.length > 0) return yield* explain(simulator, experiment, flags, again)
})
