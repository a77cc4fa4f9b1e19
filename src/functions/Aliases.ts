/** Names for versions that can be moved: `live` and others, each with its history. PURE.
 *
 * Job: the order of writes (`Stamp`), the moves of one alias as a set of bounded size whose highest element is the
 * current one, and what a reference in a URL means.
 * Boundary: whether the version exists and who may move an alias is decided elsewhere. Merging keeps the highest
 * `maxHistory` of both sides: of two concurrent moves one wins, the other stays in the history of every node. */
import * as Schema from "effect/Schema"
import * as Manifest from "./Manifest.ts"

/** The order of the catalog's writes: by epoch, then by sequence, then by the name of the master that wrote. */
export const Stamp = Schema.Struct({
  epoch: Schema.Finite,
  sequence: Schema.Finite,
  master: Schema.String
})
export type Stamp = typeof Stamp.Type

export const compareStamps = (a: Stamp, b: Stamp): number =>
  a.epoch - b.epoch || a.sequence - b.sequence || (a.master < b.master ? -1 : a.master > b.master ? 1 : 0)

export const Move = Schema.Struct({
  stamp: Stamp,
  version: Manifest.Digest,
  /** when, milliseconds since the epoch */
  at: Schema.Finite,
  /** the move that the mover saw as current; two moves over the same one were concurrent */
  over: Schema.optionalKey(Stamp)
})
export type Move = typeof Move.Type

/** Highest first, never empty in a record. */
export type History = ReadonlyArray<Move>

/** Moves remembered per alias. */
export const maxHistory = 32

const compareMoves = (a: Move, b: Move): number =>
  compareStamps(b.stamp, a.stamp) || (a.version < b.version ? -1 : a.version > b.version ? 1 : 0) || a.at - b.at ||
  (a.over === undefined ? b.over === undefined ? 0 : -1 : b.over === undefined ? 1 : compareStamps(a.over, b.over))

/** The union of both, without those at or before `removed`, the highest `maxHistory` of it. */
export const merge = (a: History, b: History, removed: Stamp | undefined): History => {
  const all = [...a, ...b].filter((move) => removed === undefined || compareStamps(move.stamp, removed) > 0)
  return all.sort(compareMoves).filter((move, i) => i === 0 || compareMoves(all[i - 1] ?? move, move) !== 0)
    .slice(0, maxHistory)
}

/** Pairs of moves over the same one: the first prevails, the second lost. */
export const conflicts = (history: History): ReadonlyArray<readonly [Move, Move]> =>
  history.flatMap((winner, i) =>
    history.slice(i + 1).flatMap((loser) => {
      const same = winner.over === undefined
        ? loser.over === undefined
        : loser.over !== undefined && compareStamps(winner.over, loser.over) === 0
      return same ? [[winner, loser] as const] : []
    })
  )

/** What a caller asks for: the version under an alias, or the one version that starts with these digits. */
export type Reference =
  | { readonly _tag: "Alias"; readonly alias: string }
  | { readonly _tag: "Version"; readonly prefix: string }

const isAlias = Schema.is(Manifest.Alias)
const versionPrefix = /^[0-9a-f]{6,64}$/

/** `undefined` or empty: live; `alias` or `:alias`; `@version` or at least six of its first digits. Nothing else. */
export const parse = (reference: string | undefined): Reference | undefined => {
  if (reference === undefined || reference === "") return { _tag: "Alias", alias: Manifest.live }
  if (reference.startsWith("@")) {
    const prefix = reference.slice(1)
    return versionPrefix.test(prefix) ? { _tag: "Version", prefix } : undefined
  }
  const alias = reference.startsWith(":") ? reference.slice(1) : reference
  return isAlias(alias) ? { _tag: "Alias", alias } : undefined
}
