/** Says when a refusal is worth a log line: once per peer and minute, and not without end whoever may ask.
 *
 * PURE. Boundary: counting is done by reason elsewhere; this only keeps the log readable while somebody sends junk, also
 * from invented addresses. Invariants: M5. */

const everyMs = 60_000
/** Peers remembered, and so lines per minute; the others are only counted. */
const maxPeers = 64

export class Complaints {
  private readonly last = new Map<string, number>()

  /** True when nothing was said of `peer` within the minute before `now` (monotonic milliseconds). */
  due(peer: string, now: number): boolean {
    const last = this.last.get(peer)
    if (last !== undefined && now - last < everyMs) return false
    if (last === undefined && this.last.size >= maxPeers && !this.forget(now)) return false
    this.last.delete(peer) // the map's order is by time
    this.last.set(peer, now)
    return true
  }

  /** Makes room; false while all are too recent. */
  private forget(now: number): boolean {
    for (const [peer, last] of this.last) {
      if (now - last < everyMs) break
      this.last.delete(peer)
    }
    return this.last.size < maxPeers
  }
}
