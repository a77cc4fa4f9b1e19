/** The keys of a cluster that this node holds: any of them opens, one of them seals; all of it may change at run time.
 *
 * Job: install, use and remove, each written down before it takes effect, so that a restart finds the same ring.
 * Boundary: derivation is `ClusterKey`'s, sealing `Sealing`'s; bringing a change to all nodes is the control plane's.
 * A rotation without a gap is: install everywhere, use everywhere, remove everywhere.
 * Invariants: M5 (at most `maxKeys`); there is always exactly one key that seals. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import { Cipher } from "./Cipher.ts"
import * as ClusterKey from "./ClusterKey.ts"

export const maxKeys = 8
/** Fingerprints of removed keys that are remembered, so that a stale configuration does not bring one back. */
const maxRemoved = 64

const sentences = {
  "bad-key": "that is no key",
  "unknown-key": "the ring does not hold that key",
  "in-use": "the ring seals with that key; use another one first",
  full: `the ring is full: ${maxKeys} keys; remove one first`,
  "no-ring": "this node runs without a cluster key",
  "not-saved": "the ring could not be written to the folder of the node"
} as const

/** The ring was not changed. Fault: the request, or for `not-saved` the disk. State: unchanged. Retry: `not-saved` after
 * the cause is gone; the others need another request. */
export class KeyringError extends Schema.TaggedError<KeyringError>()("KeyringError", {
  reason: Schema.Literals(["bad-key", "unknown-key", "in-use", "full", "no-ring", "not-saved"]),
  /** fingerprint, or empty */
  id: Schema.String
}) {
  override get message(): string {
    return this.id === "" ? sentences[this.reason] : `${sentences[this.reason]} (${this.id})`
  }
}

/** A key as it may be shown. */
export const KeyInfo = Schema.Struct({ id: Schema.String, bits: Schema.Int, primary: Schema.Boolean })
export type KeyInfo = typeof KeyInfo.Type

/** What a node writes down: keys in base64. Secret. */
export const Saved = Schema.Struct({
  version: Schema.Literal(1),
  primary: Schema.String,
  keys: Schema.Array(Schema.String),
  removed: Schema.Array(Schema.String)
})
export type Saved = typeof Saved.Type

/** The ring as it is now; read at every packet and handshake. */
export interface Ring {
  readonly primary: () => ClusterKey.ClusterKey
  readonly keys: () => ReadonlyArray<ClusterKey.ClusterKey>
  readonly get: (id: string) => ClusterKey.ClusterKey | undefined
  /** Calls back with the fingerprint of every key that is removed from now on; the result ends that. */
  readonly onRemoved: (listener: (id: string) => void) => () => void
}

export class Keyring extends Context.Service<Keyring, {
  readonly ring: Ring
  /** what the keys were derived with, and packets are sealed with */
  readonly cipher: Cipher["Service"]
  readonly list: Effect.Effect<ReadonlyArray<KeyInfo>>
  /** Adds a key that opens from now on. One that is there already is no error. */
  readonly install: (secret: ClusterKey.Secret) => Effect.Effect<KeyInfo, KeyringError>
  /** Seals with an installed key from now on. */
  readonly use: (id: string) => Effect.Effect<void, KeyringError>
  /** Forgets a key; connections that were opened with it end. */
  readonly remove: (id: string) => Effect.Effect<void, KeyringError>
}>()("shoal/membership/Keyring") {}

interface State {
  readonly keys: ReadonlyArray<ClusterKey.ClusterKey>
  readonly primary: ClusterKey.ClusterKey
  readonly removed: ReadonlyArray<string>
}

const toSaved = (state: State): Saved => ({
  version: 1,
  primary: state.primary.id,
  keys: state.keys.map(({ secret }) => ClusterKey.format(secret)),
  removed: state.removed
})

/** What became of a key that was given at the start. */
export interface Given {
  readonly id: string
  /** `removed`: it had been taken out of the ring and stays out; `full`: there was no room for it */
  readonly outcome: "known" | "installed" | "removed" | "full"
}

export interface Options {
  /** The first seals, if nothing was saved. */
  readonly given: ReadonlyArray<ClusterKey.Secret>
  readonly saved: Saved | undefined
  /** Fails with `not-saved`, having logged the cause. */
  readonly save: (saved: Saved) => Effect.Effect<void, KeyringError>
}

