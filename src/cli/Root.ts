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

const config = text({
  flag: "config",
  metavar: "FILE",
  description: "JSON object with any of these settings; flags and variables win over it",
  env: "SHOAL_CONFIG"
})

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
  membersFile: text(settings.membersFile),
  logLevel: text(settings.logLevel),
  config,
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

const agent = Command.make("agent", {
  name: text(settings.name),
  bind: text(settings.bind),
  advertise: text(settings.advertise),
  join: texts(settings.join),
  profile: text(settings.profile),
  tag: texts(settings.tag),
  release: text(settings.release),
  label: text(settings.label),
  key: text(KeyOption.key),
  keyFile: text(KeyOption.keyFile),
  dataDir: text({ ...settings.dataDir, description: "Folder for members and keys between runs", default: "none" }),
  membersFile: text(settings.membersFile),
  logLevel: text(settings.logLevel),
  config,
  json: toggle("json", "Print one JSON object per line")
}, (flags) => lazily(() => import("./Agent.ts"), (_) => _.agent(flags))).pipe(
  Command.withDescription("Be a member and nothing more: join, print changes, keep a members file current"),
  Command.withExamples([
    { command: "shoal agent --bind 127.0.0.1:0 --name watcher --join 127.0.0.1:7946 --members-file members.json" }
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

const handover = Command.make("handover", {
  to: text({ flag: "to", metavar: "NODE", description: "The member that is to be master" }),
  ...client
}, (flags) => asClient(flags, () => import("./Handover.ts"), (_) => _.handover(flags))).pipe(
  Command.withDescription("Make another member master while the cluster serves on"),
  Command.withExamples([{ command: "shoal handover --to n2" }])
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

const simulate = Command.make("simulate", {
  scenario: text({ flag: "scenario", metavar: "NAME", description: "What happens; see --list", default: "crash" }),
  nodes: text({ flag: "nodes", metavar: "N", description: "Members, 2 to 20000", default: "the scenario's" }),
  seed: text({ flag: "seed", metavar: "S", description: "Seed of the first run; the others follow", default: "1" }),
  runs: text({ flag: "runs", metavar: "R", description: "How many runs", default: "1" }),
  profile: text({ flag: "profile", metavar: "NAME", description: "lan, wan or local", default: "lan" }),
  settings: text({
    flag: "settings",
    metavar: "NAME",
    description: "shoal, or without our extensions: lifeguard or swim",
    default: "shoal"
  }),
  loss: text({ flag: "loss", metavar: "SHARE", description: "Share of datagrams lost, such as 0.2 or 20%" }),
  duration: text({ flag: "duration", metavar: "DURATION", description: "What it means is shown by --list" }),
  count: text({ flag: "count", metavar: "N", description: "What it means is shown by --list" }),
  set: texts({ flag: "set", metavar: "NAME=VALUE", description: "Setting of the protocol; may be repeated" }),
  plan: text({ flag: "plan", metavar: "FILE", description: "A plan of your own, or a kept failure, as JSON" }),
  plot: text({ flag: "plot", metavar: "FILE", description: "Write a picture, .svg or .html" }),
  save: text({ flag: "save", metavar: "DIR", description: "Keep the shrunk plan of a failing seed there" }),
  bytes: toggle("bytes", "Encode and decode every datagram for real"),
  fast: toggle("fast", "Do not check invariants"),
  list: toggle("list", "List the scenarios"),
  json: toggle("json", "Print JSON for machines")
}, (flags) => lazily(() => import("./Simulate.ts"), ({ simulate }) => simulate(flags))).pipe(
  Command.withDescription("Run many members in virtual time and report what they learn when"),
  Command.withExamples([
    { command: "shoal simulate --nodes 100 --runs 100" },
    { command: "shoal simulate --scenario steady --nodes 100 --loss 20% --duration 10m" }
  ])
)

export const command = Command.make("shoal").pipe(
  Command.withDescription("SWIM membership and a function engine without a database"),
  Command.withSubcommands([
    up,
    agent,
    dev,
    members,
    status,
    functions,
    deploy,
    remove,
    invoke,
    leave,
    handover,
    key,
    simulate
  ])
)
