import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { Cipher } from "../../src/membership/Cipher.ts"
import * as ClusterKey from "../../src/membership/ClusterKey.ts"
import * as Keyring from "../../src/membership/Keyring.ts"
import * as Sealing from "../../src/membership/Sealing.ts"
import * as NodeCipher from "../../src/node/NodeCipher.ts"
import * as Prng from "../../src/swim/Prng.ts"
import * as Envelope from "../../src/wire/Envelope.ts"
import * as Messages from "../wire/Messages.ts"

const label = Envelope.label("shoal")
const payload = Uint8Array.of(0, 3, 1, 2, 3)
const secret = (fill: number, bytes = 32) => Result.getOrThrow(ClusterKey.make(new Uint8Array(bytes).fill(fill)))

/** A node's keyring and what it seals with. */
const node = Effect.fnUntraced(function*(keys: ReadonlyArray<ClusterKey.Secret>, name = "shoal") {
  const cipher = yield* Cipher
  const made = yield* Keyring.make({ given: keys, saved: undefined, save: () => Effect.void })
  if (made === undefined) return assert.fail("no ring")
  const { keyring } = made
  return { keyring, ...Sealing.sealed({ label: Envelope.label(name), ring: keyring.ring, cipher }) }
})

const refused = (result: Result.Result<Uint8Array, string>): string | undefined =>
  Result.isFailure(result) ? result.failure : undefined

describe("Sealing without a key", () => {
  it("opens what it sealed and refuses another label, a sealed packet and an envelope in an envelope", () => {
    const one = Sealing.clear(label)
    const bytes = one.seal(payload)
    assert.strictEqual(bytes.length, payload.length + one.overhead)
    assert.deepStrictEqual(one.open(bytes), Result.succeed(payload))
    assert.strictEqual(refused(Sealing.clear(Envelope.label("other")).open(bytes)), "other-label")
    assert.strictEqual(refused(one.open(one.seal(bytes))), "nested")
  })

  it.effect("cannot open what is sealed", () =>
    Effect.gen(function*() {
      const keyed = yield* node([secret(1)])
      assert.strictEqual(refused(Sealing.clear(label).open(keyed.seal(payload))), "sealed-without-key")
    }).pipe(Effect.provide(NodeCipher.layer)))
})

