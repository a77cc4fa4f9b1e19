import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Store from "../../src/cluster/Store.ts"
import * as Aliases from "../../src/functions/Aliases.ts"
import * as CatalogState from "../../src/functions/CatalogState.ts"
import { CatalogCluster } from "./CatalogCluster.ts"

const three = ["a", "b", "c"]
const five = ["a", "b", "c", "d", "e"]

const started = (ids: ReadonlyArray<string>, seed = 1) => {
  const cluster = new CatalogCluster({ seed, ids })
  cluster.world.runFor(100)
  cluster.reign(1, ids[0] ?? "", { replicas: ids.slice(1, 2) })
  cluster.world.runFor(500)
  return cluster
}

const ips = (ids: ReadonlyArray<string>) => ids.map((id) => `10.0.0.${id.charCodeAt(0)}`)

const full = (files: Map<string, Uint8Array>): Store.Store["Service"] => ({
  ...Store.makeMemory(files),
  replace: (path) => new Store.StoreError({ operation: "replace", path, reason: "Full", detail: "no space left" })
})

describe("a deploy", () => {
  it("is on three disks when it is acknowledged and known everywhere at once, whichever node was asked", () => {
    const cluster = started(five)
    for (const [i, at] of five.entries()) {
      const version = cluster.get(cluster.deploy(at, `fn-${i}`, `export default () => ${i}`))
      assert.isAtLeast(cluster.holders(`fn-${i}`).length, 3)
      cluster.world.runFor(50)
      for (const id of five) assert.strictEqual(cluster.live(id, `fn-${i}`), version)
    }
  })

  it("works alone and with one other", () => {
    for (const ids of [["a"], ["a", "b"]]) {
      const cluster = started(ids)
      const version = cluster.get(cluster.deploy("a", "hello", "1"))
      assert.deepStrictEqual(cluster.holders("hello"), ids)
      assert.strictEqual(cluster.live("a", "hello"), version)
    }
  })

  it("of the same source gives the same version again, of another limit another", () => {
    const cluster = started(three)
    const first = cluster.get(cluster.deploy("b", "hello", "1"))
    const second = cluster.get(cluster.deploy("c", "hello", "2"))
    assert.strictEqual(cluster.get(cluster.deploy("a", "hello", "1")), first)
    assert.notStrictEqual(first, second)
    const limited = cluster.get(
      cluster.catalog("a").deploy({ name: "hello", bundle: new TextEncoder().encode("1"), limits: { instances: 1 } })
    )
    assert.notStrictEqual(limited.version, first)
    assert.strictEqual(limited.limits.instances, 1)
  })

  it("is refused with the field and the bound when the input is bad, and changes nothing", () => {
    const cluster = started(three)
    const bundle = new TextEncoder().encode("1")
    const refused = (deployment: Parameters<ReturnType<typeof cluster.catalog>["deploy"]>[0]) => {
      const error = cluster.error(cluster.catalog("b").deploy(deployment))
      return error._tag === "Invalid" ? error.detail : error._tag
    }
    assert.include(refused({ name: "No Name", bundle }), "name")
    assert.include(refused({ name: "hello", bundle, limits: { memoryMb: 1 } }), "from 16 to 16384")
    assert.include(refused({ name: "hello", bundle, env: { "1": "" } }), "env")
    assert.include(refused({ name: "hello", bundle: new Uint8Array(0) }), "0 bytes")
    assert.include(refused({ name: "hello", bundle, alias: "Live!" }), "alias")
    for (const id of three) assert.isUndefined(cluster.live(id, "hello"))
  })

  it("fails within 2 s when too few nodes can be reached, and never appears", () => {
    const cluster = started(three)
    const before = cluster.get(cluster.deploy("a", "hello", "1"))
    cluster.world.runFor(100)
    cluster.net.partition(ips(["a", "b"]), ips(["c"]))
    const from = cluster.world.now
    const error = cluster.error(cluster.deploy("a", "hello", "2"))
    assert.strictEqual(error._tag, "NotDurable")
    assert.isAtMost(cluster.world.now - from, 2100)
    if (error._tag === "NotDurable") assert.deepStrictEqual([error.copies, error.needed], [2, 3])
    for (const id of three) assert.strictEqual(cluster.live(id, "hello"), before)
    cluster.net.heal()
    cluster.world.runFor(10_000)
    cluster.reign(2, "b")
    cluster.world.runFor(10_000)
    for (const id of three) assert.strictEqual(cluster.live(id, "hello"), before)
    const again = cluster.get(cluster.deploy("c", "hello", "2"))
    cluster.world.runFor(100)
    for (const id of three) assert.strictEqual(cluster.live(id, "hello"), again)
  })

  it("fails with the cause when disks are full, and the cluster keeps serving", () => {
    const cluster = started(three)
    const before = cluster.get(cluster.deploy("a", "hello", "1"))
    cluster.kill("b")
    cluster.start("b", full)
    cluster.tellMembers()
    cluster.world.runFor(100)
    cluster.reign(1, "a", { replicas: ["b"] })
    cluster.world.runFor(3000)
    const error = cluster.error(cluster.deploy("a", "hello", "2"))
    assert.strictEqual(error._tag, "NotDurable")
    assert.include(error._tag === "NotDurable" ? error.detail : "", "no space left")
    for (const id of three) assert.strictEqual(cluster.live(id, "hello"), before)
    const manifest = cluster.get(cluster.catalog("b").resolve("hello", undefined))
    assert.strictEqual(manifest.version, before)
  })

  it("does not wait for nodes that hang while others answer", () => {
    const cluster = started(["a", "b", "c", "d", "e", "f"])
    for (const id of ["b", "c", "d"]) cluster.net.vanish(`10.0.0.${id.charCodeAt(0)}`)
    const from = cluster.world.now
    cluster.get(cluster.deploy("a", "hello", "1"))
    assert.isAtMost(cluster.world.now - from, 1000)
  })

  it("is refused by nodes that obey a higher reign and then done by its master", () => {
    const cluster = started(five)
    cluster.reign(2, "b", { to: ["b", "c", "d", "e"], replicas: ["c"] })
    const version = cluster.get(cluster.deploy("a", "hello", "1"))
    cluster.world.runFor(100)
    for (const id of five) assert.strictEqual(cluster.live(id, "hello"), version)
    const record = Option.getOrThrow(cluster.get(cluster.catalog("c").describe("hello")))
    assert.deepStrictEqual(CatalogState.current(record, "live")?.stamp.master, "b")
    assert.strictEqual(CatalogState.current(record, "live")?.stamp.epoch, 2)
  })

  it("is done again by the next master when its own is deposed before it is shown", () => {
    const cluster = started(["a", "b"])
    const fiber = cluster.fork(cluster.deploy("a", "hello", "1"))
    cluster.stepUntilPrepared(["b"])
    cluster.reign(2, "b")
    const exit = cluster.world.join(fiber, 5000)
    assert.isTrue(exit !== undefined && Exit.isSuccess(exit))
    cluster.world.runFor(3000)
    for (const id of ["a", "b"]) {
      const record = Option.getOrThrow(cluster.get(cluster.catalog(id).describe("hello")))
      assert.strictEqual(CatalogState.current(record, "live")?.stamp.epoch, 2)
    }
  })

  it("fails without a master, with the reign that is known", () => {
    const cluster = started(three)
    cluster.kill("a")
    const error = cluster.error(cluster.deploy("b", "hello", "1"))
    assert.strictEqual(error._tag, "NoMaster")
  })

  it("that a master left prepared is taken to its end by the next", () => {
    const cluster = started(three)
    cluster.fork(Effect.ignore(cluster.deploy("a", "hello", "1")))
    const holder = cluster.stepUntilPrepared(["b", "c"])
    cluster.kill("a")
    const successor = holder === "b" ? "c" : "b"
    assert.isUndefined(cluster.live(holder, "hello"))
    cluster.tellMembers()
    cluster.reign(2, successor, { replicas: [holder] })
    cluster.world.runFor(3000)
    const live = cluster.live(successor, "hello")
    assert.isDefined(live)
    assert.strictEqual(cluster.live(holder, "hello"), live)
    const manifest = cluster.get(cluster.catalog(successor).resolve("hello", "live"))
    assert.isDefined(cluster.get(cluster.catalog(successor).bundlePath(manifest.bundle)))
    assert.notInclude([...(cluster.disks.get(holder)?.keys() ?? [])].join(), "prepared/")
  })
})

