/** Which packets were opened already: a sliding window over the counter of every sender.
 *
 * PURE. Boundary: only packets whose seal was verified come here, so nobody without a key can fill it.
 * Invariants: M5: at most `maxSenders`, the one heard longest ago is forgotten; 128 bytes and two numbers each. A packet
 * that 992 later ones of its sender have overtaken counts as seen. */

/** The part of a nonce that names the sending process. */
export const senderBytes = 8
export const maxSenders = 4096
const words = 32
/** Counters a window spans; one word is always being cleared. */
const span = (words - 1) * 32

interface Window {
  /** the highest counter seen */
  top: number
  readonly seen: Uint32Array
}

export interface Replays {
  readonly senders: Map<bigint, Window>
}

export const make = (): Replays => ({ senders: new Map() })

/** True the first time that a nonce is shown. */
export const isFresh = (self: Replays, nonce: Uint8Array): boolean => {
  const view = new DataView(nonce.buffer, nonce.byteOffset, nonce.byteLength)
  const sender = view.getBigUint64(0)
  const counter = view.getUint32(senderBytes)
  const known = self.senders.get(sender)
  if (known === undefined) {
    forgetOne(self)
    const window: Window = { top: counter, seen: new Uint32Array(words) }
    mark(window, counter)
    self.senders.set(sender, window)
    return true
  }
  self.senders.delete(sender) // the map's order is by when a sender was heard last
  self.senders.set(sender, known)
  if (counter > known.top) advance(known, counter)
  else if (known.top - counter >= span || isMarked(known, counter)) return false
  mark(known, counter)
  return true
}

const forgetOne = (self: Replays): void => {
  if (self.senders.size < maxSenders) return
  for (const oldest of self.senders.keys()) {
    self.senders.delete(oldest)
    return
  }
}

const wordOf = (counter: number): number => (counter >>> 5) % words
const bitOf = (counter: number): number => 1 << (counter & 31)

const isMarked = (window: Window, counter: number): boolean =>
  ((window.seen[wordOf(counter)] ?? 0) & bitOf(counter)) !== 0

const mark = (window: Window, counter: number): void => {
  const word = wordOf(counter)
  window.seen[word] = (window.seen[word] ?? 0) | bitOf(counter)
}

/** Moves the window up; the words that come into it hold nothing. */
const advance = (window: Window, counter: number): void => {
  const fresh = Math.min((counter >>> 5) - (window.top >>> 5), words)
  for (let i = 1; i <= fresh; i++) window.seen[((window.top >>> 5) + i) % words] = 0
  window.top = counter
}
