/** The rules of the house that types and lint cannot express, as functions from files to violations.
 *
 * Files are a map of path (from the root, with `/`) to text, so every rule can be shown a violation without a disk.
 * A violation reads `path: what is wrong`. */
import * as Path from "node:path"
import { isEntry } from "./Entries.ts"
import { isNode, type Node, parse } from "./Source.ts"

export type Files = ReadonlyMap<string, string>
export type Rule = (files: Files) => ReadonlyArray<string>

/** A folder may import itself and the folders before it. */
const folders = ["swim", "wire", "membership", "cluster", "functions", "deploy", "node", "cli"]

const longestFile = 600
const longestFunction = 69

const pureEffectModules = new Set(
  [
    "Array BigInt Boolean Brand ByteSize Chunk Combiner Data DateTime Duration Equal Equivalence Exit Filter Function Hash",
    "HashMap HashSet Iterable Match MutableHashMap MutableHashSet MutableList Newtype NonEmptyIterable Number Option Order",
    "Ordering Pipeable Predicate Record Redacted Reducer Result Schema SchemaGetter SchemaIssue SchemaTransformation SemVer",
    "String Struct Tuple Types UndefinedOr"
  ].join(" ").split(" ")
)
const wireEffectModules = new Set(["Cause", "encoding/SchemaBinary"])
const ambientNames = new Set(
  "Date performance process crypto console fetch setTimeout setInterval setImmediate queueMicrotask".split(" ")
)

const inSrc = (files: Files): ReadonlyArray<readonly [string, string]> =>
  [...files].filter(([file]) => file.startsWith("src/"))

const folderOf = (file: string): string => file.split("/").length > 2 ? file.split("/")[1] ?? "" : ""

const resolve = (file: string, specifier: string): string | undefined =>
  specifier.startsWith(".") ? Path.posix.join(Path.posix.dirname(file), specifier) : undefined

/** For each import of a file in src: the violation `check` sees in it, if any. */
const eachImport = (
  check: (at: { readonly file: string; readonly specifier: string; readonly lazy: boolean }) => string | undefined
): Rule =>
(files) =>
  inSrc(files).flatMap(([file, text]) =>
    parse(text).imports.flatMap((found) => {
      const violation = check({ file, ...found })
      return violation === undefined ? [] : [`${file}: imports ${found.specifier}: ${violation}`]
    })
  )

const eachNode = (
  scope: (file: string) => boolean,
  check: (node: Node, file: string) => string | undefined
): Rule =>
(files) =>
  [...files].filter(([file]) => scope(file)).flatMap(([file, text]) => {
    const source = parse(text)
    return source.nodes.flatMap((node) => {
      const violation = check(node, file)
      return violation === undefined ? [] : [`${file}: line ${source.lineOf(node)}: ${violation}`]
    })
  })

export const parses: Rule = (files) =>
  [...files].flatMap(([file, text]) => parse(text).errors.map((error) => `${file}: ${error}`))

export const direction: Rule = eachImport(({ file, lazy, specifier }) => {
  const target = resolve(file, specifier)
  if (target === undefined) return undefined
  const from = folderOf(file)
  if (target === "package.json" && from === "cli") return undefined
  if (!target.startsWith("src/")) return "src imports only src"
  const to = folderOf(target)
  if (from === to) return undefined
  if (to === "testing") {
    return file === "src/cli/Simulate.ts" && lazy ? undefined : "only cli/Simulate.ts reaches testing, by import()"
  }
  if (from === "testing") return to === "node" || to === "cli" ? "testing runs without node and cli" : undefined
  if (from === "") return to === "cli" ? "the package does not contain the command" : undefined
  return to === "" || folders.indexOf(to) > folders.indexOf(from) ? `${from} comes before ${to}` : undefined
})

export const knownFolders: Rule = (files) =>
  inSrc(files).flatMap(([file]) => {
    const folder = folderOf(file)
    if (folder === "") return file === "src/index.ts" ? [] : [`${file}: belongs into a folder`]
    return folder === "testing" || folders.includes(folder) ? [] : [`${file}: ${folder} is no folder of src`]
  })

export const platform: Rule = eachImport(({ file, specifier }) => {
  const folder = folderOf(file)
  if (specifier.startsWith("node:")) {
    return folder === "node" || folder === "cli" ? undefined : "node:* belongs to src/node"
  }
  return specifier.startsWith("@effect/platform-node") && folder !== "node" ? "belongs to src/node" : undefined
})

const isPure = (file: string, text: string): boolean =>
  ["swim", "wire"].includes(folderOf(file)) || /\bPURE\./.test(parse(text).header)

export const pureImports: Rule = (files) =>
  eachImport(({ file, specifier }) => {
    if (!isPure(file, files.get(file) ?? "")) return undefined
    const target = resolve(file, specifier)
    if (target !== undefined) {
      const text = files.get(target)
      return text !== undefined && !isPure(target, text) ? "a pure module imports only pure modules" : undefined
    }
    const name = specifier.startsWith("effect/") ? specifier.slice("effect/".length) : ""
    if (wireEffectModules.has(name)) return folderOf(file) === "wire" ? undefined : "only wire may"
    return pureEffectModules.has(name) || name.startsWith("encoding/") ? undefined : "not a data module of Effect"
  })(files)

