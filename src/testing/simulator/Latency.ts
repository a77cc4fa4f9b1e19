/** How long a datagram is under way, as data.
 *
 * PURE. Boundary: a distribution and a draw from it; what else may happen to a datagram is `Network`'s. */
import * as Schema from "effect/Schema"
import * as Prng from "../../swim/Prng.ts"

/** Between two bounds, all equally likely. Unit ms. */
const Uniform = Schema.TaggedStruct("Uniform", { from: Schema.Finite, to: Schema.Finite })
/** A least time plus an exponential one of this mean. Unit ms. */
const Exponential = Schema.TaggedStruct("Exponential", { least: Schema.Finite, mean: Schema.Finite })
/** Its logarithm is normal: `sigma` 0.3 is a calm network, 1 a wild one. Unit ms. */
const Lognormal = Schema.TaggedStruct("Lognormal", { median: Schema.Finite, sigma: Schema.Finite })
/** Measured quantiles, ascending and evenly spaced, read with interpolation. Unit ms. */
const Table = Schema.TaggedStruct("Table", { quantiles: Schema.Array(Schema.Finite) })

export const Latency = Schema.Union([Uniform, Exponential, Lognormal, Table])
export type Latency = typeof Latency.Type

/** A local network: 0.2 ms and an exponential 0.3 ms. */
export const lan: Latency = { _tag: "Exponential", least: 0.2, mean: 0.3 }
/** Between data centres. */
export const wan: Latency = { _tag: "Lognormal", median: 40, sigma: 0.4 }

const normal = (random: Prng.Prng): number =>
  Math.sqrt(-2 * Math.log(1 - Prng.float(random))) * Math.cos(2 * Math.PI * Prng.float(random))

/** One draw in ms, never negative. */
export const draw = (self: Latency, random: Prng.Prng): number => {
  switch (self._tag) {
    case "Uniform":
      return self.from + (self.to - self.from) * Prng.float(random)
    case "Exponential":
      return self.least - self.mean * Math.log(1 - Prng.float(random))
    case "Lognormal":
      return self.median * Math.exp(self.sigma * normal(random))
    case "Table": {
      const last = self.quantiles.length - 1
      const place = Prng.float(random) * last
      const low = self.quantiles[Math.floor(place)] ?? 0
      const high = self.quantiles[Math.min(last, Math.floor(place) + 1)] ?? low
      return low + (high - low) * (place - Math.floor(place))
    }
  }
}

/** What is wrong with it, if anything. */
export const problem = (self: Latency): string | undefined => {
  switch (self._tag) {
    case "Uniform":
      return self.from >= 0 && self.to >= self.from ? undefined : "needs 0 <= from <= to"
    case "Exponential":
      return self.least >= 0 && self.mean >= 0 ? undefined : "needs least >= 0 and mean >= 0"
    case "Lognormal":
      return self.median > 0 && self.sigma >= 0 ? undefined : "needs median > 0 and sigma >= 0"
    case "Table":
      return self.quantiles.length > 0 && self.quantiles.every((ms, i) => ms >= 0 && ms >= (self.quantiles[i - 1] ?? 0))
        ? undefined
        : "needs ascending quantiles >= 0"
  }
}
