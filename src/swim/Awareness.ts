/** Lifeguard's local health score: how much a member mistrusts its own punctuality (0 = healthy).
 *
 * PURE. Boundary: counts; `Probe` stretches interval and timeout by `factor` (paper rule: both). Also watches the
 * loss of the node's own direct probes over the last 50 (rule 6). */
export interface Awareness {
  readonly enabled: boolean
  readonly max: number
  score: number
  /** Outcomes of the last probes, 1 = lost. */
  readonly outcomes: Uint8Array
  place: number
  seen: number
  lost: number
}

const window = 50

export const make = (options: { readonly enabled: boolean; readonly max: number }): Awareness => ({
  enabled: options.enabled,
  max: options.max,
  score: 0,
  outcomes: new Uint8Array(window),
  place: 0,
  seen: 0,
  lost: 0
})

export const apply = (self: Awareness, delta: number): void => {
  if (self.enabled) self.score = Math.max(0, Math.min(self.max, self.score + delta))
}

export const factor = (self: Awareness): number => self.score + 1

export const record = (self: Awareness, lost: boolean): void => {
  const bit = lost ? 1 : 0
  self.lost += bit - (self.outcomes[self.place] ?? 0)
  self.outcomes[self.place] = bit
  self.place = (self.place + 1) % window
  if (self.seen < window) self.seen++
}

export const loss = (self: Awareness): number => self.seen === 0 ? 0 : self.lost / self.seen

/** More than a tenth of at least 10 recent direct probes were lost. */
export const isLossy = (self: Awareness): boolean => self.seen >= 10 && self.lost * 10 > self.seen
