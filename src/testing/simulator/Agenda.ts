/** What happens when: a heap of times over typed arrays, each with one whole number that says what to do.
 *
 * PURE. Boundary: knows no meaning of the numbers. Equal times come out in an order that depends on nothing but the
 * order in which they went in (M7); who needs first in, first out gives strictly growing times. */
export interface Agenda {
  times: Float64Array
  works: Int32Array
  size: number
}

export const make = (): Agenda => ({ times: new Float64Array(1024), works: new Int32Array(1024), size: 0 })

const grow = (self: Agenda): void => {
  const times = new Float64Array(self.times.length * 2)
  const works = new Int32Array(self.works.length * 2)
  times.set(self.times)
  works.set(self.works)
  self.times = times
  self.works = works
}

export const add = (self: Agenda, at: number, work: number): void => {
  if (self.size === self.times.length) grow(self)
  const { times, works } = self
  let place = self.size++
  while (place > 0) {
    const up = (place - 1) >> 2
    const time = times[up] ?? 0
    if (time <= at) break
    times[place] = time
    works[place] = works[up] ?? 0
    place = up
  }
  times[place] = at
  works[place] = work
}

/** The time of the next work, `Infinity` when there is none. */
export const next = (self: Agenda): number => self.size === 0 ? Infinity : self.times[0] ?? Infinity

/** Removes the next work and returns its number; only when there is one. */
export const take = (self: Agenda): number => {
  const { times, works } = self
  const work = works[0] ?? 0
  const size = --self.size
  const at = times[size] ?? 0
  const last = works[size] ?? 0
  let place = 0
  for (let child = 1; child < size; child = 4 * place + 1) {
    const end = Math.min(child + 4, size)
    let best = child
    let time = times[child] ?? 0
    for (let other = child + 1; other < end; other++) {
      const candidate = times[other] ?? 0
      if (candidate < time) {
        time = candidate
        best = other
      }
    }
    if (time >= at) break
    times[place] = time
    works[place] = works[best] ?? 0
    place = best
  }
  times[place] = at
  works[place] = last
  return work
}
