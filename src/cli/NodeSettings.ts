/** From flags, SHOAL_* variables and a configuration file to the configuration of one node.
 *
 * Boundary: parses and judges values; it reads no environment, file or clock itself, and opens nothing.
 * A flag wins over its variable, which wins over the file. A failure names the place of the bad value. PURE. */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { NodeConfig } from "../node/NodeConfig.ts"
import * as Endpoint from "./Endpoint.ts"

/** What `shoal up` needs to run a node. */
export interface UpConfig extends NodeConfig {
  readonly logLevel: LogLevel
}

export const profiles: ReadonlyArray<NodeConfig["profile"]> = ["lan", "wan", "local"]

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "none"
export const logLevels: ReadonlyArray<LogLevel> = ["trace", "debug", "info", "warn", "error", "none"]

export interface Setting {
  readonly flag: string
  readonly env: string
  readonly metavar: string
  readonly description: string
  /** Shown in the help. */
  readonly default?: string
  /** May be given several times; its variable holds a list separated by commas. */
  readonly repeated?: true
}

/** Every setting of `shoal up`, in the order of the help. */
export const settings = {
  name: {
    flag: "name",
    env: "SHOAL_NAME",
    metavar: "NAME",
    description: "Name of the node, unique in the cluster",
    default: "host name and gossip port"
  },
  bind: {
    flag: "bind",
    env: "SHOAL_BIND",
    metavar: "HOST:PORT",
    description: "Gossip address, UDP and TCP",
    default: "127.0.0.1:7946"
  },
  advertise: {
    flag: "advertise",
    env: "SHOAL_ADVERTISE",
    metavar: "HOST:PORT",
    description: "Gossip address told to other members",
    default: "the bound address"
  },
  join: {
    flag: "join",
    env: "SHOAL_JOIN",
    metavar: "HOST:PORT",
    description: "Gossip address of a member to join, retried until it answers; may be repeated",
    repeated: true
  },
  http: {
    flag: "http",
    env: "SHOAL_HTTP",
    metavar: "HOST:PORT",
    description: "HTTP address for function calls and administration",
    default: "127.0.0.1:8080"
  },
  rpc: {
    flag: "rpc",
    env: "SHOAL_RPC",
    metavar: "HOST:PORT",
    description: "Control connections between nodes; port 0 takes a free one and advertises it",
    default: "127.0.0.1:0"
  },
  data: {
    flag: "data",
    env: "SHOAL_DATA",
    metavar: "HOST:PORT",
    description: "Forwarded calls between nodes; port 0 takes a free one and advertises it",
    default: "127.0.0.1:0"
  },
  dataDir: {
    flag: "data-dir",
    env: "SHOAL_DATA_DIR",
    metavar: "DIR",
    description: "Folder for functions and the reign; one process at a time",
    default: "~/.shoal/NAME"
  },
  profile: {
    flag: "profile",
    env: "SHOAL_PROFILE",
    metavar: "lan|wan|local",
    description: "Timing of the failure detector",
    default: "lan"
  },
  tag: {
    flag: "tag",
    env: "SHOAL_TAG",
    metavar: "KEY=VALUE",
    description: "Metadata told to other members; may be repeated",
    repeated: true
  },
  release: {
    flag: "release",
    env: "SHOAL_RELEASE",
    metavar: "VERSION",
    description: "Release told to other members",
    default: "the version of this program"
  },
  label: {
    flag: "label",
    env: "SHOAL_LABEL",
    metavar: "LABEL",
    description: "Name of the cluster; nodes with another label are refused",
    default: "shoal"
  },
  membersFile: {
    flag: "members-file",
    env: "SHOAL_MEMBERS_FILE",
    metavar: "FILE",
    description: "Keep the members in this file, as JSON, always current and whole"
  },
  logLevel: {
    flag: "log-level",
    env: "SHOAL_LOG_LEVEL",
    metavar: logLevels.join("|"),
    description: "Least severe log line on stderr",
    default: "info"
  }
} as const satisfies Record<string, Setting>

export type Key = keyof typeof settings

/** Raw values of the flags as given; absent ones are undefined, or empty when repeatable. */
export type Flags = { readonly [K in Key]?: string | ReadonlyArray<string> | undefined }

/** A configuration file, read: settings by the names of their flags. */
export interface File {
  readonly path: string
  readonly values: Readonly<Record<string, string | ReadonlyArray<string>>>
}

