/** The functions a gateway knows, by name and reference, from the catalog pushed over the link. PURE.
 *
 * Boundary: the catalog decides what exists; this is its index for one look-up per call. A reference that is not found
 * here may still exist: the gateway asks before it answers 404. */
import type * as Link from "./Link.ts"
import * as Manifest from "./Manifest.ts"

interface Entry {
  readonly live: Link.Version | undefined
  readonly function: Link.Function
}

export interface Directory {
  readonly entries: ReadonlyMap<string, Entry>
  readonly versions: ReadonlySet<string>
}

export const empty: Directory = { entries: new Map(), versions: new Set() }

export const make = (functions: ReadonlyArray<Link.Function>): Directory => {
  const entries = new Map<string, Entry>()
  const versions = new Set<string>()
  for (const each of functions) {
    entries.set(each.name, { live: byVersion(each, each.aliases[Manifest.live]), function: each })
    for (const manifest of each.manifests) versions.add(manifest.version)
  }
  return { entries, versions }
}

const byVersion = (each: Link.Function, version: string | undefined): Link.Version | undefined =>
  version === undefined ? undefined : each.manifests.find((manifest) => manifest.version === version)

/** The shortest prefix of a version that may stand for it. */
const shortest = 6

/** The version that a name and a reference (an alias, or `@` and a version or a prefix of one) mean. */
export const resolve = (self: Directory, name: string, ref: string | undefined): Link.Version | undefined => {
  const entry = self.entries.get(name)
  if (entry === undefined || ref === undefined) return entry?.live
  const { aliases, manifests } = entry.function
  if (!ref.startsWith("@")) {
    return Object.hasOwn(aliases, ref) ? byVersion(entry.function, aliases[ref]) : undefined
  }
  const wanted = ref.slice(1)
  if (wanted.length < shortest) return undefined
  const found = manifests.filter((manifest) => manifest.version.startsWith(wanted))
  return found.length === 1 ? found[0] : undefined
}
