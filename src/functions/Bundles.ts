/** The code of the functions: files named after their SHA-256.
 *
 * Job: takes in bundles, gives them to peers in pieces, fetches those that are missing from the nodes that may have
 * them (one fetch per bundle at a time, verified before it counts), sets aside files that are not what their name says,
 * and removes what no version needs any more after a while.
 * Boundary: which bundles are needed is the catalog's knowledge. Files: `bundles/SHA256`. Invariants: R4 (a bundle is on
 * the disk before its version is). */
import * as Cache from "effect/Cache"
import * as Clock from "effect/Clock"
import * as Digest from "effect/crypto/Digest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import type { Store, StoreError } from "../cluster/Store.ts"
import { setAside } from "./CatalogLedger.ts"
import * as CatalogMetrics from "./CatalogMetrics.ts"
import * as CatalogPeers from "./CatalogPeers.ts"
import { NoCopy, pieceBytes } from "./CatalogRpc.ts"
import { maxBundleBytes } from "./Manifest.ts"

const folder = "bundles/"
/** A bundle that nothing needs is kept this long: a deploy may be under way, an instance may be starting. */
const graceMs = 10 * 60_000
const fetchTimeout = "10 seconds"
/** Nodes asked for one bundle. */
const maxAsked = 8

const isDigest = (text: string): boolean => /^[0-9a-f]{64}$/.test(text)

export interface Bundles {
  readonly has: (digest: string) => boolean
  /** The file on this machine; only after `has` or `ensure`. */
  readonly location: (digest: string) => string
  /** Takes in a bundle; its digest. */
  readonly put: (bytes: Uint8Array) => Effect.Effect<string, StoreError>
  /** The bundle in pieces, for a peer. */
  readonly pieces: (digest: string) => Stream.Stream<Uint8Array, NoCopy>
  /** The bundle is here, fetched if need be; `holder` is asked first. */
  readonly ensure: (digest: string, holder?: string) => Effect.Effect<void, NoCopy>
  /** Removes what has not been needed for a while. */
  readonly sweep: (needed: ReadonlySet<string>) => Effect.Effect<void>
}

/** Joins pieces, unless they are more than a bundle may be. */
const join = (pieces: ReadonlyArray<Uint8Array>): Uint8Array => {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0))
  let at = 0
  for (const piece of pieces) {
    whole.set(piece, at)
    at += piece.length
  }
  return whole
}

const split = (bytes: Uint8Array): ReadonlyArray<Uint8Array> =>
  Array.from(
    { length: Math.ceil(bytes.length / pieceBytes) },
    (_, i) => bytes.subarray(i * pieceBytes, (i + 1) * pieceBytes)
  )

/** Reads every bundle on the disk and sets aside those that are not what their name says. */
const verified = Effect.fnUntraced(function*(store: Store["Service"]) {
  const digests = yield* Digest.Digest
  const known = new Set<string>()
  for (const path of yield* store.list(folder)) {
    const name = path.slice(folder.length)
    const bytes = yield* store.read(path)
    if (Option.isNone(bytes)) continue
    if (name === (yield* digests.digestHex(Digest.sha256, bytes.value))) known.add(name)
    else yield* setAside(store, path, "not what its name says")
  }
  return known
})

/** One peer's copy, verified. */
const fetchFrom = Effect.fnUntraced(function*(id: string, digest: string) {
  const peers = yield* CatalogPeers.CatalogPeers
  const digests = yield* Digest.Digest
  let size = 0
  const pieces = yield* peers.call({ id, within: fetchTimeout }, (client) =>
    client.CatalogBundle({ digest }).pipe(
      Stream.takeWhile((piece) => (size += piece.length) <= maxBundleBytes),
      Stream.runCollect
    ))
  const bytes = join(pieces)
  if ((yield* digests.digestHex(Digest.sha256, bytes)) === digest) return bytes
  yield* Effect.logWarning("a peer sent other bytes than the bundle asked for").pipe(
    Effect.annotateLogs({ peer: id, digest })
  )
  return yield* new NoCopy({ detail: `${id} sent other bytes` })
})

