/** `shoal key`: makes keys, and changes the rings of all members through one node.
 *
 * A rotation is `install`, `use`, `remove`, each of which the node refuses while it would part the cluster. A step that
 * did not reach every member is a failure that names them; it may be repeated.
 * Boundary: keys themselves are only shown by `generate`; everything else speaks of fingerprints. */
import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { writeFile } from "node:fs/promises"
import * as ClusterKey from "../membership/ClusterKey.ts"
import * as Client from "./Client.ts"
import { CommandError, UsageError } from "./Failure.ts"
import * as KeyOption from "./KeyOption.ts"
import * as KeyToken from "./KeyToken.ts"
import * as Query from "./Query.ts"
import { Session } from "./Session.ts"
import * as Table from "./Table.ts"

interface Flags extends KeyOption.Flags {
  readonly server: string | undefined
  readonly json: boolean
}

const bitsOf = { "128": 16, "192": 24, "256": 32 } as const

export const generate = Effect.fn("Key.generate")(function*(flags: {
  readonly bits: string | undefined
  readonly out: string | undefined
}) {
  const session = yield* Session
  const { bits = "256", out } = flags
  if (bits !== "128" && bits !== "192" && bits !== "256") {
    return yield* new UsageError({ message: `--bits: "${bits}" is none of 128, 192, 256` })
  }
  const text = `${yield* KeyToken.generate(bitsOf[bits])}\n`
  if (out === undefined) return yield* session.print(text)
  yield* Effect.tryPromise({
    try: () => writeFile(out, text, { mode: 0o600, flag: "wx" }),
    catch: () => new CommandError({ message: `${out} exists already or cannot be written` })
  })
  yield* session.print(`wrote a key of ${bits} bits to ${out}, readable by you alone\n`)
})

const Held = Schema.Array(Schema.Struct({
  node: Schema.String,
  keys: Schema.Array(Schema.Struct({ id: Schema.String, bits: Schema.Int, primary: Schema.Boolean })),
  problem: Schema.NullOr(Schema.String)
}))
const Outcomes = Schema.Array(Schema.Struct({ node: Schema.String, problem: Schema.NullOr(Schema.String) }))

export const list = Effect.fn("Key.list")(function*(flags: Flags) {
  const session = yield* Session
  const server = yield* Client.serverUrl(flags.server, session.env)
  const value = yield* Client.json(server, { method: "GET", path: "/system/keys" })
  if (flags.json) return yield* session.print(`${Formatter.formatJson(value, { space: 2 })}\n`)
  const held = yield* Query.decode(Held, value, "/system/keys")
  const asked = held.filter(({ problem }) => problem === null)
  const ids = [...new Set(asked.flatMap(({ keys }) => keys.map(({ id }) => id)))].sort()
  const rows = ids.map((id) => {
    const found = asked.flatMap(({ keys }) => keys.filter((key) => key.id === id))
    const used = found.filter(({ primary }) => primary).length
    return [id, String(found[0]?.bits ?? ""), `${found.length} of ${asked.length}`, `${used} of ${asked.length}`]
  })
  yield* session.print(`${Table.render(["KEY", "BITS", "INSTALLED", "USED BY"], rows, Query.style(session))}\n`)
  for (const { node, problem } of held) {
    if (problem !== null) yield* session.complain(`shoal: ${Table.clean(`${node}: ${problem}`)}\n`)
  }
})

/** One step on all members. */
const step = Effect.fn("Key.step")(function*(
  flags: Flags,
  request: { readonly method: "POST" | "DELETE"; readonly path: string; readonly body: Schema.Json },
  done: string
) {
  const session = yield* Session
  const server = yield* Client.serverUrl(flags.server, session.env)
  const { body, method, path } = request
  const value = yield* Client.json(server, {
    method,
    path,
    body: Formatter.formatJson(body),
    contentType: "application/json"
  })
  const outcomes = yield* Query.decode(Outcomes, value, path)
  const failed = outcomes.filter(({ problem }) => problem !== null)
  const count = `${outcomes.length - failed.length} of ${outcomes.length} members`
  yield* session.print(flags.json ? `${Formatter.formatJson(value, { space: 2 })}\n` : `${done} on ${count}\n`)
  if (failed.length === 0) return
  const names = failed.map(({ node, problem }) => `${node} (${problem ?? ""})`).join(", ")
  return yield* new CommandError({ message: Table.clean(`not done on ${names}`), remedy: "Repeat the step." })
})

export const install = Effect.fn("Key.install")(function*(
  flags: Flags & { readonly newKey: string | undefined; readonly from: string | undefined }
) {
  const { env } = yield* Session
  if ((flags.newKey === undefined) === (flags.from === undefined)) {
    return yield* new UsageError({ message: "give the new key either as an argument or in a file with --from FILE" })
  }
  const text = flags.newKey ?? (yield* KeyOption.readText(flags.from ?? ""))
  const secret = ClusterKey.parse(text)
  if (Result.isFailure(secret)) return yield* new UsageError({ message: secret.failure })
  const body = yield* KeyToken.installBody(secret.success, flags, env)
  const id = yield* KeyToken.fingerprint(secret.success)
  yield* step(flags, { method: "POST", path: "/system/keys", body }, `installed ${id}`)
})

interface StepFlags extends Flags {
  readonly id: string
  readonly force: boolean
}

export const use = ({ id, force, ...flags }: StepFlags) =>
  step(flags, { method: "POST", path: "/system/keys/use", body: { id, force } }, `${id} is used`)

export const remove = ({ id, force, ...flags }: StepFlags) =>
  step(flags, { method: "DELETE", path: "/system/keys", body: { id, force } }, `removed ${id}`)
