/** Bytes that almost are what a decoder expects: flipped, cut, repeated, spliced, nested, or nothing but noise. */
import * as Prng from "../../src/swim/Prng.ts"

/** Inputs never grow beyond this by mutation. */
const maxBytes = 4096

export type Corpus = ReadonlyArray<Uint8Array>

const empty = new Uint8Array(0)

export const pick = (random: Prng.Prng, corpus: Corpus): Uint8Array =>
  corpus[Prng.below(random, corpus.length)] ?? empty

const noise = (random: Prng.Prng, length: number): Uint8Array => {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; at++) bytes[at] = Prng.below(random, 256)
  return bytes
}

const concat = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const bytes = new Uint8Array(Math.min(maxBytes, parts.reduce((sum, part) => sum + part.length, 0)))
  let at = 0
  for (const part of parts) {
    bytes.set(part.subarray(0, bytes.length - at), at)
    at += Math.min(part.length, bytes.length - at)
  }
  return bytes
}

const flip = (random: Prng.Prng, bytes: Uint8Array): Uint8Array => {
  const copy = bytes.slice()
  if (copy.length === 0) return copy
  for (let times = 1 + Prng.below(random, 4); times > 0; times--) {
    const at = Prng.below(random, copy.length)
    copy[at] = (copy[at] ?? 0) ^ (1 << Prng.below(random, 8))
  }
  return copy
}

/** Numbers that lengths and versions go wrong with. */
const edges = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff]

const set = (random: Prng.Prng, bytes: Uint8Array): Uint8Array => {
  const copy = bytes.slice()
  const value = edges[Prng.below(random, edges.length)] ?? 0
  const at = Prng.below(random, Math.max(1, copy.length))
  copy.fill(value, at, at + 1 + Prng.below(random, 4))
  return copy
}

/** One input made of a corpus, in one of eight ways. */
export const mutate = (random: Prng.Prng, corpus: Corpus): Uint8Array => {
  const bytes = pick(random, corpus)
  const at = Prng.below(random, bytes.length + 1)
  switch (Prng.below(random, 10)) {
    case 0:
    case 1:
      return flip(random, bytes)
    case 2:
    case 3:
      return set(random, bytes)
    case 4:
      return bytes.slice(0, at)
    case 5:
      return concat(bytes.subarray(0, at), noise(random, 1 + Prng.below(random, 8)), bytes.subarray(at))
    case 6:
      return concat(bytes.subarray(0, at), bytes.subarray(Math.min(bytes.length, at + 1 + Prng.below(random, 8))))
    case 7: { // one inside another
      const other = pick(random, corpus)
      return concat(bytes.subarray(0, at), other, bytes.subarray(at))
    }
    case 8: { // the beginning of one, the end of another
      const other = pick(random, corpus)
      return concat(bytes.subarray(0, at), other.subarray(Prng.below(random, other.length + 1)))
    }
    default:
      return noise(random, Prng.below(random, 200))
  }
}

/** The same bytes in a few chunks, as a stream delivers them. */
export const chunks = (random: Prng.Prng, bytes: Uint8Array): ReadonlyArray<Uint8Array> => {
  const parts: Array<Uint8Array> = []
  let at = 0
  while (at < bytes.length) {
    const length = 1 + Prng.below(random, Prng.below(random, 2) === 0 ? 7 : bytes.length)
    parts.push(bytes.subarray(at, at + length))
    at += length
  }
  return parts
}