describe("a new master", () => {
  it("has what the others have before its first write", () => {
    const cluster = started(three)
    cluster.net.partition(ips(["a", "b"]), ips(["c"]))
    cluster.tellGone(["a", "b"], ["c"])
    cluster.get(cluster.deploy("b", "hello", "1"))
    cluster.kill("a")
    cluster.net.heal()
    cluster.tellMembers()
    assert.isUndefined(cluster.live("c", "hello"))
    cluster.reign(2, "c")
    assert.isTrue(Exit.isSuccess(cluster.run(cluster.catalog("c").remove("hello"))))
    cluster.world.runFor(100)
    assert.isUndefined(cluster.live("b", "hello"))
  })
})

describe("a restart", () => {
  it("of all nodes after kill -9 brings everything back from their disks", () => {
    const cluster = started(five)
    const versions = new Map(
      ["one", "two"].map((name) => [name, cluster.get(cluster.deploy("d", name, `export default "${name}"`))])
    )
    for (const id of five) cluster.kill(id)
    for (const id of five) cluster.start(id)
    cluster.tellMembers()
    cluster.world.runFor(100)
    assert.deepStrictEqual(cluster.node("a").observed, [1])
    cluster.reign(2, "e")
    cluster.world.runFor(3000)
    for (const id of five) {
      for (const [name, version] of versions) {
        const manifest = cluster.get(cluster.catalog(id).resolve(name, undefined))
        assert.strictEqual(manifest.version, version)
        assert.include(cluster.get(cluster.catalog(id).bundlePath(manifest.bundle)), manifest.bundle)
      }
    }
    cluster.get(cluster.deploy("a", "three", "3"))
  })

  it("sets torn and altered files aside, says so, and gets them from the others", () => {
    const cluster = started(three)
    const version = cluster.get(cluster.deploy("a", "hello", "export default 1"))
    cluster.world.runFor(100)
    cluster.kill("b")
    const disk = cluster.disks.get("b") ?? new Map<string, Uint8Array>()
    const bundle = [...disk.keys()].find((path) => path.startsWith("bundles/")) ?? ""
    disk.set("records/hello", (disk.get("records/hello") ?? new Uint8Array(0)).slice(0, -3))
    disk.set(bundle, new TextEncoder().encode("export default 2"))
    cluster.start("b")
    cluster.tellMembers()
    cluster.world.runFor(100)
    assert.isUndefined(cluster.live("b", "hello"))
    const aside = cluster.logs.filter((line) => line.includes("set aside"))
    assert.lengthOf(aside, 2)
    assert.include(aside.join(), "records/hello")
    assert.include(aside.join(), bundle)
    assert.lengthOf([...disk.keys()].filter((path) => path.startsWith("aside/")), 2)
    cluster.reign(1, "a", { replicas: ["b"] })
    cluster.world.runFor(5000)
    assert.strictEqual(cluster.live("b", "hello"), version)
    assert.strictEqual(new TextDecoder().decode(disk.get(bundle)), "export default 1")
  })
})