describe("Sealing with a keyring", () => {
  for (const bytes of [16, 24, 32]) {
    it.effect(`carries packets between nodes with a key of ${bytes * 8} bits`, () =>
      Effect.gen(function*() {
        const [a, b] = [yield* node([secret(1, bytes)]), yield* node([secret(1, bytes)])]
        const sealed = a.seal(payload)
        assert.strictEqual(sealed.length, payload.length + a.overhead)
        assert.isAtMost(a.overhead, 45)
        assert.deepStrictEqual(b.open(sealed), Result.succeed(payload))
        assert.notDeepEqual(a.seal(payload), a.seal(payload))
      }).pipe(Effect.provide(NodeCipher.layer)))
  }

  it.effect("opens nothing in which a single bit was changed", () =>
    Effect.gen(function*() {
      const [a, b] = [yield* node([secret(1)]), yield* node([secret(1)])]
      const sealed = a.seal(payload)
      for (let bit = 0; bit < sealed.length * 8; bit++) {
        const forged = sealed.slice()
        forged[bit >> 3] = (forged[bit >> 3] ?? 0) ^ (1 << (bit & 7))
        assert.isDefined(refused(b.open(forged)), `bit ${bit}`)
      }
      for (let length = 0; length < sealed.length; length++) {
        assert.isDefined(refused(b.open(sealed.subarray(0, length))), `${length} bytes`)
      }
      assert.deepStrictEqual(b.open(sealed), Result.succeed(payload))
    }).pipe(Effect.provide(NodeCipher.layer)))

  it.effect("says why it refuses: other key, other label, in clear, forged, nested", () =>
    Effect.gen(function*() {
      const [a, b] = [yield* node([secret(1)]), yield* node([secret(1)])]
      const stranger = yield* node([secret(2)])
      const elsewhere = yield* node([secret(1)], "elsewhere")
      assert.strictEqual(refused(a.open(stranger.seal(payload))), "unknown-key")
      assert.strictEqual(refused(a.open(elsewhere.seal(payload))), "other-label")
      assert.strictEqual(refused(a.open(Sealing.clear(label).seal(payload))), "not-sealed")
      const relabelled = elsewhere.seal(payload)
      relabelled.set(a.seal(payload).subarray(0, 8))
      assert.strictEqual(refused(a.open(relabelled)), "forged")
      assert.strictEqual(refused(a.open(b.seal(b.seal(payload)))), "nested")
      let deep: Uint8Array = payload
      for (let i = 0; i < 500; i++) deep = b.seal(deep)
      assert.strictEqual(refused(a.open(deep)), "nested")
    }).pipe(Effect.provide(NodeCipher.layer)))

  it.effect("opens a packet once, and none of its own", () =>
    Effect.gen(function*() {
      const [a, b] = [yield* node([secret(1)]), yield* node([secret(1)])]
      const sealed = a.seal(payload)
      assert.isUndefined(refused(b.open(sealed)))
      assert.strictEqual(refused(b.open(sealed)), "replayed")
      assert.strictEqual(refused(a.open(sealed)), "reflected")
    }).pipe(Effect.provide(NodeCipher.layer)))

  it.effect("rotates without losing a packet: install, use, remove", () =>
    Effect.gen(function*() {
      const nodes = [yield* node([secret(1)]), yield* node([secret(1)]), yield* node([secret(1)])]
      const old = nodes[0]?.keyring.ring.primary().id ?? ""
      const everybodyHearsEverybody = () => {
        for (const from of nodes) {
          for (const to of nodes) if (from !== to) assert.isUndefined(refused(to.open(from.seal(payload))))
        }
      }
      for (const { keyring } of nodes) {
        yield* keyring.install(secret(2))
        everybodyHearsEverybody()
      }
      const fresh = (yield* nodes[0]?.keyring.install(secret(2)) ?? Effect.die("no node")).id
      for (const { keyring } of nodes) {
        yield* keyring.use(fresh)
        everybodyHearsEverybody()
      }
      const recorded = (yield* node([secret(1)])).seal(payload)
      for (const { keyring } of nodes) {
        yield* keyring.remove(old)
        everybodyHearsEverybody()
      }
      for (const { open } of nodes) assert.strictEqual(refused(open(recorded)), "unknown-key")
    }).pipe(Effect.provide(NodeCipher.layer)))

  it.effect("tries every key that shares a hint", () =>
    Effect.gen(function*() {
      const cipher = yield* Cipher
      const keys = [1, 2].map((fill) => ({ ...ClusterKey.derive(cipher, secret(fill)), hint: 7 }))
      const ring = (first: number): Keyring.Ring => {
        const primary = keys[first] ?? assert.fail("no key")
        return { primary: () => primary, keys: () => keys, get: () => undefined, onRemoved: () => () => {} }
      }
      const a = Sealing.sealed({ label, cipher, ring: ring(1) })
      const b = Sealing.sealed({ label, cipher, ring: ring(0) })
      assert.deepStrictEqual(b.open(a.seal(payload)), Result.succeed(payload))
    }).pipe(Effect.provide(NodeCipher.layer)))

  it.effect("never uses a nonce twice", () =>
    Effect.gen(function*() {
      const cipher = yield* Cipher
      let drawn = 0
      const counted = { ...cipher, random: (bytes: number) => new Uint8Array(bytes).fill(++drawn) }
      const made = yield* Keyring.make({ given: [secret(1)], saved: undefined, save: () => Effect.void })
      if (made === undefined) return assert.fail("no ring")
      const one = Sealing.sealed({ label, cipher: counted, ring: made.keyring.ring })
      const nonces = new Set<string>()
      for (let i = 0; i < 10_000; i++) nonces.add(one.seal(payload).subarray(10, 22).join())
      assert.strictEqual(nonces.size, 10_000)
      assert.strictEqual(drawn, 1)
    }).pipe(Effect.provide(NodeCipher.layer)))

  it.effect("is total and refuses all of 20,000 mutated, truncated and random packets", () =>
    Effect.gen(function*() {
      const [a, b] = [yield* node([secret(1)]), yield* node([secret(1)])]
      const random = Prng.make(21)
      for (let i = 0; i < 20_000; i++) {
        const sealed = a.seal(payload)
        const mutated = Messages.mutate(random, sealed)
        if (mutated.length === sealed.length && mutated.every((byte, at) => byte === sealed[at])) continue
        assert.isDefined(refused(b.open(mutated)))
      }
    }).pipe(Effect.provide(NodeCipher.layer)))
})