export interface Input {
  readonly flags: Flags
  readonly file?: File | undefined
  /** There is a cluster key: addresses that other machines reach may be used. */
  readonly keyed?: boolean
  readonly env: Readonly<Record<string, string | undefined>>
  readonly hostname: string
  readonly home: string
  readonly version: string
}

export const resolve = (input: Input): Result.Result<UpConfig, string> =>
  Result.gen(function*() {
    const bind = yield* listener(input, "bind", "127.0.0.1:7946")
    const advertise = yield* target(input, "advertise")
    const http = yield* listener(input, "http", "127.0.0.1:8080")
    const rpc = yield* listener(input, "rpc", "127.0.0.1:0")
    const data = yield* listener(input, "data", "127.0.0.1:0")
    const join = yield* seeds(input)
    const name = yield* nodeName(input, bind)
    const dataDir = yield* folder(input, `${input.home}/.shoal/${name}`)
    const profile = yield* choice(input, "profile", profiles, "lan")
    const logLevel = yield* choice(input, "logLevel", logLevels, "info")
    const tags = yield* tagsOf(input)
    const release = yield* word(input, "release", input.version)
    const label = yield* word(input, "label", "shoal")
    const membersFile = yield* path(input, "membersFile")
    return {
      name,
      bind,
      ...(advertise === undefined ? {} : { advertise }),
      join,
      http,
      rpc,
      data,
      dataDir,
      profile,
      tags,
      release,
      label,
      ...(membersFile === undefined ? {} : { membersFile }),
      logLevel
    }
  })

const FileValues = Schema.Record(Schema.String, Schema.Union([Schema.String, Schema.Array(Schema.String)]))
const FileText = Schema.fromJsonString(FileValues)

/** Judged in `KeyOption`. */
const keySettings = new Set(["key", "key-file"])

/** Reads the text of a configuration file: a JSON object of flags without their dashes, lists for repeatable ones. */
export const parseFile = (path: string, text: string): Result.Result<File, string> => {
  const values = Schema.decodeResult(FileText)(text)
  if (Result.isFailure(values)) {
    return Result.fail(
      `${path}: not a JSON object of settings, such as { "bind": "127.0.0.1:7946", "join": ["127.0.0.1:7947"] }`
    )
  }
  for (const [name, value] of Object.entries(values.success)) {
    const setting: Setting | undefined = Object.values(settings).find(({ flag }) => flag === name)
    if (keySettings.has(name)) continue
    if (setting === undefined) return Result.fail(`${path}: there is no setting "${name}"`)
    if (typeof value !== "string" && setting.repeated !== true) return Result.fail(`${path}: ${name} takes one value`)
  }
  return Result.succeed({ path, values: values.success })
}

interface Given {
  readonly text: string
  /** Where the value came from, for messages. */
  readonly from: string
}

const many = ({ env, file, flags }: Pick<Input, "flags" | "env" | "file">, key: Key): ReadonlyArray<Given> => {
  const setting: Setting = settings[key]
  const given = list(flags[key])
  if (given.length > 0) return given.map((text) => ({ text: text.trim(), from: `--${setting.flag}` }))
  const variable = env[setting.env]
  if (variable !== undefined && variable !== "") {
    const texts = setting.repeated === true ? variable.split(",") : [variable]
    return texts.map((text) => ({ text: text.trim(), from: setting.env }))
  }
  return list(file?.values[setting.flag]).map((text) => ({ text: text.trim(), from: `${file?.path}: ${setting.flag}` }))
}

const list = (value: string | ReadonlyArray<string> | undefined): ReadonlyArray<string> =>
  value === undefined ? [] : typeof value === "string" ? [value] : value

const single = (input: Pick<Input, "flags" | "env" | "file">, key: Key): Given | undefined => many(input, key).at(-1)

const endpoint = (given: Given): Result.Result<Endpoint.Endpoint, string> =>
  Result.mapError(Endpoint.parse(given.text), (why) => `${given.from}: ${why}`)

const listener = (input: Input, key: "bind" | "http" | "rpc" | "data", fallback: string) => {
  const given = single(input, key) ?? { text: fallback, from: `--${settings[key].flag}` }
  return Result.flatMap(endpoint(given), (at): Result.Result<Endpoint.Endpoint, string> => {
    if (!Endpoint.isLoopback(at.host) && input.keyed !== true) {
      return Result.fail(
        `${given.from}: ${at.host} can be reached from other machines; that needs a cluster key: make one with ` +
          "`shoal key generate` and give it with --key-file or SHOAL_KEY, or use a loopback address such as " +
          Endpoint.format({ ...at, host: "127.0.0.1" })
      )
    }
    return Result.succeed(at.host.toLowerCase() === "localhost" ? { ...at, host: "127.0.0.1" } : at)
  })
}

