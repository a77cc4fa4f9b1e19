/** Rendezvous hashing: every node picks the same one of a few members for a key, and a change of the members moves only
 * the keys of the one that came or went.
 *
 * PURE. Boundary: which members are offered (master and replicas) is the caller's. The hash is FNV-1a over key and id
 * with a final mix, because short ids differ in few bits. */

/** A 32-bit hash of a text, well mixed. */
export const hash = (text: string, seed = 0x811c9dc5): number => {
  let h = seed
  for (let i = 0; i < text.length; i++) {
    h = Math.imul(h ^ (text.charCodeAt(i) & 0xff), 0x01000193)
    h = Math.imul(h ^ (text.charCodeAt(i) >>> 8), 0x01000193)
  }
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** At most `count` candidates, the one that `pick` would give first, then those to ask when it does not answer. */
export const order = <M extends { readonly id: string }>(
  key: string,
  candidates: ReadonlyArray<M>,
  count: number
): Array<M> => {
  const rest = [...candidates]
  const out: Array<M> = []
  while (out.length < count) {
    const best = pick(key, rest)
    if (best === undefined) break
    out.push(best)
    rest.splice(rest.indexOf(best), 1)
  }
  return out
}

/** The candidate with the highest score for the key; the smaller id on a tie. */
export const pick = <M extends { readonly id: string }>(key: string, candidates: ReadonlyArray<M>): M | undefined => {
  const seed = hash(key)
  let best: M | undefined
  let bestScore = -1
  for (const candidate of candidates) {
    const score = hash(candidate.id, seed)
    if (score > bestScore || (score === bestScore && best !== undefined && candidate.id < best.id)) {
      best = candidate
      bestScore = score
    }
  }
  return best
}
