/** A small seeded generator (sfc32) that lives in the protocol's state.
 *
 * PURE. Boundary: not for secrets. Invariants: M7 (same seed, same numbers, on every machine). */
export interface Prng {
  a: number
  b: number
  c: number
  d: number
}

/** An unsigned 32-bit number. */
export const next = (self: Prng): number => {
  const t = (((self.a + self.b) | 0) + self.d) | 0
  self.d = (self.d + 1) | 0
  self.a = self.b ^ (self.b >>> 9)
  self.b = (self.c + (self.c << 3)) | 0
  self.c = (self.c << 21) | (self.c >>> 11)
  self.c = (self.c + t) | 0
  return t >>> 0
}

export const make = (seed: number): Prng => {
  const self: Prng = { a: 0x9e3779b9, b: seed | 0, c: Math.floor(seed / 4294967296) | 0, d: 1 }
  for (let i = 0; i < 12; i++) next(self)
  return self
}

/** In [0, 1). */
export const float = (self: Prng): number => next(self) / 4294967296

/** In [0, bound), a whole number. */
export const below = (self: Prng, bound: number): number => Math.floor(float(self) * bound)

/** In [value * (1 - spread), value * (1 + spread)). */
export const jitter = (self: Prng, value: number, spread: number): number =>
  value * (1 - spread + 2 * spread * float(self))
