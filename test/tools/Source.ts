/** A source text and what the architecture rules ask about it: imports, header, functions, syntax nodes.
 *
 * Parsing is rolldown's; nothing here knows any rule. */
import { parseSync } from "rolldown/utils"

export interface Node {
  readonly type: string
  readonly start: number
  readonly end: number
  readonly [key: string]: unknown
}

export interface Import {
  readonly specifier: string
  /** `import()` or `new URL(…, import.meta.url)`: not loaded with the module. */
  readonly lazy: boolean
}

export interface FunctionSize {
  readonly line: number
  /** Lines of the function without the lines inside functions nested in it. */
  readonly ownLines: number
}

export interface Source {
  readonly lines: number
  /** The comment the file opens with, or an empty string. */
  readonly header: string
  readonly errors: ReadonlyArray<string>
  readonly imports: ReadonlyArray<Import>
  readonly functions: ReadonlyArray<FunctionSize>
  readonly nodes: ReadonlyArray<Node>
  readonly lineOf: (node: Node) => number
}

export const isNode = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && "type" in value && typeof value.type === "string"

const childrenOf = (node: Node): ReadonlyArray<Node> =>
  Object.values(node).flatMap((value) => Array.isArray(value) ? value.filter(isNode) : isNode(value) ? [value] : [])

const isFunction = (node: Node): boolean =>
  node.type === "FunctionDeclaration" || node.type === "FunctionExpression" || node.type === "ArrowFunctionExpression"

const literal = (node: unknown): string | undefined =>
  isNode(node) && node.type === "Literal" && typeof node["value"] === "string" ? node["value"] : undefined

const isModuleUrl = (node: Node): boolean =>
  node.type === "NewExpression" && isNode(node["callee"]) && node["callee"]["name"] === "URL"

const importOf = (node: Node): Import | undefined => {
  const from = (source: unknown, lazy: boolean): Import | undefined => {
    const specifier = literal(source)
    return specifier === undefined ? undefined : { specifier, lazy }
  }
  switch (node.type) {
    case "ImportDeclaration":
    case "ExportAllDeclaration":
    case "ExportNamedDeclaration":
    case "TSImportType":
      return from(node["source"], false)
    case "ImportExpression":
      return from(node["source"], true)
    case "NewExpression": {
      const target = isModuleUrl(node) && Array.isArray(node["arguments"])
        ? from(node["arguments"][0], true)
        : undefined
      return target?.specifier.startsWith(".") === true ? target : undefined
    }
    default:
      return undefined
  }
}

const lineFinder = (text: string): (offset: number) => number => {
  const starts = [0]
  for (let i = text.indexOf("\n"); i >= 0; i = text.indexOf("\n", i + 1)) starts.push(i + 1)
  return (offset) => starts.findLastIndex((start) => start <= offset) + 1
}

const parsed = new Map<string, Source>()

export const parse = (text: string): Source => {
  const known = parsed.get(text)
  if (known !== undefined) return known
  const body = text.replace(/^#!.*/, (line) => " ".repeat(line.length))
  const result = parseSync("source.ts", body)
  const lineAt = lineFinder(text)
  const nodes: Array<Node> = []
  const functions: Array<FunctionSize> = []
  const visit = (node: Node): number => {
    nodes.push(node)
    let nested = 0
    for (const child of childrenOf(node)) nested += visit(child)
    if (!isFunction(node)) return nested
    const span = lineAt(node.end - 1) - lineAt(node.start)
    functions.push({ line: lineAt(node.start), ownLines: span + 1 - nested })
    return span
  }
  // The parser types its tree as a union of every node; the rules only need the shape all nodes share.
  const program: unknown = result.program
  if (isNode(program)) visit(program)
  const comment = result.comments[0]
  const source: Source = {
    lines: text.trimEnd().split("\n").length,
    header: comment !== undefined && body.slice(0, comment.start).trim() === "" ? comment.value : "",
    errors: result.errors.map((error) => error.message),
    imports: nodes.flatMap((node) => importOf(node) ?? []),
    functions,
    nodes,
    lineOf: (node) => lineAt(node.start)
  }
  parsed.set(text, source)
  return source
}