const connectable = (given: Given): Result.Result<Endpoint.Endpoint, string> =>
  Result.flatMap(
    endpoint(given),
    (at) =>
      at.port === 0
        ? Result.fail(`${given.from}: "${given.text}" has port 0, which nobody can connect to`)
        : Result.succeed(at)
  )

const target = (input: Input, key: "advertise"): Result.Result<Endpoint.Endpoint | undefined, string> => {
  const given = single(input, key)
  if (given === undefined) return Result.succeed(undefined)
  return Result.flatMap(connectable(given), (at) =>
    Endpoint.isIPv4(at.host) || Endpoint.isIPv6(at.host)
      ? Result.succeed(at)
      : Result.fail(`${given.from}: "${at.host}" is a name; members are told an IP address`))
}

const seeds = (input: Input): Result.Result<ReadonlyArray<string>, string> => {
  const given = many(input, "join").filter(({ text }) => text !== "")
  if (given.length > 64) return Result.fail(`${given[0]?.from}: ${given.length} addresses, at most 64 are taken`)
  return Result.all(given.map((seed) => Result.map(connectable(seed), Endpoint.format)))
}

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/

const nodeName = (input: Input, bind: Endpoint.Endpoint): Result.Result<string, string> => {
  const given = single(input, "name")
  if (given !== undefined) {
    return namePattern.test(given.text) ? Result.succeed(given.text) : Result.fail(
      `${given.from}: "${given.text}" is not a node name: 1 to 63 letters, digits, dots, dashes or underscores`
    )
  }
  if (bind.port === 0) {
    return Result.fail("--name: a node on port 0 needs a name, since the default is made of host name and gossip port")
  }
  const host = input.hostname.replace(/[^A-Za-z0-9._-]/g, "-").replace(/^[^A-Za-z0-9]+/, "").slice(0, 57)
  return Result.succeed(`${host === "" ? "node" : host}-${bind.port}`)
}

const folder = (input: Input, fallback: string): Result.Result<string, string> =>
  Result.map(path(input, "dataDir"), (given) => given ?? fallback)

const path = (input: Pick<Input, "flags" | "env" | "file">, key: Key): Result.Result<string | undefined, string> => {
  const given = single(input, key)
  if (given === undefined) return Result.succeed(undefined)
  return given.text === "" ? Result.fail(`${given.from}: an empty path`) : Result.succeed(given.text)
}

/** Whether a setting was given at all, in whatever way. */
export const isGiven = (input: Pick<Input, "flags" | "env" | "file">, key: Key): boolean =>
  single(input, key) !== undefined

const choice = <const A extends string>(input: Input, key: Key, options: ReadonlyArray<A>, fallback: A) => {
  const given = single(input, key)
  if (given === undefined) return Result.succeed(fallback)
  const found = options.find((option) => option === given.text)
  return found === undefined
    ? Result.fail(`${given.from}: "${given.text}" is none of ${options.join(", ")}`)
    : Result.succeed(found)
}

/** Metadata of a member has 512 bytes for everything; this leaves room for its addresses. */
const tagBytes = 256

const tagsOf = (input: Input): Result.Result<Record<string, string>, string> => {
  const tags: Record<string, string> = {}
  let size = 0
  for (const { from, text } of many(input, "tag")) {
    if (text === "") continue
    const at = text.indexOf("=")
    const key = text.slice(0, at)
    if (at < 1 || !/^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$/.test(key)) {
      return Result.fail(`${from}: "${text}" is not KEY=VALUE, such as zone=a`)
    }
    tags[key] = text.slice(at + 1)
    size += new TextEncoder().encode(text).length
    if (size > tagBytes) return Result.fail(`${from}: more than ${tagBytes} bytes of tags`)
  }
  return Result.succeed(tags)
}

const word = (input: Input, key: "release" | "label", fallback: string): Result.Result<string, string> => {
  const given = single(input, key)
  if (given === undefined) return Result.succeed(fallback)
  return /^[\x21-\x7e]{1,64}$/.test(given.text)
    ? Result.succeed(given.text)
    : Result.fail(`${given.from}: "${given.text}" is not 1 to 64 printable characters without spaces`)
}
