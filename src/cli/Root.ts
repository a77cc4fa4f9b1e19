/** The command tree. Every command is loaded when it runs, so that a client command starts fast.
 *
 * Boundary: declares names, flags and help; what a command does is in the file it names. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Argument, Command, Flag, text, texts, toggle } from "./Cli.ts"
import { authorized } from "./Credentials.ts"
import * as KeyOption from "./KeyOption.ts"
import { settings } from "./NodeSettings.ts"

const lazily = <M, A, E, R>(
  load: () => Promise<M>,
  use: (module: M) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => Effect.flatMap(Effect.promise(load), use)

/** A command that speaks to a node, with the token of the key it was given. */
const asClient = <M, A, E, R>(
  flags: KeyOption.Flags,
  load: () => Promise<M>,
  use: (module: M) => Effect.Effect<A, E, R>
) => authorized(flags, lazily(load, use))

const client = {
  server: text({
    flag: "server",
    metavar: "URL",
    description: "HTTP address of a node",
    default: "http://127.0.0.1:8080",
    env: "SHOAL_SERVER"
  }),
  key: text(KeyOption.key),
  keyFile: text(KeyOption.keyFile),
  json: toggle("json", "Print JSON for machines")
}

const up = Command.make("up", {
  name: text(settings.name),
  bind: text(settings.bind),
  advertise: text(settings.advertise),
  join: texts(settings.join),
  http: text(settings.http),
  rpc: text(settings.rpc),
  data: text(settings.data),
  dataDir: text(settings.dataDir),
  profile: text(settings.profile),
  tag: texts(settings.tag),
  release: text(settings.release),
  label: text(settings.label),
  key: text(KeyOption.key),
  keyFile: text(KeyOption.keyFile),
  logLevel: text(settings.logLevel),
  config: text({
    flag: "config",
    metavar: "FILE",
    description: "JSON object with any of these settings; flags and variables win over it",
    env: "SHOAL_CONFIG"
  }),
  json: toggle("json", "Print the line for a ready node as JSON"),
  dieWithParent: Flag.withHidden(toggle("die-with-parent", "Leave when stdin ends"))
}, (flags) => lazily(() => import("./Up.ts"), ({ up }) => up(flags))).pipe(
  Command.withDescription("Start a node in this process"),
  Command.withExamples([
    { command: "shoal up", description: "The first node" },
    {
      command: "shoal up --bind 127.0.0.1:7947 --http 127.0.0.1:8081 --join 127.0.0.1:7946",
      description: "A second one on the same machine"
    }
  ])
)

const members = Command.make(
  "members",
  client,
  (flags) => asClient(flags, () => import("./Query.ts"), (_) => _.members(flags))
)
  .pipe(
    Command.withDescription("List the members of the cluster, with role and status")
  )

const status = Command.make(
  "status",
  client,
  (flags) => asClient(flags, () => import("./Query.ts"), (_) => _.status(flags))
)
  .pipe(
    Command.withDescription("Show who is master and how the cluster looks from one node")
  )

const functions = Command.make(
  "functions",
  client,
  (flags) => asClient(flags, () => import("./Query.ts"), (_) => _.functions(flags))
).pipe(Command.withDescription("List the functions and where they are warm"))

const deploy = Command.make("deploy", {
  path: Argument.String("path").pipe(Argument.withDescription("A .ts or .js file, or a folder")),
  name: text({ flag: "name", metavar: "NAME", description: "Name of the function", default: "the file's name" }),
  env: texts({ flag: "env", metavar: "NAME=VALUE", description: "Variable for the function; may be repeated" }),
  timeout: text({
    flag: "timeout",
    metavar: "DURATION",
    description: "Limit of one call, such as 500ms",
    default: "30s"
  }),
  memory: text({ flag: "memory", metavar: "MIB", description: "Limit of memory per instance", default: "128" }),
  concurrency: text({ flag: "concurrency", metavar: "N", description: "Calls at a time per instance", default: "100" }),
  instances: text({ flag: "instances", metavar: "N", description: "Instances per node", default: "4" }),
  ...client
}, (flags) => asClient(flags, () => import("./Deploy.ts"), (_) => _.deploy(flags))).pipe(
  Command.withDescription("Bundle a function and give it to the cluster"),
  Command.withExamples([{ command: "shoal deploy hello.ts", description: "Then call /function/hello on any node" }])
)

const remove = Command.make("remove", {
  name: Argument.String("name").pipe(Argument.withDescription("Name of the function")),
  ...client
}, (flags) => asClient(flags, () => import("./Deploy.ts"), (_) => _.remove(flags))).pipe(
  Command.withDescription("Remove a function and all its versions")
)

