/** A series as a picture: how each measure is distributed, and how the views of the first run came together.
 *
 * PURE. Boundary: SVG text, or an HTML page around it; writing the file is the caller's. */
import * as Report from "./Report.ts"
import type * as Series from "./Series.ts"

const width = 860
const height = 300
const left = 56
const right = 190
const top = 34
const bottom = 36
const colors = ["#2563eb", "#dc2626", "#16a34a", "#9333ea", "#ea580c", "#0891b2", "#be185d", "#4d7c0f"]
const mostPoints = 400

interface Line {
  readonly name: string
  readonly points: ReadonlyArray<readonly [number, number]>
}

const escape = (text: string): string => text.replace(/[<>&"]/g, (character) => `&#${character.charCodeAt(0)};`)

const thin = <A>(points: ReadonlyArray<A>): ReadonlyArray<A> => {
  const every = Math.ceil(points.length / mostPoints)
  return points.filter((_, i) => i % every === 0 || i === points.length - 1)
}

const tickStep = (most: number): number => {
  const raw = most / 6
  const unit = 10 ** Math.floor(Math.log10(raw))
  return (raw / unit > 5 ? 10 : raw / unit > 2 ? 5 : raw / unit > 1 ? 2 : 1) * unit
}

/** One chart of lines over milliseconds, its values from 0 to 1. */
const chart = (heading: string, lines: ReadonlyArray<Line>, offset: number): string => {
  const most = Math.max(1e-6, ...lines.flatMap(({ points }) => points.map(([x]) => x)))
  const x = (value: number): string => (left + (width - left - right) * value / most).toFixed(1)
  const y = (value: number): string => (offset + top + (height - top - bottom) * (1 - value)).toFixed(1)
  const step = tickStep(most)
  const parts = [`<text x="${left}" y="${offset + 18}" font-size="14" font-weight="bold">${escape(heading)}</text>`]
  for (let tick = 0; tick <= most; tick += step) {
    parts.push(
      `<line x1="${x(tick)}" y1="${y(0)}" x2="${x(tick)}" y2="${y(1)}" stroke="#e5e7eb"/>`,
      `<text x="${x(tick)}" y="${Number(y(0)) + 16}" text-anchor="middle">${Report.time(tick)}</text>`
    )
  }
  for (const share of [0, 0.5, 0.9, 1]) {
    parts.push(
      `<line x1="${left}" y1="${y(share)}" x2="${width - right}" y2="${y(share)}" stroke="#e5e7eb"/>`,
      `<text x="${left - 6}" y="${Number(y(share)) + 4}" text-anchor="end">${share * 100} %</text>`
    )
  }
  for (const [index, { name, points }] of lines.entries()) {
    const color = colors[index % colors.length] ?? "#000"
    const path = thin(points).map(([px, py]) => `${x(px)},${y(py)}`).join(" ")
    const legend = offset + top + 14 + index * 16
    parts.push(
      `<polyline fill="none" stroke="${color}" stroke-width="1.6" points="${path}"/>`,
      `<text x="${width - right + 12}" y="${legend}" fill="${color}">${escape(name)}</text>`
    )
  }
  return parts.join("\n")
}

/** The share of samples at or below each value. */
const distribution = (name: string, runs: ReadonlyArray<ReadonlyArray<number>>): Line => {
  const sorted = runs.flat().toSorted((a, b) => a - b)
  return { name, points: sorted.map((value, i) => [value, (i + 1) / sorted.length] as const) }
}

const distributions = (series: Series.Series): Array<Line> =>
  [...series.samples].filter(([name]) => /\.(suspected|first|member|all)$|^(known|converged)$/.test(name)).map((
    [name, runs]
  ) => distribution(name, runs))

export const svg = (series: Series.Series): string => {
  const charts: Array<string> = []
  const lines = distributions(series)
  if (lines.length > 0) charts.push(chart(`${Report.title(series)}: share of samples within a time`, lines, 0))
  const agreement = series.points.map(({ agreed, at }) => [at, agreed] as const)
  if (agreement.length > 1) {
    const heading = `Members that hold the same view, run with seed ${series.plan.seed}`
    charts.push(chart(heading, [{ name: "agree", points: agreement }], charts.length * height))
  }
  const size = `width="${width}" height="${charts.length * height}" viewBox="0 0 ${width} ${charts.length * height}"`
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size} font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="#fff"/>
${charts.join("\n")}
</svg>
`
}

export const html = (series: Series.Series): string => {
  const row = (cells: ReadonlyArray<string>, tag: string): string =>
    `<tr>${cells.map((cell) => `<${tag}>${escape(cell)}</${tag}>`).join("")}</tr>`
  const heading = escape(Report.title(series))
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${heading}</title>
<style>body{font:14px sans-serif;margin:2em}td,th{padding:2px 10px;text-align:left}th{border-bottom:1px solid #999}</style>
</head><body><h1>${heading}</h1>
<table>${row(Report.head, "th")}
${Report.cells(series).map((cells) => row(cells, "td")).join("\n")}
</table>
${[...Report.notes(series), ...Report.failures(series)].map((line) => `<p>${escape(line)}</p>`).join("\n")}
${svg(series)}
</body></html>
`
}