/** Time and chance come in as input: no clock, timer, `Math.random` or process in a pure module. */
export const pureGlobals: Rule = (files) =>
  eachNode((file) => file.startsWith("src/") && isPure(file, files.get(file) ?? ""), (node) => {
    const used = node.type === "MemberExpression" ? node["object"] : node["callee"]
    if (!isNode(used) || used.type !== "Identifier" || typeof used["name"] !== "string") return undefined
    const property = isNode(node["property"]) ? node["property"]["name"] : undefined
    const ambient = used["name"] === "Math" && property === "random" ||
      used["name"] === "DateTime" && typeof property === "string" && property.startsWith("now")
    return ambient || ambientNames.has(used["name"]) ? `a pure module does not use ${used["name"]}` : undefined
  })(files)

export const sizes: Rule = (files) =>
  [...files].flatMap(([file, text]) => {
    const { functions, lines } = parse(text)
    const long = lines > longestFile ? [`${file}: ${lines} lines, ${longestFile} is the most`] : []
    if (!file.startsWith("src/")) return long
    return long.concat(
      functions.filter(({ ownLines }) => ownLines > longestFunction).map(({ line, ownLines }) =>
        `${file}: line ${line}: a function of ${ownLines} own lines, ${longestFunction} is the most`
      )
    )
  })

export const headers: Rule = (files) =>
  inSrc(files).filter(([, text]) => parse(text).header.replaceAll("*", "").trim() === "").map(([file]) =>
    `${file}: opens without a comment`
  )

/** Every file is reached from an entry. Says nothing before there is a `src/index.ts` to reach from. */
export const deadFiles: Rule = (files) => {
  if (!files.has("src/index.ts")) return []
  const reached = new Set([...files.keys()].filter(isEntry))
  for (const file of reached) {
    for (const { specifier } of parse(files.get(file) ?? "").imports) {
      const target = resolve(file, specifier)
      if (target !== undefined && files.has(target)) reached.add(target)
    }
  }
  return inSrc(files).filter(([file]) => !reached.has(file)).map(([file]) => `${file}: no entry reaches it`)
}

export const names: Rule = (files) =>
  inSrc(files).flatMap(([file]) => {
    const base = Path.posix.basename(file, ".ts")
    const folder = Path.posix.dirname(file).split("/")
    if (folder.some((part) => /^(utils?|types|helpers?|common|misc|shared|lib)$/i.test(part))) {
      return [`${file}: a folder is named after what it is about`]
    }
    if (base === "index" || base === "main") return []
    if (!/^[A-Z][A-Za-z0-9]*$/.test(base)) return [`${file}: not a PascalCase noun`]
    if (/^(Utils?|Types|Helpers?|Common|Misc|Runtime|Scheduler)$|(Utils?|Helpers?|Live|Impl)$/.test(base)) {
      return [`${file}: ${base} does not say what the module is`]
    }
    return []
  })

/** The name a chain of members and calls starts from: `it` in `it.effect.skip("…")`. */
const rootOf = (node: unknown): string | undefined => {
  if (!isNode(node)) return undefined
  if (node.type === "Identifier") return typeof node["name"] === "string" ? node["name"] : undefined
  if (node.type === "MemberExpression") return rootOf(node["object"])
  return node.type === "CallExpression" ? rootOf(node["callee"]) : undefined
}

const switchedOff = new Set(["skip", "only", "todo", "retry", "flakyTest"])
const isTestApi = (name: string | undefined): boolean => name !== undefined && /^(it|test|describe|suite)$/.test(name)

const testSwitch = (node: Node): string | undefined => {
  if (node.type === "MemberExpression" && isTestApi(rootOf(node)) && isNode(node["property"])) {
    const name = node["property"]["name"]
    return typeof name === "string" && switchedOff.has(name) ? `.${name}` : undefined
  }
  if (node.type !== "CallExpression" || !Array.isArray(node["arguments"]) || !isTestApi(rootOf(node))) return undefined
  const options = node["arguments"].filter(isNode).filter(({ type }) => type === "ObjectExpression")
  const keys = options.flatMap(({ properties }) => Array.isArray(properties) ? properties.filter(isNode) : [])
  const found = keys.map(({ key }) => isNode(key) ? key["name"] : undefined)
    .find((name) => typeof name === "string" && switchedOff.has(name))
  return typeof found === "string" ? `{ ${found} }` : undefined
}

/** No test is switched off, singled out or retried, and no module is mocked. */
export const wholeTests: Rule = eachNode((file) => file.startsWith("test/"), (node) => {
  const found = testSwitch(node)
  if (found !== undefined) return `${found}: every test runs, once, or is deleted`
  if (node.type !== "MemberExpression" || rootOf(node["object"]) !== "vi" || !isNode(node["property"])) return undefined
  return ["mock", "doMock"].includes(String(node["property"]["name"])) ? "vi.mock: fakes are layers" : undefined
})

export const doubleCasts: Rule = eachNode(() => true, (node) => {
  const inner = node["expression"]
  return node.type === "TSAsExpression" && isNode(inner) && inner.type === "TSAsExpression"
    ? "a cast through another cast hides a wrong type"
    : undefined
})

/** `class X extends Context.Service<X, …>()("shoal/<folder>/X")`, and the same for `Context.Reference`. */
export const serviceKeys: Rule = eachNode((file) => file.startsWith("src/"), (node, file) => {
  const call = node["superClass"] ?? node["init"]
  if (!isNode(call) || call.type !== "CallExpression" || rootOf(call) !== "Context") return undefined
  const key = Array.isArray(call["arguments"]) && isNode(call["arguments"][0])
    ? call["arguments"][0]["value"]
    : undefined
  const name = isNode(node["id"]) ? node["id"]["name"] : undefined
  if (typeof key !== "string" || typeof name !== "string") return undefined
  const expected = `shoal/${Path.posix.dirname(file).slice("src/".length)}/${name}`
  return key === expected ? undefined : `the key is ${expected}`
})