describe("records and bundles", () => {
  it("reach a node within 5 s that was cut off during the deploy, and one that joins later", () => {
    const cluster = started(five)
    cluster.net.partition(ips(["a", "b", "c", "d"]), ips(["e"]))
    const version = cluster.get(cluster.deploy("a", "hello", "1"))
    cluster.world.runFor(1000)
    assert.isUndefined(cluster.live("e", "hello"))
    cluster.net.heal()
    cluster.disks.set("f", new Map())
    cluster.start("f")
    cluster.tellMembers()
    cluster.world.runFor(5000)
    assert.strictEqual(cluster.live("e", "hello"), version)
    assert.strictEqual(cluster.live("f", "hello"), version)
    const { bundle } = cluster.get(cluster.catalog("f").resolve("hello", `@${version.slice(0, 8)}`))
    assert.isUndefined(cluster.disks.get("f")?.get(`bundles/${bundle}`))
    assert.strictEqual(cluster.get(cluster.catalog("f").bundlePath(bundle)), `memory:bundles/${bundle}`)
    assert.deepStrictEqual(cluster.disks.get("f")?.get(`bundles/${bundle}`), new TextEncoder().encode("1"))
  })

  it("reach a node again that was silent for long on connections that stayed open", () => {
    const cluster = started(three)
    cluster.get(cluster.deploy("a", "one", "1"))
    cluster.net.partition(ips(["a", "b"]), ips(["c"]))
    cluster.world.runFor(30_000)
    cluster.net.heal()
    cluster.world.runFor(3000)
    const version = cluster.get(cluster.deploy("a", "two", "2"))
    assert.strictEqual(cluster.live("c", "two"), version)
    assert.strictEqual(cluster.get(cluster.catalog("c").resolve("two", undefined)).version, version)
  })

  it("of several megabytes arrive whole", () => {
    const cluster = started(three)
    const code = "x".repeat(3_000_000)
    cluster.get(cluster.deploy("c", "large", code))
    const { bundle } = cluster.get(cluster.catalog("b").resolve("large", undefined))
    for (const id of three) assert.strictEqual(cluster.disks.get(id)?.get(`bundles/${bundle}`)?.length, code.length)
  })

  it("come from another node when the first has altered bytes", () => {
    const cluster = started(five)
    cluster.get(cluster.deploy("a", "hello", "1"))
    cluster.world.runFor(100)
    const { bundle } = cluster.get(cluster.catalog("a").resolve("hello", undefined))
    cluster.disks.get("a")?.set(`bundles/${bundle}`, new TextEncoder().encode("2"))
    cluster.get(cluster.catalog("e").bundlePath(bundle))
    assert.deepStrictEqual(cluster.disks.get("e")?.get(`bundles/${bundle}`), new TextEncoder().encode("1"))
    assert.isTrue(cluster.logs.some((line) => line.includes("other bytes")))
  })

  it("that nobody has are an error that names who was asked", () => {
    const cluster = started(three)
    const error = cluster.error(cluster.catalog("b").bundlePath("0".repeat(64)))
    assert.match(error.detail, /none of a, c has the bundle/)
    assert.strictEqual(cluster.error(cluster.catalog("b").bundlePath("../../x")).detail, "not a digest")
  })

  it("are swept from the disk when no version has needed them for a while", () => {
    const cluster = started(three)
    cluster.get(cluster.deploy("a", "hello", "1"))
    const { bundle } = cluster.get(cluster.catalog("a").resolve("hello", undefined))
    cluster.get(cluster.catalog("a").remove("hello"))
    cluster.world.runFor(60_000)
    assert.isTrue(cluster.disks.get("a")?.has(`bundles/${bundle}`))
    cluster.world.runFor(15 * 60_000)
    assert.isFalse(cluster.disks.get("a")?.has(`bundles/${bundle}`))
  })
})

