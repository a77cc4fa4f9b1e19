/** Rows of text in columns, for terminals. PURE.
 *
 * Boundary: knows nothing of what is shown. A cell may carry a colour, which is used only when colours are on; widths are
 * counted without it. Control characters in cells are shown as `?`, so that a member's name cannot move the cursor. */

export type Color = "green" | "yellow" | "red" | "cyan" | "dim" | "bold"

export type Cell = string | { readonly text: string; readonly color: Color | undefined }

export interface Style {
  readonly color: boolean
  /** Lines are cut at this width; undefined: never. */
  readonly width?: number | undefined
}

const codes: Record<Color, number> = { green: 32, yellow: 33, red: 31, cyan: 36, dim: 2, bold: 1 }

export const paint = (text: string, color: Color | undefined, style: Style): string =>
  style.color && color !== undefined && text !== "" ? `\u001b[${codes[color]}m${text}\u001b[0m` : text

/** A head line and one line per row; the last column is not padded. */
export const render = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<Cell>>, style: Style): string => {
  const lines = [head.map((title): Cell => ({ text: title, color: "dim" })), ...rows]
  const widths = head.map((_, column) => Math.max(...lines.map((line) => Array.from(textOf(line[column])).length)))
  return lines.map((line) => renderLine(line, widths, style)).join("\n")
}

const renderLine = (line: ReadonlyArray<Cell>, widths: ReadonlyArray<number>, style: Style): string => {
  let left = style.width ?? Number.POSITIVE_INFINITY
  let out = ""
  for (const [column, width] of widths.entries()) {
    const last = column === widths.length - 1
    const text = textOf(line[column])
    const padded = last ? text : text + " ".repeat(width - Array.from(text).length + 2)
    const shown = Array.from(padded).slice(0, Math.max(0, left)).join("")
    left -= Array.from(padded).length
    out += paint(shown, colorOf(line[column]), style)
  }
  return out.trimEnd()
}

const textOf = (cell: Cell | undefined): string =>
  clean(cell === undefined ? "" : typeof cell === "string" ? cell : cell.text)

const colorOf = (cell: Cell | undefined): Color | undefined =>
  cell === undefined || typeof cell === "string" ? undefined : cell.color

export const clean = (text: string): string => text.replace(/[\u0000-\u001f\u007f-\u009f]/g, "?")