/** Asks one node after another. */
const fetch = Effect.fnUntraced(function*(digest: string, holder: string | undefined) {
  const peers = yield* CatalogPeers.CatalogPeers
  const view = yield* peers.view
  const [first, ...rest] = CatalogPeers.others(view)
  const others = [...(first === undefined ? [] : [first]), ...(yield* Random.shuffle(rest))]
  const asked = [...new Set(holder === undefined || holder === view.self ? others : [holder, ...others])]
    .slice(0, maxAsked)
  for (const id of asked) {
    const bytes = yield* Effect.option(fetchFrom(id, digest))
    const outcome = Option.isSome(bytes) ? "ok" : "failed"
    yield* Metric.update(Metric.withAttributes(CatalogMetrics.fetches, { outcome }), 1)
    if (Option.isSome(bytes)) return bytes.value
  }
  return yield* new NoCopy({
    detail: asked.length === 0 ? "no other node to ask for the bundle" : `none of ${asked.join(", ")} has the bundle`
  })
})

export const make = Effect.fnUntraced(function*(store: Store["Service"]) {
  const digests = yield* Digest.Digest
  const known = yield* verified(store)
  const unneeded = new Map<string, number>()
  const holders = new Map<string, string>()
  const at = (digest: string): string => `${folder}${digest}`
  const put: Bundles["put"] = Effect.fnUntraced(function*(bytes) {
    const digest = yield* digests.digestHex(Digest.sha256, bytes)
    if (!known.has(digest)) yield* store.replace(at(digest), bytes)
    known.add(digest)
    unneeded.delete(digest)
    return digest
  })
  const fetches = yield* Cache.makeWith(
    (digest: string) =>
      Effect.flatMap(fetch(digest, holders.get(digest)), put).pipe(
        Effect.asVoid,
        Effect.catchTag("StoreError", (error) => new NoCopy({ detail: error.message }))
      ),
    { capacity: 1024, timeToLive: (exit) => Exit.isSuccess(exit) ? 0 : "200 millis" }
  )
  const ensure: Bundles["ensure"] = (digest, holder) =>
    Effect.suspend(() => {
      if (known.has(digest)) return Effect.void
      if (!isDigest(digest)) return new NoCopy({ detail: "not a digest" })
      if (holder !== undefined) holders.set(digest, holder)
      return Effect.ensuring(Cache.get(fetches, digest), Effect.sync(() => holders.delete(digest)))
    })
  const pieces: Bundles["pieces"] = (digest) => {
    if (!known.has(digest)) return Stream.fail(new NoCopy({ detail: "no such bundle here" }))
    return Stream.unwrap(
      store.read(at(digest)).pipe(
        Effect.mapError((error) => new NoCopy({ detail: error.message })),
        Effect.map((bytes) => Stream.fromIterable(split(Option.getOrElse(bytes, () => new Uint8Array(0)))))
      )
    ).pipe(Stream.rechunk(1))
  }
  const sweep: Bundles["sweep"] = Effect.fnUntraced(function*(needed) {
    const now = yield* Clock.currentTimeMillis
    for (const digest of known) {
      if (needed.has(digest)) unneeded.delete(digest)
      else if (!unneeded.has(digest)) unneeded.set(digest, now)
      else if (now - (unneeded.get(digest) ?? now) > graceMs) {
        known.delete(digest)
        unneeded.delete(digest)
        yield* Effect.ignore(store.remove(at(digest)))
      }
    }
  })
  const bundles: Bundles = {
    has: (digest) => known.has(digest),
    location: (digest) => store.location(at(digest)),
    put,
    pieces,
    ensure,
    sweep
  }
  return bundles
})