describe("a look-up", () => {
  it("asks others before it says that there is no such function", () => {
    const cluster = started(five)
    const version = cluster.get(cluster.deploy("a", "hello", "1"))
    cluster.disks.set("f", new Map())
    cluster.start("f")
    cluster.tellMembers()
    cluster.world.runFor(20)
    assert.isUndefined(cluster.live("f", "hello"))
    assert.strictEqual(cluster.get(cluster.catalog("f").resolve("hello", undefined)).version, version)
    for (
      const [name, reference] of [["nothing", undefined], ["hello", "canary"], ["hello", "@ffffff"], [
        "No",
        "!"
      ]] as const
    ) {
      const error = cluster.error(cluster.catalog("f").resolve(name, reference))
      assert.deepStrictEqual([error._tag, error.unavailable], ["NotFound", false])
    }
  })

  it("says that it cannot know when nobody answers", () => {
    const cluster = started(three)
    cluster.net.partition(ips(["a", "b"]), ips(["c"]))
    assert.isTrue(cluster.error(cluster.catalog("c").resolve("nothing", undefined)).unavailable)
  })
})

describe("a removal", () => {
  it("holds everywhere, across a restart and against a node that missed it", () => {
    const cluster = started(five)
    cluster.get(cluster.deploy("a", "hello", "1"))
    cluster.world.runFor(100)
    cluster.kill("e")
    cluster.tellMembers()
    cluster.get(cluster.catalog("d").remove("hello"))
    cluster.world.runFor(100)
    for (const id of ["a", "b", "c", "d"]) cluster.kill(id)
    for (const id of five) cluster.start(id)
    cluster.tellMembers()
    cluster.world.runFor(100)
    assert.isDefined(cluster.live("e", "hello"))
    cluster.reign(2, "e")
    cluster.world.runFor(5000)
    for (const id of five) assert.isUndefined(cluster.live(id, "hello"))
    const error = cluster.error(cluster.catalog("b").remove("hello"))
    assert.strictEqual(error._tag, "NotFound")
    const again = cluster.get(cluster.deploy("b", "hello", "1"))
    cluster.world.runFor(100)
    for (const id of five) assert.strictEqual(cluster.live(id, "hello"), again)
  })
})

