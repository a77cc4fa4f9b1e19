import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as NodeSettings from "../../src/cli/NodeSettings.ts"

const resolve = (flags: NodeSettings.Flags = {}, env: Record<string, string> = {}, hostname = "box") =>
  NodeSettings.resolve({ flags, env, hostname, home: "/home/ada", version: "1.2.3" })

const failure = (flags: NodeSettings.Flags, env: Record<string, string> = {}): string => {
  const resolved = resolve(flags, env)
  return Result.isFailure(resolved) ? resolved.failure : "accepted"
}

describe("NodeSettings", () => {
  it("needs no flag at all for a first node", () => {
    assert.deepStrictEqual(
      resolve(),
      Result.succeed({
        name: "box-7946",
        bind: { host: "127.0.0.1", port: 7946 },
        join: [],
        http: { host: "127.0.0.1", port: 8080 },
        rpc: { host: "127.0.0.1", port: 0 },
        data: { host: "127.0.0.1", port: 0 },
        dataDir: "/home/ada/.shoal/box-7946",
        profile: "lan" as const,
        tags: {},
        release: "1.2.3",
        label: "shoal",
        logLevel: "info" as const
      })
    )
  })

  it("reads every setting from its variable", () => {
    const env = {
      SHOAL_NAME: "a",
      SHOAL_BIND: "127.0.0.2:1",
      SHOAL_ADVERTISE: "10.0.0.1:2",
      SHOAL_JOIN: "127.0.0.1:3, seed.example:4,",
      SHOAL_HTTP: "localhost:5",
      SHOAL_RPC: "[::1]:6",
      SHOAL_DATA: "127.0.0.1:7",
      SHOAL_DATA_DIR: "/var/lib/shoal",
      SHOAL_PROFILE: "local",
      SHOAL_TAG: "zone=a,rack=2=b",
      SHOAL_RELEASE: "9",
      SHOAL_LABEL: "test",
      SHOAL_MEMBERS_FILE: "/run/members.json",
      SHOAL_LOG_LEVEL: "debug"
    }
    assert.deepStrictEqual(
      Object.keys(env).sort(),
      Object.values(NodeSettings.settings).map((setting) => setting.env).sort()
    )
    assert.deepStrictEqual(
      resolve({}, env),
      Result.succeed({
        name: "a",
        bind: { host: "127.0.0.2", port: 1 },
        advertise: { host: "10.0.0.1", port: 2 },
        join: ["127.0.0.1:3", "seed.example:4"],
        http: { host: "127.0.0.1", port: 5 },
        rpc: { host: "::1", port: 6 },
        data: { host: "127.0.0.1", port: 7 },
        dataDir: "/var/lib/shoal",
        profile: "local" as const,
        tags: { zone: "a", rack: "2=b" },
        release: "9",
        label: "test",
        membersFile: "/run/members.json",
        logLevel: "debug" as const
      })
    )
  })

  it("prefers a flag to its variable, and a list of flags replaces the list of the variable", () => {
    const resolved = resolve({ name: "flag", join: ["127.0.0.1:9"] }, { SHOAL_NAME: "env", SHOAL_JOIN: "127.0.0.1:8" })
    assert.isTrue(Result.isSuccess(resolved))
    if (Result.isSuccess(resolved)) {
      assert.strictEqual(resolved.success.name, "flag")
      assert.deepStrictEqual(resolved.success.join, ["127.0.0.1:9"])
    }
  })

  it("treats an empty variable as absent", () => {
    assert.deepStrictEqual(resolve({}, { SHOAL_BIND: "", SHOAL_JOIN: "", SHOAL_DATA_DIR: "" }), resolve())
  })

  const refused: ReadonlyArray<readonly [NodeSettings.Flags, Record<string, string>, RegExp]> = [
    [{ bind: "nonsense" }, {}, /^--bind: "nonsense" is not HOST:PORT/],
    [{ bind: "" }, {}, /^--bind: /],
    [{}, { SHOAL_HTTP: "127.0.0.1" }, /^SHOAL_HTTP: "127.0.0.1" is not HOST:PORT/],
    [{ bind: "0.0.0.0:7946" }, {}, /^--bind: 0.0.0.0 can be reached from other machines; that needs a cluster key/],
    [{ http: "[::]:80" }, {}, /^--http: :: can be reached/],
    [{ rpc: "10.0.0.1:80" }, {}, /^--rpc: /],
    [{ data: "example.org:80" }, {}, /^--data: /],
    [{ join: ["127.0.0.1:0"] }, {}, /^--join: .* port 0/],
    [{ join: ["127.0.0.1:1", "x"] }, {}, /^--join: "x" is not HOST:PORT/],
    [{ join: Array.from({ length: 65 }, () => "127.0.0.1:1") }, {}, /^--join: 65 addresses/],
    [{ advertise: "127.0.0.1:0" }, {}, /^--advertise: .* port 0/],
    [{ advertise: "example.org:1" }, {}, /^--advertise: .* a name/],
    [{ bind: "127.0.0.1:0" }, {}, /^--name: a node on port 0 needs a name/],
    [{ name: "../etc" }, {}, /^--name: "..\/etc" is not a node name/],
    [{ name: "" }, {}, /^--name: /],
    [{ dataDir: "" }, {}, /^--data-dir: an empty path/],
    [{ profile: "fast" }, {}, /^--profile: "fast" is none of lan, wan, local/],
    [{}, { SHOAL_LOG_LEVEL: "loud" }, /^SHOAL_LOG_LEVEL: "loud" is none of/],
    [{ tag: ["zone"] }, {}, /^--tag: "zone" is not KEY=VALUE/],
    [{ tag: [`a=${"x".repeat(300)}`] }, {}, /^--tag: more than 256 bytes/],
    [{ label: "two words" }, {}, /^--label: /],
    [{ release: "" }, {}, /^--release: /]
  ]
  for (const [flags, env, why] of refused) {
    it(`refuses ${JSON.stringify({ ...flags, ...env }).slice(0, 60)} and names the place`, () => {
      assert.match(failure(flags, env), why)
    })
  }

  it("makes a valid name of any host name", () => {
    for (const [hostname, name] of [["Ada's Mac", "Ada-s-Mac-7946"], ["", "node-7946"], ["-x", "x-7946"]] as const) {
      const resolved = resolve({}, {}, hostname)
      assert.isTrue(Result.isSuccess(resolved))
      if (Result.isSuccess(resolved)) assert.strictEqual(resolved.success.name, name)
    }
  })

  it("takes from a file what neither a flag nor a variable gives", () => {
    const file = NodeSettings.parseFile(
      "shoal.json",
      "{ \"name\": \"file\", \"label\": \"file\", \"release\": \"file\", \"join\": [\"127.0.0.1:1\"], \"tag\": \"a=1\" }"
    )
    assert.isTrue(Result.isSuccess(file))
    const resolved = NodeSettings.resolve({
      flags: { name: "flag" },
      env: { SHOAL_LABEL: "env" },
      file: Result.getOrUndefined(file),
      hostname: "box",
      home: "/home/ada",
      version: "1.2.3"
    })
    assert.isTrue(Result.isSuccess(resolved))
    if (Result.isSuccess(resolved)) {
      const { join, label, name, release, tags } = resolved.success
      assert.deepStrictEqual({ join, label, name, release, tags }, {
        join: ["127.0.0.1:1"],
        label: "env",
        name: "flag",
        release: "file",
        tags: { a: "1" }
      })
    }
  })

  it("names the file and the setting when a value in it is wrong", () => {
    for (
      const [text, why] of [
        ["[]", /^f: not a JSON object/],
        ["{", /^f: not a JSON object/],
        ["{ \"bind\": 1 }", /^f: not a JSON object/],
        ["{ \"bnid\": \"x\" }", /^f: there is no setting "bnid"/],
        ["{ \"bind\": [\"127.0.0.1:1\"] }", /^f: bind takes one value/],
        ["{ \"bind\": \"x\" }", /^f: bind: "x" is not HOST:PORT/]
      ] as const
    ) {
      const result = Result.flatMap(
        NodeSettings.parseFile("f", text),
        (file) => NodeSettings.resolve({ flags: {}, env: {}, file, hostname: "box", home: "/", version: "1" })
      )
      assert.isTrue(Result.isFailure(result), text)
      if (Result.isFailure(result)) assert.match(result.failure, why)
    }
  })
})

describe("with a cluster key", () => {
  it("listens wherever it is told to", () => {
    const resolved = NodeSettings.resolve({
      flags: { bind: "0.0.0.0:7946", advertise: "10.0.0.1:7946", http: "[::]:80", rpc: "10.0.0.1:0" },
      env: {},
      hostname: "box",
      home: "/home/ada",
      version: "1.2.3",
      keyed: true
    })
    assert.isTrue(Result.isSuccess(resolved))
    if (Result.isSuccess(resolved)) assert.deepStrictEqual(resolved.success.bind, { host: "0.0.0.0", port: 7946 })
  })
})
