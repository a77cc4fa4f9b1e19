/** The keyring of a node, kept in its folder.
 *
 * Job: reads the ring, adds what was given at the start, writes every change before it takes effect, and says in the log
 * what became of each given key (by fingerprint).
 * Boundary: `Keyring` holds the rules. The file is readable by the node's user alone; a damaged one stops the start,
 * for a node that made up another ring would part from its cluster silently. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Store from "../cluster/Store.ts"
import type { Cipher } from "../membership/Cipher.ts"
import type { Secret } from "../membership/ClusterKey.ts"
import * as Keyring from "../membership/Keyring.ts"

export const path = "membership/keyring"

const Text = Schema.fromJsonString(Keyring.Saved)
const decode = Schema.decodeUnknownOption(Text)
const encode = Schema.encodeEffect(Text)

/** The file of the ring cannot be used. Fault: the disk, or whoever changed it. State: nothing was opened. Retry: after
 * the file was restored, or removed (then the keys given at the start are all there is). */
export class KeyringDamaged extends Schema.TaggedError<KeyringDamaged>()("KeyringDamaged", { file: Schema.String }) {
  override get message(): string {
    return `the keyring ${this.file} is damaged; restore it, or remove it and start with --key`
  }
}

/** The ring of the folder with the given keys; undefined when there is no key at all. */
export const make = Effect.fnUntraced(function*(given: ReadonlyArray<Secret>): Effect.fn.Return<
  Keyring.Keyring["Service"] | undefined,
  KeyringDamaged | Store.StoreError | Keyring.KeyringError,
  Store.Store | Cipher
> {
  const store = yield* Store.Store
  const file = yield* store.read(path)
  const damaged = new KeyringDamaged({ file: store.location(path) })
  const saved = Option.isNone(file)
    ? undefined
    : yield* Effect.mapError(Effect.fromOption(read(file.value)), () => damaged)
  const made = yield* Keyring.make({ given, saved, save: (ring) => write(store, ring) }).pipe(
    Effect.catchIf(({ reason }) => reason === "bad-key", () => Effect.fail(damaged))
  )
  for (const { id, outcome } of made?.given ?? []) {
    if (outcome === "known") continue
    const line = outcome === "installed" ? Effect.logInfo(sentences[outcome]) : Effect.logWarning(sentences[outcome])
    yield* Effect.annotateLogs(line, { key: id })
  }
  return made?.keyring
})

const sentences = {
  installed: "a cluster key given at the start was installed",
  removed: "a cluster key given at the start was removed from the ring before and is not used",
  full: "a cluster key given at the start was not installed: the ring is full"
} as const

const read = (bytes: Uint8Array): Option.Option<Keyring.Saved> =>
  Option.flatMap(Store.unseal(bytes), (text) => decode(new TextDecoder().decode(text)))

const write = (store: Store.Store["Service"], ring: Keyring.Saved): Effect.Effect<void, Keyring.KeyringError> =>
  Effect.orDie(encode(ring)).pipe(
    Effect.flatMap((text) => store.replace(path, Store.seal(new TextEncoder().encode(text)))),
    Effect.catchTag("StoreError", (error) =>
      Effect.logError("the keyring could not be written").pipe(
        Effect.annotateLogs({ reason: error.reason, detail: error.detail }),
        Effect.andThen(Effect.fail(new Keyring.KeyringError({ reason: "not-saved", id: "" })))
      ))
  )