describe("two masters in a partition", () => {
  it("both accept deploys, and after it one wins everywhere while the other stays in the history", () => {
    const cluster = started(["a", "b", "c", "d"])
    cluster.get(cluster.deploy("a", "hello", "0"))
    cluster.get(cluster.deploy("a", "left", "0"))
    cluster.net.partition(ips(["a", "b"]), ips(["c", "d"]))
    cluster.tellGone(["a", "b"], ["c", "d"])
    cluster.tellGone(["c", "d"], ["a", "b"])
    cluster.reign(2, "c", { to: ["c", "d"] })
    cluster.world.runFor(3000)
    const lost = cluster.get(cluster.deploy("b", "hello", "1"))
    const won = cluster.get(cluster.deploy("d", "hello", "2"))
    const left = cluster.get(cluster.deploy("a", "left", "1"))
    cluster.net.heal()
    cluster.tellMembers()
    cluster.reign(3, "c")
    cluster.world.runFor(10_000)
    for (const id of ["a", "b", "c", "d"]) {
      assert.strictEqual(cluster.live(id, "hello"), won)
      assert.strictEqual(cluster.live(id, "left"), left)
      const record = Option.getOrThrow(cluster.get(cluster.catalog(id).describe("hello")))
      const pairs = Aliases.conflicts(record.aliases["live"] ?? [])
      assert.deepStrictEqual(pairs.map((pair) => pair.map((move) => move.version)), [[won, lost]])
      assert.isTrue(Option.isSome(CatalogState.resolve(record, { _tag: "Version", prefix: lost })))
    }
  })
})

describe("changes", () => {
  it("tell the functions at the start and after each change", () => {
    const cluster = started(three)
    const seen: Array<string> = []
    const fiber = cluster.fork(
      cluster.catalog("c").changes.pipe(
        Stream.runForEach((view) => Effect.sync(() => void seen.push(view.functions.map((one) => one.name).join())))
      )
    )
    cluster.world.runFor(10)
    cluster.get(cluster.deploy("a", "one", "1"))
    cluster.world.runFor(100)
    cluster.get(cluster.deploy("a", "two", "2"))
    cluster.world.runFor(100)
    cluster.get(cluster.catalog("a").remove("one"))
    cluster.world.runFor(100)
    assert.deepStrictEqual([...new Set(seen)], ["", "one", "one,two", "two"])
    assert.isTrue(Exit.isSuccess(cluster.run(Fiber.interrupt(fiber))))
  })
})

describe("a run", () => {
  it("is the same for the same seed", () => {
    const trace = (seed: number) => {
      const cluster = started(five, seed)
      cluster.get(cluster.deploy("d", "hello", "1"))
      cluster.world.runFor(10_000)
      return [cluster.world.events, cluster.net.counters.bytes]
    }
    assert.deepStrictEqual(trace(5), trace(5))
    assert.notDeepEqual(trace(5), trace(6))
  })
})
