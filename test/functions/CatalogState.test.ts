import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Aliases from "../../src/functions/Aliases.ts"
import * as CatalogState from "../../src/functions/CatalogState.ts"
import * as Manifest from "../../src/functions/Manifest.ts"

const name = Manifest.FunctionName.make("hello")
const digestOf = (n: number): string => n.toString(16).padStart(64, "0")

const manifest = (n: number): Manifest.Manifest => ({
  name,
  version: digestOf(n),
  bundle: digestOf(1000 + n),
  size: 1,
  limits: Manifest.defaults,
  env: {},
  createdAt: 0
})

const stamp = (epoch: number, sequence: number, master = "a"): Aliases.Stamp => ({ epoch, sequence, master })

const deploy = (n: number, at: Aliases.Stamp, over?: Aliases.Stamp, alias = Manifest.live) =>
  CatalogState.deployment({ manifest: manifest(n), alias, stamp: at, at: at.sequence, over })

/** A write of some master, as a few small numbers, so that stamps and versions often meet. */
const Write = Schema.Tuple([
  Schema.Literals(["live", "canary", "remove", "abort"]),
  Schema.Literals([1, 2, 3]),
  Schema.Literals([1, 2, 3, 4, 5, 6]),
  Schema.Literals(["a", "b"])
])
const Writes = Schema.Array(Write).check(Schema.isMaxLength(12))

/** A stamp has one write, so what it writes follows from it. */
const fromWrite = ([kind, epoch, sequence, master]: typeof Write.Type): CatalogState.FunctionRecord => {
  const at = stamp(epoch, sequence * 4 + ["live", "canary", "remove", "abort"].indexOf(kind), master)
  if (kind === "remove") return CatalogState.removal(name, at)
  if (kind === "abort") return CatalogState.abortion(name, at)
  return deploy((epoch + sequence) % 5, at, undefined, kind)
}

const union = (records: ReadonlyArray<CatalogState.FunctionRecord>): CatalogState.FunctionRecord =>
  records.reduce(CatalogState.merge, CatalogState.empty(name))

const text = CatalogState.canonical

describe("merging records", () => {
  it.effect.prop("is commutative", [Writes, Writes], ([xs, ys]) =>
    Effect.sync(() => {
      const [a, b] = [union(xs.map(fromWrite)), union(ys.map(fromWrite))]
      assert.strictEqual(text(CatalogState.merge(a, b)), text(CatalogState.merge(b, a)))
    }))

  it.effect.prop("is associative", [Writes, Writes, Writes], ([xs, ys, zs]) =>
    Effect.sync(() => {
      const [a, b, c] = [union(xs.map(fromWrite)), union(ys.map(fromWrite)), union(zs.map(fromWrite))]
      assert.strictEqual(
        text(CatalogState.merge(CatalogState.merge(a, b), c)),
        text(CatalogState.merge(a, CatalogState.merge(b, c)))
      )
    }))

  it.effect.prop("is idempotent, and repeats change nothing", [Writes], ([xs]) =>
    Effect.sync(() => {
      const records = xs.map(fromWrite)
      const a = union(records)
      assert.strictEqual(text(CatalogState.merge(a, a)), text(a))
      assert.strictEqual(text(union([...records, ...records.toReversed()])), text(a))
    }))

  it.effect.prop("never names a version that is not there", [Writes], ([xs]) =>
    Effect.sync(() => {
      const record = union(xs.map(fromWrite))
      for (const alias of Object.keys(record.aliases)) {
        assert.isTrue(Option.isSome(CatalogState.resolve(record, { _tag: "Alias", alias })))
      }
    }))

  it("keeps the aliased versions and the last ten, in whatever order they arrive", () => {
    const writes = Array.from(
      { length: 30 },
      (_, i) => deploy(i + 1, stamp(1, i + 1), undefined, i === 3 ? "old" : "live")
    )
    const inOrder = union(writes)
    const expected = [30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 4].map(digestOf)
    assert.deepStrictEqual(inOrder.versions.map((entry) => entry.manifest.version), expected)
    assert.strictEqual(text(union(writes.toReversed())), text(inOrder))
    const [left, right] = [union(writes.filter((_, i) => i % 2 === 0)), union(writes.filter((_, i) => i % 3 > 0))]
    assert.strictEqual(text(CatalogState.merge(left, CatalogState.merge(right, inOrder))), text(inOrder))
  })

  it("remembers a bounded history", () => {
    const record = union(Array.from({ length: 100 }, (_, i) => deploy(i, stamp(1, i + 1))))
    assert.lengthOf(record.aliases["live"] ?? [], Aliases.maxHistory)
    const aborted = union(Array.from({ length: 100 }, (_, i) => CatalogState.abortion(name, stamp(1, i))))
    assert.isAtMost(aborted.aborted.length, 64)
  })
})

