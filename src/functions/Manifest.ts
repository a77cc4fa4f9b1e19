/** What a function version is: its name, the digest of its bundle, its environment and its limits. PURE.
 *
 * Boundary: a manifest never changes. Its `version` is the SHA-256 of `canonical`, which covers everything but the time
 * of the deploy, so that deploying the same thing twice gives the same version; who computes digests is the caller's
 * choice. Input from outside is checked here, field by field, with the bound in the message. */
import * as Schema from "effect/Schema"

const matching = (pattern: RegExp, expected: string) =>
  Schema.makeFilter((text: string) => pattern.test(text) ? undefined : `expected ${expected}`)

const between = (least: number, most: number, unit: string) =>
  Schema.makeFilter((value: number) =>
    Number.isSafeInteger(value) && value >= least && value <= most
      ? undefined
      : `expected a whole number of ${unit} from ${least} to ${most}`
  )

/** A label as host names have them, so that it fits paths, file names and other systems' rules. */
export const FunctionName = Schema.String.check(
  matching(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, "a name of 1 to 63 lower-case letters, digits and inner hyphens")
).pipe(Schema.brand("FunctionName"))
export type FunctionName = typeof FunctionName.Type

/** SHA-256 in lower-case hex. */
export const Digest = Schema.String.check(matching(/^[0-9a-f]{64}$/, "a SHA-256 in lower-case hex"))

export const Alias = Schema.String.check(
  matching(/^[a-z][a-z0-9-]{0,30}$/, "an alias of 1 to 31 lower-case letters, digits and hyphens, a letter first")
)

/** The alias of the version that is served when none is asked for. */
export const live = "live"

/** The largest bundle, bytes. */
export const maxBundleBytes = 16 * 1024 * 1024

export const Limits = Schema.Struct({
  /** from the arrival of a call to the end of its answer, milliseconds */
  timeoutMs: Schema.Finite.check(between(10, 3_600_000, "milliseconds")),
  /** heap of one instance, MiB */
  memoryMb: Schema.Finite.check(between(16, 16_384, "MiB")),
  /** calls at once in one instance */
  concurrency: Schema.Finite.check(between(1, 10_000, "calls")),
  /** instances on one node */
  instances: Schema.Finite.check(between(1, 256, "instances")),
  /** request body, bytes */
  bodyBytes: Schema.Finite.check(between(0, 1024 * 1024 * 1024, "bytes")),
  /** an instance without calls ends after, milliseconds */
  idleMs: Schema.Finite.check(between(1_000, 86_400_000, "milliseconds"))
})
export type Limits = typeof Limits.Type

export const defaults: Limits = {
  timeoutMs: 30_000,
  memoryMb: 128,
  concurrency: 100,
  instances: 4,
  bodyBytes: 6 * 1024 * 1024,
  idleMs: 300_000
}

/** Some of the limits, as a deploy gives them; unknown fields are refused by `Input`. */
export const PartialLimits = Schema.Struct({
  timeoutMs: Schema.optionalKey(Limits.fields.timeoutMs),
  memoryMb: Schema.optionalKey(Limits.fields.memoryMb),
  concurrency: Schema.optionalKey(Limits.fields.concurrency),
  instances: Schema.optionalKey(Limits.fields.instances),
  bodyBytes: Schema.optionalKey(Limits.fields.bodyBytes),
  idleMs: Schema.optionalKey(Limits.fields.idleMs)
})
export type PartialLimits = typeof PartialLimits.Type

const maxEnvironment = 64
const maxEnvironmentLength = 16 * 1024
const variable = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/

export const Environment = Schema.Record(Schema.String, Schema.String).check(
  Schema.makeFilter((env: Readonly<Record<string, string>>) => {
    const entries = Object.entries(env)
    if (entries.length > maxEnvironment) return `expected at most ${maxEnvironment} variables`
    if (entries.some(([key, value]) => !variable.test(key) || value.includes("\0"))) {
      return "expected names of letters, digits and _, and values without NUL"
    }
    const length = entries.reduce((sum, [key, value]) => sum + key.length + value.length, 0)
    return length > maxEnvironmentLength ? `expected at most ${maxEnvironmentLength} characters in all` : undefined
  })
)

export const Manifest = Schema.Struct({
  name: FunctionName,
  version: Digest,
  /** digest of the bundle */
  bundle: Digest,
  /** of the bundle, bytes */
  size: Schema.Finite.check(between(1, maxBundleBytes, "bytes")),
  limits: Limits,
  env: Environment,
  /** when it was first deployed, milliseconds since the epoch */
  createdAt: Schema.Finite.check(between(0, Number.MAX_SAFE_INTEGER, "milliseconds"))
})
export type Manifest = typeof Manifest.Type

/** What is known before the version is. */
export type Draft = Omit<Manifest, "version" | "createdAt">

const sorted = <A>(record: Readonly<Record<string, A>>): ReadonlyArray<readonly [string, A]> =>
  Object.entries(record).sort(([a], [b]) => a < b ? -1 : 1)

/** The text whose SHA-256 is the version. */
export const canonical = (draft: Draft): string =>
  JSON.stringify(["shoal-function/1", draft.name, draft.bundle, draft.size, sorted(draft.limits), sorted(draft.env)])

export const withDefaults = (limits: PartialLimits | undefined): Limits => ({ ...defaults, ...limits })