/** A ring from what was saved and what was given, in that order; `None` when both are empty. */
export const make = Effect.fnUntraced(function*(options: Options): Effect.fn.Return<
  { readonly keyring: Keyring["Service"]; readonly given: ReadonlyArray<Given> } | undefined,
  KeyringError,
  Cipher
> {
  const cipher = yield* Cipher
  const { given, state } = yield* restore(cipher, options)
  if (state === undefined) return undefined
  const ring = new MutableRing(state)
  const one = yield* Semaphore.make(1)
  const write = (next: State): Effect.Effect<void, KeyringError> =>
    Effect.andThen(options.save(toSaved(next)), Effect.sync(() => ring.become(next)))
  if (options.saved === undefined || given.some(({ outcome }) => outcome === "installed")) yield* write(state)
  const info = (key: ClusterKey.ClusterKey): KeyInfo => ({
    id: key.id,
    bits: key.bits,
    primary: ring.primary().id === key.id
  })
  const change = <A>(step: Effect.Effect<A, KeyringError>) => Semaphore.withPermit(one, Effect.uninterruptible(step))
  const keyring = Keyring.of({
    ring,
    cipher,
    list: Effect.sync(() => ring.keys().map(info)),
    install: (secret) =>
      change(Effect.gen(function*() {
        const key = ClusterKey.derive(cipher, secret)
        if (ring.get(key.id) !== undefined) return info(key)
        const { keys, removed } = ring.state
        if (keys.length >= maxKeys) return yield* new KeyringError({ reason: "full", id: key.id })
        yield* write({ ...ring.state, keys: [...keys, key], removed: removed.filter((id) => id !== key.id) })
        return info(key)
      })),
    use: (id) =>
      change(Effect.gen(function*() {
        const primary = ring.get(id)
        if (primary === undefined) return yield* new KeyringError({ reason: "unknown-key", id: shown(id) })
        if (primary !== ring.primary()) yield* write({ ...ring.state, primary })
      })),
    remove: (id) =>
      change(Effect.gen(function*() {
        if (ring.get(id) === undefined) return yield* new KeyringError({ reason: "unknown-key", id: shown(id) })
        if (ring.primary().id === id) return yield* new KeyringError({ reason: "in-use", id })
        const { keys, primary, removed } = ring.state
        yield* write({
          primary,
          keys: keys.filter((key) => key.id !== id),
          removed: [...removed.filter((other) => other !== id), id].slice(-maxRemoved)
        })
      }))
  })
  return { keyring, given }
})

/** A fingerprint that somebody typed: cut, so that a key given by mistake is not repeated in full. */
const shown = (id: string): string => /^[0-9a-f]{1,16}$/.test(id) ? id : ""

const restore = Effect.fnUntraced(function*(cipher: Cipher["Service"], { given, saved }: Options) {
  const keys: Array<ClusterKey.ClusterKey> = []
  for (const text of saved?.keys ?? []) {
    const secret = ClusterKey.parse(text)
    if (Result.isFailure(secret)) return yield* new KeyringError({ reason: "bad-key", id: "" })
    keys.push(ClusterKey.derive(cipher, secret.success))
  }
  const removed = saved?.removed ?? []
  const told: Array<Given> = []
  for (const secret of given) {
    const key = ClusterKey.derive(cipher, secret)
    const outcome = keys.some(({ id }) => id === key.id)
      ? "known"
      : removed.includes(key.id)
      ? "removed"
      : keys.length >= maxKeys
      ? "full"
      : "installed"
    if (outcome === "installed") keys.push(key)
    told.push({ id: key.id, outcome })
  }
  const primary = keys.find(({ id }) => id === saved?.primary) ?? keys[0]
  const state: State | undefined = primary === undefined ? undefined : { keys, primary, removed }
  return { state, given: told }
})

class MutableRing implements Ring {
  state: State
  private readonly listeners = new Set<(id: string) => void>()

  constructor(state: State) {
    this.state = state
  }

  primary(): ClusterKey.ClusterKey {
    return this.state.primary
  }

  keys(): ReadonlyArray<ClusterKey.ClusterKey> {
    return this.state.keys
  }

  get(id: string): ClusterKey.ClusterKey | undefined {
    return this.state.keys.find((key) => key.id === id)
  }

  onRemoved(listener: (id: string) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  become(next: State): void {
    const gone = this.state.keys.filter((key) => !next.keys.includes(key))
    this.state = next
    for (const { id } of gone) for (const listener of this.listeners) listener(id)
  }
}