describe("a record", () => {
  it("serves the version of the highest stamp and reports the concurrent loser", () => {
    const first = deploy(1, stamp(1, 1))
    const left = deploy(2, stamp(2, 2, "a"), stamp(1, 1))
    const right = deploy(3, stamp(2, 2, "b"), stamp(1, 1))
    const record = union([right, first, left])
    assert.strictEqual(CatalogState.current(record, "live")?.version, digestOf(3))
    assert.deepStrictEqual(
      Aliases.conflicts(record.aliases["live"] ?? []).map((pair) => pair.map((move) => move.version)),
      [[digestOf(3), digestOf(2)]]
    )
  })

  it("is gone after its removal, for what came before it only", () => {
    const before = union([deploy(1, stamp(1, 1)), deploy(2, stamp(1, 2)), CatalogState.removal(name, stamp(1, 3))])
    assert.isFalse(CatalogState.isVisible(before))
    assert.deepStrictEqual(before.versions, [])
    const late = CatalogState.merge(before, deploy(1, stamp(1, 2, "z")))
    assert.isFalse(CatalogState.isVisible(late))
    const again = CatalogState.merge(late, deploy(1, stamp(1, 4)))
    assert.deepStrictEqual(
      CatalogState.resolve(again, { _tag: "Alias", alias: "live" }),
      Option.some(manifest(1))
    )
  })

  it("resolves aliases and unambiguous prefixes", () => {
    const record = union([deploy(0xab0001, stamp(1, 1)), deploy(0xab0002, stamp(1, 2))])
    const resolve = (reference: string | undefined) => {
      const parsed = Aliases.parse(reference)
      return parsed === undefined ? "junk" : Option.getOrUndefined(CatalogState.resolve(record, parsed))?.version
    }
    assert.strictEqual(resolve(undefined), digestOf(0xab0002))
    assert.strictEqual(resolve("live"), digestOf(0xab0002))
    assert.strictEqual(resolve(":live"), digestOf(0xab0002))
    assert.strictEqual(resolve(":canary"), undefined)
    assert.strictEqual(resolve(`@${digestOf(0xab0001)}`), digestOf(0xab0001))
    assert.strictEqual(resolve("@000000"), undefined)
    for (const junk of ["@00", "@xyzxyz", ":", "A b", "../x", "__proto__"]) {
      assert.strictEqual(resolve(junk), "junk", junk)
    }
  })

  it("knows whether it has a write", () => {
    const record = union([
      deploy(1, stamp(1, 1)),
      CatalogState.removal(name, stamp(1, 2)),
      deploy(1, stamp(1, 3)),
      CatalogState.abortion(name, stamp(1, 4))
    ])
    const verdicts = [1, 2, 3, 4, 5].map((sequence) => CatalogState.verdict(record, stamp(1, sequence)))
    assert.deepStrictEqual(verdicts, ["taken", "taken", "taken", "aborted", "unknown"])
    assert.deepStrictEqual(CatalogState.stampOf(deploy(1, stamp(4, 5))), stamp(4, 5))
    assert.deepStrictEqual(CatalogState.stampOf(CatalogState.removal(name, stamp(4, 6))), stamp(4, 6))
  })
})

