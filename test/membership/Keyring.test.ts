import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { inspect } from "node:util"
import * as ClusterKey from "../../src/membership/ClusterKey.ts"
import * as Keyring from "../../src/membership/Keyring.ts"
import * as NodeCipher from "../../src/node/NodeCipher.ts"

const secret = (fill: number, bytes = 32) => Result.getOrThrow(ClusterKey.make(new Uint8Array(bytes).fill(fill)))

const open = Effect.fnUntraced(function*(options: Partial<Keyring.Options> = {}) {
  const written: Array<Keyring.Saved> = []
  const made = yield* Keyring.make({
    given: [secret(1)],
    saved: undefined,
    save: (saved) => Effect.sync(() => written.push(saved)),
    ...options
  })
  if (made === undefined) return assert.fail("no ring")
  return { ...made, written }
})

const ids = (keys: ReadonlyArray<Keyring.KeyInfo>) => keys.map(({ id }) => id)

describe("ClusterKey", () => {
  it("reads base64 in both alphabets, padded or not, and writes it back", () => {
    const bytes = Uint8Array.from({ length: 32 }, (_, i) => 255 - i)
    const text = ClusterKey.format(Result.getOrThrow(ClusterKey.make(bytes)))
    for (const given of [text, ` ${text}\n`, text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "")]) {
      assert.deepStrictEqual(Redacted.value(Result.getOrThrow(ClusterKey.parse(given))), bytes)
    }
  })

  it("refuses what is no key without repeating it", () => {
    for (const given of ["", "hunter2", "AAAA", "A".repeat(44), "!".repeat(44), "x".repeat(10_000)]) {
      const parsed = ClusterKey.parse(given)
      assert.isTrue(Result.isFailure(parsed))
      if (Result.isFailure(parsed) && given !== "") assert.notInclude(parsed.failure, given)
    }
  })

  it.effect("derives for every purpose something that does not give the key away", () =>
    Effect.gen(function*() {
      const { keyring } = yield* open()
      const key = keyring.ring.primary()
      assert.match(key.id, /^[0-9a-f]{16}$/)
      assert.strictEqual(key.bits, 256)
      assert.match(Redacted.value(key.token), /^[A-Za-z0-9_-]{43}$/)
      const shown = inspect(key, { depth: 9 }) + JSON.stringify(key)
      assert.notInclude(shown, ClusterKey.format(key.secret))
      assert.notInclude(shown, Redacted.value(key.token))
    }).pipe(Effect.provide(NodeCipher.layer)))
})

describe("Keyring", () => {
  it.effect("rotates: installs, uses, removes, and writes every step down", () =>
    Effect.gen(function*() {
      const { keyring, written } = yield* open()
      const gone: Array<string> = []
      keyring.ring.onRemoved((id) => gone.push(id))
      const [first] = yield* keyring.list
      const second = yield* keyring.install(secret(2, 16))
      assert.deepStrictEqual(yield* keyring.list, [
        { id: first?.id ?? "", bits: 256, primary: true },
        { id: second.id, bits: 128, primary: false }
      ])
      yield* keyring.use(second.id)
      assert.strictEqual(keyring.ring.primary().id, second.id)
      yield* keyring.remove(first?.id ?? "")
      assert.deepStrictEqual(ids(yield* keyring.list), [second.id])
      assert.deepStrictEqual(gone, [first?.id])
      assert.deepStrictEqual(written.map(({ keys }) => keys.length), [1, 2, 2, 1])
      assert.deepStrictEqual(written.at(-1)?.removed, [first?.id ?? ""])
    }).pipe(Effect.provide(NodeCipher.layer)))

  it.effect("refuses what would leave it without a key that seals", () =>
    Effect.gen(function*() {
      const { keyring, written } = yield* open()
      const { id } = keyring.ring.primary()
      assert.strictEqual((yield* Effect.flip(keyring.remove(id))).reason, "in-use")
      assert.strictEqual((yield* Effect.flip(keyring.remove("0000"))).reason, "unknown-key")
      assert.strictEqual((yield* Effect.flip(keyring.use("0000"))).reason, "unknown-key")
      assert.strictEqual(written.length, 1)
    }).pipe(Effect.provide(NodeCipher.layer)))

  it.effect("does not repeat what was typed in place of a fingerprint", () =>
    Effect.gen(function*() {
      const { keyring } = yield* open()
      const typed = ClusterKey.format(secret(9))
      assert.notInclude((yield* Effect.flip(keyring.use(typed))).message, typed)
    }).pipe(Effect.provide(NodeCipher.layer)))

  it.effect("holds a bounded number of keys, and the same key once", () =>
    Effect.gen(function*() {
      const { keyring } = yield* open()
      for (let i = 2; i <= Keyring.maxKeys; i++) yield* keyring.install(secret(i))
      yield* keyring.install(secret(2))
      assert.strictEqual((yield* Effect.flip(keyring.install(secret(99)))).reason, "full")
      assert.strictEqual((yield* keyring.list).length, Keyring.maxKeys)
    }).pipe(Effect.provide(NodeCipher.layer)))

  it.effect("stays as it was when it cannot be written", () =>
    Effect.gen(function*() {
      let full = false
      const { keyring } = yield* open({
        save: () => full ? Effect.fail(new Keyring.KeyringError({ reason: "not-saved", id: "" })) : Effect.void
      })
      full = true
      assert.strictEqual((yield* Effect.flip(keyring.install(secret(2)))).reason, "not-saved")
      assert.strictEqual((yield* keyring.list).length, 1)
    }).pipe(Effect.provide(NodeCipher.layer)))

  it.effect("is the same after a restart, whatever the configuration still says", () =>
    Effect.gen(function*() {
      const before = yield* open()
      const first = before.keyring.ring.primary().id
      const { id } = yield* before.keyring.install(secret(2))
      yield* before.keyring.use(id)
      yield* before.keyring.remove(first)
      const after = yield* open({ saved: before.written.at(-1), given: [secret(1), secret(2), secret(3)] })
      assert.deepStrictEqual(after.given.map(({ outcome }) => outcome), ["removed", "known", "installed"])
      assert.strictEqual(after.keyring.ring.primary().id, id)
      assert.strictEqual((yield* after.keyring.list).length, 2)
    }).pipe(Effect.provide(NodeCipher.layer)))

  it.effect("takes a removed key back when it is installed on purpose", () =>
    Effect.gen(function*() {
      const { keyring, written } = yield* open({ given: [secret(1), secret(2)] })
      const { id } = yield* keyring.install(secret(2))
      yield* keyring.remove(id)
      yield* keyring.install(secret(2))
      assert.deepStrictEqual(written.at(-1)?.removed, [])
    }).pipe(Effect.provide(NodeCipher.layer)))

  it.effect("is no ring without keys, and no ring from a broken file", () =>
    Effect.gen(function*() {
      const none = yield* Keyring.make({ given: [], saved: undefined, save: () => Effect.void })
      assert.isUndefined(none)
      const saved = { version: 1, primary: "", keys: ["junk"], removed: [] } as const
      const error = yield* Effect.flip(Keyring.make({ given: [], saved, save: () => Effect.void }))
      assert.strictEqual(error.reason, "bad-key")
    }).pipe(Effect.provide(NodeCipher.layer)))
})
