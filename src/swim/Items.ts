/** Keyed gossip values: the lexicographically higher one replaces the lower one.
 *
 * PURE. Boundary: what a value means is its owner's (the cluster's reign uses the key "reign").
 * Invariants: M5 (few keys, small values); a value never falls. */
import * as Core from "./Core.ts"
import * as Message from "./Message.ts"
import * as Spread from "./Spread.ts"

const maxItems = 32

/** Bytes in lexicographic order; a prefix is lower. */
export const compare = (a: Uint8Array, b: Uint8Array): number => {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0)
    if (difference !== 0) return difference
  }
  return a.length - b.length
}

/** Takes a value in when it is higher; true when it was. */
export const learn = (core: Core.Core, item: Message.Item, spread: boolean): boolean => {
  if (item.value.length > Message.maxItemBytes || item.key.length > Message.maxKeyBytes) {
    Core.reject(core, "oversized-item")
    return false
  }
  const known = core.items.get(item.key)
  if (known === undefined && core.items.size >= maxItems) {
    Core.reject(core, "too-many-items")
    return false
  }
  if (known !== undefined && compare(item.value, known.value) <= 0) return false
  core.itemSum = (core.itemSum + Core.itemHash(item) - (known === undefined ? 0 : Core.itemHash(known))) >>> 0
  core.items.set(item.key, item)
  Core.notify(core, { _tag: "ItemChanged", key: item.key, value: item.value })
  if (spread) Spread.update(core, `\u0000${item.key}`, item)
  return true
}
