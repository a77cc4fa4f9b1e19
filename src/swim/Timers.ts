/** The machine's own heap of deadlines: it needs one wake-up from outside.
 *
 * PURE. Boundary: knows kinds and arguments, not meanings. Entries are not cancelled; whoever handles one checks
 * whether it still stands, and may drop the first when it does not. Equal deadlines fire in the order in which they were set (M7). */
export interface Timer {
  at: number
  readonly order: number
  readonly kind: number
  readonly a: number
  readonly b: number
}

export interface Timers {
  readonly heap: Array<Timer>
  order: number
}

export const make = (): Timers => ({ heap: [], order: 0 })

const before = (x: Timer, y: Timer): boolean => x.at < y.at || (x.at === y.at && x.order < y.order)

export const set = (self: Timers, at: number, kind: number, a = 0, b = 0): void => {
  const heap = self.heap
  const timer: Timer = { at, order: self.order++, kind, a, b }
  let i = heap.length
  heap.push(timer)
  while (i > 0) {
    const up = (i - 1) >> 1
    const parent = heap[up]
    if (parent === undefined || !before(timer, parent)) break
    heap[i] = parent
    i = up
  }
  heap[i] = timer
}

export const first = (self: Timers): number => {
  const head = self.heap[0]
  return head === undefined ? Infinity : head.at
}

/** The first timer, which stays. */
export const peek = (self: Timers): Timer | undefined => self.heap[0]

/** Removes and returns the first timer due at `now`. */
export const due = (self: Timers, now: number): Timer | undefined => {
  const heap = self.heap
  const head = heap[0]
  if (head === undefined || head.at > now) return undefined
  const last = heap.pop()
  if (last === undefined || last === head) return head
  const size = heap.length
  let i = 0
  while (true) {
    let down = 2 * i + 1
    if (down >= size) break
    let child = heap[down]
    const right = heap[down + 1]
    if (child !== undefined && right !== undefined && before(right, child)) {
      child = right
      down++
    }
    if (child === undefined || !before(child, last)) break
    heap[i] = child
    i = down
  }
  heap[i] = last
  return head
}

/** Moves every deadline; the order stays. */
export const shift = (self: Timers, by: number): void => {
  for (const timer of self.heap) timer.at += by
}
