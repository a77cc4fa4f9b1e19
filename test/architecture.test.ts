/** The house rules over the real files, each rule shown a violation it must catch. */
import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Architecture from "./tools/Architecture.ts"

const root = Path.resolve(import.meta.dirname, "..")

const read = (folder: string): ReadonlyArray<readonly [string, string]> =>
  Fs.existsSync(Path.join(root, folder))
    ? Fs.readdirSync(Path.join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .map((name) => [`${folder}/${name}`, Fs.readFileSync(Path.join(root, folder, name), "utf8")])
    : []

const files: Architecture.Files = new Map(["src", "test", "examples"].flatMap(read))

interface Example {
  readonly rule: Architecture.Rule
  readonly holds: string
  /** Each map of files has exactly one violation. */
  readonly bad: ReadonlyArray<Record<string, string>>
  readonly good: ReadonlyArray<Record<string, string>>
}

const lines = (count: number, line = "x()"): string => `${line}\n`.repeat(count)

const examples: ReadonlyArray<Example> = [
  {
    rule: Architecture.parses,
    holds: "every file parses",
    bad: [{ "src/swim/Swim.ts": "const = 1" }],
    good: [{ "src/swim/Swim.ts": "export const swim = 1" }]
  },
  {
    rule: Architecture.direction,
    holds: "imports point from cli towards swim",
    bad: [
      { "src/swim/Swim.ts": `import * as Packet from "../wire/Packet.ts"` },
      { "src/wire/Packet.ts": `export type { Node } from "../node/Node.ts"` },
      { "src/cluster/Role.ts": `type Route = import("../functions/Router.ts").Route` },
      { "src/deploy/Rollout.ts": `const node = () => import("../node/Node.ts")` },
      { "src/testing/World.ts": `import "../node/Node.ts"` },
      { "src/testing/World.ts": `import "../cli/main.ts"` },
      { "src/cli/Simulate.ts": `import * as World from "../testing/World.ts"` },
      { "src/cli/Run.ts": `const world = () => import("../testing/World.ts")` },
      { "src/node/Node.ts": `import * as Shoal from "../index.ts"` },
      { "src/node/Node.ts": `import * as Entries from "../../test/tools/Entries.ts"` },
      { "src/node/Node.ts": `import manifest from "../../package.json" with { type: "json" }` },
      { "src/index.ts": `export * as Run from "./cli/Run.ts"` },
      { "src/index.ts": `export * as World from "./testing/World.ts"` }
    ],
    good: [
      { "src/wire/Packet.ts": `import * as Swim from "../swim/Swim.ts"\nimport "./Frame.ts"` },
      { "src/cli/Simulate.ts": `const world = () => import("../testing/World.ts")` },
      { "src/cli/Version.ts": `import manifest from "../../package.json" with { type: "json" }` },
      { "src/testing/World.ts": `import "../deploy/Rollout.ts"` },
      { "src/index.ts": `export * as Node from "./node/Node.ts"` }
    ]
  },
  {
    rule: Architecture.knownFolders,
    holds: "src has the folders of the house only",
    bad: [{ "src/extra/Noun.ts": "" }, { "src/Noun.ts": "" }],
    good: [{ "src/index.ts": "", "src/node/executor/HostMain.ts": "", "src/testing/World.ts": "" }]
  },
  {
    rule: Architecture.platform,
    holds: "the platform is reached from src/node",
    bad: [
      { "src/deploy/Source.ts": `import * as Fs from "node:fs"` },
      { "src/wire/Seal.ts": `import * as Crypto from "node:crypto"` },
      { "src/testing/World.ts": `const load = () => import("node:fs")` },
      { "src/cli/main.ts": `import * as NodeRuntime from "@effect/platform-node/NodeRuntime"` }
    ],
    good: [
      { "src/node/executor/HostMain.ts": `import "node:fs"\nimport "@effect/platform-node/NodeRuntime"` },
      { "src/cli/main.ts": `import process from "node:process"` }
    ]
  },
  {
    rule: Architecture.pureImports,
    holds: "pure modules import data modules only",
    bad: [
      { "src/swim/Swim.ts": `import * as Effect from "effect/Effect"` },
      { "src/swim/Swim.ts": `import type * as Random from "effect/Random"` },
      { "src/swim/Swim.ts": `import * as Cause from "effect/Cause"` },
      { "src/swim/Swim.ts": `import * as SchemaBinary from "effect/encoding/SchemaBinary"` },
      { "src/wire/Packet.ts": `import * as Stream from "effect/Stream"` },
      { "src/wire/Packet.ts": `import * as Crypto from "node:crypto"` },
      { "src/cluster/Role.ts": `/** PURE. Roles. */\nimport * as Queue from "effect/Queue"` },
      { "src/cluster/Role.ts": `/** PURE. */\nimport "./Store.ts"`, "src/cluster/Store.ts": "/** Disk. */" }
    ],
    good: [
      { "src/swim/Swim.ts": `import * as Option from "effect/Option"\nimport * as Hex from "effect/encoding/Hex"` },
      { "src/wire/Packet.ts": `import "effect/encoding/SchemaBinary"\nimport "effect/Exit"` },
      { "src/cluster/Role.ts": `/** PURE. */\nimport "./Reign.ts"`, "src/cluster/Reign.ts": "/** PURE. */" },
      { "src/cluster/Store.ts": `/** Not pure. */\nimport * as Effect from "effect/Effect"` }
    ]
  },
  {
    rule: Architecture.pureGlobals,
    holds: "pure modules take time and chance as input",
    bad: [
      { "src/swim/Swim.ts": "const now = Date.now()" },
      { "src/swim/Swim.ts": "const now = new Date()" },
      { "src/swim/Prng.ts": "const seed = Math.random()" },
      { "src/cluster/Reign.ts": "/** PURE. */\nconst now = DateTime.nowUnsafe()" },
      { "src/wire/Packet.ts": "setTimeout(send, 1)" },
      { "src/deploy/Rollout.ts": "/** PURE. */\nconst cwd = process.cwd()" }
    ],
    good: [
      { "src/swim/Swim.ts": "const size = Math.max(1, state.process)" },
      { "src/membership/Membership.ts": "/** Shell. */\nconst now = Date.now()" }
    ]
  },
  {
    rule: Architecture.sizes,
    holds: "files and functions stay short",
    bad: [
      { "src/swim/Swim.ts": lines(601) },
      { "test/swim/Swim.test.ts": lines(601) },
      { "src/swim/Swim.ts": `const step = () => {\n${lines(68)}}` },
      { "src/swim/Swim.ts": `class Swim {\n  step() {\n${lines(68)}}\n}` },
      { "src/swim/Swim.ts": `const step = () => {\n${lines(60)}later(() => {\n${lines(20)}})\n${lines(10)}}` }
    ],
    good: [
      { "src/swim/Swim.ts": lines(600) },
      { "src/swim/Swim.ts": `const step = () => {\n${lines(67)}}` },
      { "src/swim/Swim.ts": `const step = () => {\n${lines(40)}const inner = () => {\n${lines(60)}}\n}` },
      { "test/swim/Swim.test.ts": `const suite = () => {\n${lines(100)}}` }
    ]
  },
  {
    rule: Architecture.headers,
    holds: "every source opens with a comment",
    bad: [{ "src/swim/Swim.ts": "export const swim = 1 /* late */" }, { "src/swim/Swim.ts": "/** */" }],
    good: [{ "src/swim/Swim.ts": "/** The machine. */" }, { "src/cli/main.ts": "#!/usr/bin/env node\n/** Starts. */" }]
  },
  {
    rule: Architecture.deadFiles,
    holds: "every source is reached from an entry",
    bad: [
      { "src/index.ts": "", "src/swim/Swim.ts": "" },
      { "src/index.ts": "", "src/swim/Swim.ts": `import "./Probe.ts"\nimport "../index.ts"`, "src/cli/main.ts": "" }
    ],
    good: [
      { "src/index.ts": `export * as Swim from "./swim/Swim.ts"`, "src/swim/Swim.ts": `import "./Probe.ts"` },
      { "src/index.ts": "", "src/testing/index.ts": `import "./World.ts"`, "src/testing/World.ts": "" },
      { "src/index.ts": "", "src/node/executor/HostMain.ts": "" },
      {
        "src/index.ts": `const path = new URL("./node/Loop.ts", import.meta.url)`,
        "src/node/Loop.ts": `const more = () => import("./More.ts")`,
        "src/node/More.ts": ""
      }
    ]
  },
  {
    rule: Architecture.names,
    holds: "sources are named by PascalCase nouns",
    bad: ["swim", "Swim-er", "utils", "Utils", "PacketHelpers", "Types", "RouterLive", "Scheduler"].map((name) => ({
      [`src/swim/${name}.ts`]: ""
    })).concat([{ "src/swim/helpers/Probe.ts": "" }]),
    good: [{ "src/index.ts": "", "src/cli/main.ts": "", "src/node/executor/HostMain.ts": "", "src/swim/Prng.ts": "" }]
  },
  {
    rule: Architecture.wholeTests,
    holds: "no test is switched off, singled out, retried or mocked",
    bad: [
      `it.skip("sleeps", run)`,
      `it.effect.only("alone", run)`,
      `describe.todo("later")`,
      `it.effect("sleeps", run, { skip: true })`,
      `it("flaky", { retry: 3 }, run)`,
      `vi.mock("./Clock.ts")`
    ].map((text) => ({ "test/swim/Swim.test.ts": text })),
    good: [{ "test/swim/Swim.test.ts": `it("a .skip in a name", () => Stream.skip(queue.only, { todo: 1 }))` }]
  },
  {
    rule: Architecture.doubleCasts,
    holds: "no value is cast through another type",
    bad: [{ "src/swim/Swim.ts": "const id = 1 as unknown as string" }],
    good: [{ "src/swim/Swim.ts": "const id = value as string" }]
  },
  {
    rule: Architecture.serviceKeys,
    holds: "a service key is the package, the folder and the class",
    bad: [
      { "src/functions/Router.ts": `class Router extends Context.Service<Router, {}>()("shoal/Router") {}` },
      { "src/cluster/Role.ts": `const Role = Context.Reference<number>("shoal/Role", { defaultValue: () => 1 })` }
    ],
    good: [
      { "src/functions/Router.ts": `class Router extends Context.Service<Router, {}>()("shoal/functions/Router") {}` },
      { "src/functions/Router.ts": `class Lost extends Schema.TaggedError<Lost>()("Lost", {}) {}` }
    ]
  }
]

describe("architecture", () => {
  for (const { bad, good, holds, rule } of examples) {
    it(holds, () => assert.deepStrictEqual(rule(files), []))

    it(`the rule "${holds}" sees a violation and nothing else`, () => {
      for (const example of bad) {
        assert.lengthOf(rule(new Map(Object.entries(example))), 1, JSON.stringify(example).slice(0, 200))
      }
      for (const example of good) assert.deepStrictEqual(rule(new Map(Object.entries(example))), [])
    })
  }
})