describe("a catalog's state", () => {
  const named = (letter: string, sequence: number): CatalogState.FunctionRecord => {
    const other = Manifest.FunctionName.make(`fn-${letter}`)
    return CatalogState.deployment({
      manifest: { ...manifest(sequence), name: other },
      alias: "live",
      stamp: stamp(1, sequence),
      at: 0,
      over: undefined
    })
  }

  it("has the same digests for the same records, and finds the bucket that differs", () => {
    const writes = ["a", "b", "c", "d"].map((letter, i) => named(letter, i + 1))
    const [one, two] = [CatalogState.make(), CatalogState.make()]
    for (const write of writes) CatalogState.apply(one, write)
    for (const write of writes.toReversed()) CatalogState.apply(two, write)
    assert.strictEqual(CatalogState.digest(one), CatalogState.digest(two))
    assert.isUndefined(CatalogState.apply(one, named("a", 1)))
    assert.isDefined(CatalogState.apply(one, named("a", 9)))
    assert.notStrictEqual(CatalogState.digest(one), CatalogState.digest(two))
    const differing = Array.from({ length: CatalogState.buckets }, (_, i) => i)
      .filter((i) => CatalogState.bucketDigest(one, i) !== CatalogState.bucketDigest(two, i))
    assert.deepStrictEqual(differing, [CatalogState.bucketOf("fn-a")])
    CatalogState.apply(two, named("a", 9))
    assert.strictEqual(CatalogState.digest(one), CatalogState.digest(two))
    assert.strictEqual(CatalogState.digestOf(one, "fn-a"), CatalogState.digestOf(two, "fn-a"))
  })

  it("remembers the functions removed last, the same ones in whatever order it hears of them", () => {
    const removals = Array.from(
      { length: 9 },
      (_, i) => CatalogState.removal(Manifest.FunctionName.make(`f${i}`), stamp(1, 10 + (i * 4) % 9))
    )
    const digests = new Set<string>()
    for (let shift = 0; shift < removals.length; shift++) {
      const state = CatalogState.make({ keptRemoved: 3 })
      CatalogState.apply(state, deploy(1, stamp(1, 1)))
      for (const change of [...removals.slice(shift), ...removals.slice(0, shift), ...removals]) {
        CatalogState.apply(state, change)
      }
      const sequences = CatalogState.records(state).map(({ removed }) => removed?.sequence)
      assert.sameMembers(sequences, [undefined, 16, 17, 18])
      assert.isAtLeast(new Set(CatalogState.takeForgotten(state)).size, 6)
      assert.deepStrictEqual(CatalogState.takeForgotten(state), [])
      digests.add(CatalogState.digest(state))
    }
    assert.strictEqual(digests.size, 1)
  })

  it("stamps the next write above everything it has seen", () => {
    const state = CatalogState.make()
    assert.deepStrictEqual(CatalogState.nextStamp(state, { epoch: 1, master: "a", above: 0 }), stamp(1, 1))
    CatalogState.apply(state, named("a", 7))
    CatalogState.apply(state, CatalogState.abortion(name, stamp(1, 9)))
    assert.deepStrictEqual(CatalogState.nextStamp(state, { epoch: 2, master: "b", above: 0 }), stamp(2, 10, "b"))
    assert.deepStrictEqual(CatalogState.nextStamp(state, { epoch: 2, master: "b", above: 12 }), stamp(2, 13, "b"))
  })

  it("counts what can be called and knows which bundles it needs", () => {
    const state = CatalogState.make()
    CatalogState.apply(state, deploy(1, stamp(1, 1)))
    CatalogState.apply(state, named("b", 2))
    CatalogState.apply(state, CatalogState.removal(name, stamp(1, 3)))
    assert.strictEqual(state.visible, 1)
    assert.deepStrictEqual([...CatalogState.bundles(state).keys()], [digestOf(1002)])
  })
})