const invoke = Command.make("invoke", {
  name: Argument.String("name").pipe(Argument.withDescription("NAME, NAME:ALIAS or NAME@VERSION")),
  data: text({ flag: "data", metavar: "TEXT", description: "Body of the call, which makes it a POST" }),
  path: text({ flag: "path", metavar: "PATH", description: "Path and query below the function", default: "/" }),
  method: text({ flag: "method", metavar: "METHOD", description: "HTTP method", default: "GET, or POST with --data" }),
  ...client
}, (flags) => lazily(() => import("./Invoke.ts"), (_) => _.invoke(flags))).pipe(
  Command.withDescription("Call a function and print its answer"),
  Command.withExamples([{ command: "shoal invoke hello --data '{\"name\":\"Ada\"}'" }])
)

const leave = Command.make(
  "leave",
  client,
  (flags) => asClient(flags, () => import("./Deploy.ts"), (_) => _.leave(flags))
).pipe(
  Command.withDescription("Ask a node to leave the cluster and end")
)

const keyGenerate = Command.make("generate", {
  bits: text({ flag: "bits", metavar: "128|192|256", description: "Strength of the key", default: "256" }),
  out: text({ flag: "out", metavar: "FILE", description: "Write it to a new file instead of stdout" })
}, (flags) => lazily(() => import("./Key.ts"), (_) => _.generate(flags))).pipe(
  Command.withDescription("Make a new key"),
  Command.withExamples([{ command: "shoal key generate --out cluster.key" }])
)

const keyList = Command.make(
  "list",
  client,
  (flags) => asClient(flags, () => import("./Key.ts"), (_) => _.list(flags))
).pipe(Command.withDescription("Show the fingerprints of all keys, and how many members have and use them"))

const keyInstall = Command.make("install", {
  newKey: Argument.String("key").pipe(
    Argument.withDescription("The new key; better in a file, with --from"),
    Argument.optional,
    Argument.map(Option.getOrUndefined)
  ),
  from: text({ flag: "from", metavar: "FILE", description: "File with the new key" }),
  ...client
}, (flags) => asClient(flags, () => import("./Key.ts"), (_) => _.install(flags))).pipe(
  Command.withDescription("Give a key to all members; it opens what is sealed with it")
)

const keyStep = {
  id: Argument.String("id").pipe(Argument.withDescription("Fingerprint of the key, as `shoal key list` shows it")),
  force: toggle("force", "Also when that parts the cluster from members that are not ready"),
  ...client
}

const keyUse = Command.make(
  "use",
  keyStep,
  (flags) => asClient(flags, () => import("./Key.ts"), (_) => _.use(flags))
).pipe(Command.withDescription("Let all members seal with an installed key"))

const keyRemove = Command.make(
  "remove",
  keyStep,
  (flags) => asClient(flags, () => import("./Key.ts"), (_) => _.remove(flags))
).pipe(Command.withDescription("Let all members forget a key; connections that were opened with it end"))

const key = Command.make("key").pipe(
  Command.withDescription("Make and exchange the keys of the cluster"),
  Command.withSubcommands([keyGenerate, keyList, keyInstall, keyUse, keyRemove])
)

const dev = Command.make("dev", {
  files: Argument.String("files").pipe(Argument.variadic(), Argument.withDescription("Functions to deploy")),
  nodes: text({ flag: "nodes", metavar: "N", description: "How many nodes, 1 to 32", default: "3" }),
  port: text({
    flag: "port",
    metavar: "PORT",
    description: "HTTP port of the first node, the others follow; 0 takes any free ones",
    default: "8080"
  }),
  dataDir: text({
    flag: "data-dir",
    metavar: "DIR",
    description: "Folder for the nodes' data, kept at the end",
    default: "a temporary one"
  }),
  logLevel: text({
    ...settings.logLevel,
    description: "Least severe log line of the nodes on stderr",
    default: "warn"
  }),
  key: text(KeyOption.key),
  keyFile: text(KeyOption.keyFile),
  json: toggle("json", "Print one JSON object per change")
}, (flags) => lazily(() => import("./Dev.ts"), ({ dev }) => dev(flags))).pipe(
  Command.withDescription("Run a local cluster of real processes, with functions, until Ctrl-C"),
  Command.withExamples([{ command: "shoal dev --nodes 5 hello.ts" }])
)

export const command = Command.make("shoal").pipe(
  Command.withDescription("SWIM membership and a function engine without a database"),
  Command.withSubcommands([up, dev, members, status, functions, deploy, remove, invoke, leave, key])
)
