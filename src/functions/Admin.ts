/** The administration of a node as data: a request in, a reply out, both without sockets.
 *
 * Job: members, status, functions, deploy, removal, leaving, and the metrics of the control plane; every input is decoded
 * with its bounds and refused with the field that is wrong.
 * Boundary: who may ask is decided by the gateway before (`AdminGuard`), which also bounds the body. The shapes of
 * members and status are stable: scripts depend on them; functions look as OpenFaaS shows them, with more fields. */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { HandoverRefused, NoMaster } from "../cluster/ClusterError.ts"
import { ClusterManager } from "../cluster/ClusterManager.ts"
import * as ClusterView from "../cluster/ClusterView.ts"
import type { Keys, KeysUnready, Step } from "../cluster/Keys.ts"
import type { KeyringError } from "../membership/Keyring.ts"
import { formatAddress } from "../membership/Transport.ts"
import * as Member from "../swim/Member.ts"
import { Catalog } from "./Catalog.ts"
import type { Invalid, NotDurable, NotFound, Warm } from "./CatalogRpc.ts"
import * as CatalogState from "./CatalogState.ts"
import * as Manifest from "./Manifest.ts"

export interface Request {
  readonly method: string
  /** without the query */
  readonly path: string
  readonly query: string
  readonly body: Uint8Array | undefined
  /** repeated in errors */
  readonly callId?: string | undefined
}

export interface Reply {
  readonly status: number
  readonly contentType: string
  readonly body: Uint8Array
}

export class Admin extends Context.Service<Admin, {
  /** Answers every request; never fails. */
  readonly handle: (request: Request) => Effect.Effect<Reply>
}>()("shoal/functions/Admin") {}

/** Why a request is not done. */
class Refusal extends Schema.TaggedError<Refusal>()("Refusal", {
  status: Schema.Finite,
  component: Schema.Literals(["cluster", "admin", "catalog"]),
  reason: Schema.String,
  retryable: Schema.Boolean,
  detail: Schema.String
}) {}

const badRequest = (detail: string): Refusal =>
  new Refusal({ status: 400, component: "admin", reason: "bad-request", retryable: false, detail })

const notFound = (detail: string): Refusal =>
  new Refusal({ status: 404, component: "catalog", reason: "not-found", retryable: false, detail })

const unavailable = (reason: "not-durable" | "no-master", detail: string): Refusal =>
  new Refusal({ status: 503, component: "catalog", reason, retryable: true, detail })

const Json = Schema.fromJsonString(Schema.Json)
const encodeJson = Schema.encodeEffect(Json)

const json = (status: number, value: Schema.Json): Effect.Effect<Reply> =>
  Effect.map(Effect.orDie(encodeJson(value)), (text) => ({
    status,
    contentType: "application/json",
    body: new TextEncoder().encode(text)
  }))

/** What a client sends to deploy. */
const DeployBody = Schema.fromJsonString(Schema.Struct({
  service: Manifest.FunctionName,
  bundle: Schema.Uint8ArrayFromBase64,
  env: Schema.optionalKey(Manifest.Environment),
  limits: Schema.optionalKey(Manifest.PartialLimits),
  alias: Schema.optionalKey(Manifest.Alias)
}))

const RemoveBody = Schema.fromJsonString(Schema.Struct({ functionName: Schema.String }))

/** Characters of an explanation: a message may quote the input. */
const maxDetail = 400

const decodeBody = <A, I>(schema: Schema.Codec<A, I>, body: Uint8Array | undefined, example: string) => {
  const expected = `expected JSON such as ${example}`
  if (body === undefined || body.length === 0) return Effect.fail(badRequest(`the body is empty: ${expected}`))
  return Schema.decodeUnknownEffect(schema)(new TextDecoder().decode(body), { onExcessProperty: "error" }).pipe(
    Effect.mapError((error) => badRequest(`${error.message.slice(0, maxDetail)}: ${expected}`))
  )
}

const iso = (millis: number): string =>
  Option.match(DateTime.make(millis), { onNone: () => "", onSome: DateTime.formatIso })

const toMember = (member: ClusterView.MemberView): Schema.Json => ({
  id: member.id,
  address: formatAddress(member.address),
  status: member.status,
  role: member.role ?? null,
  incarnation: member.incarnation,
  startedAt: member.startedAt,
  release: member.meta?.release ?? null,
  metadata: member.meta === undefined ? null : {
    http: member.meta.http,
    rpc: member.meta.rpc,
    data: member.meta.data,
    eligible: member.meta.eligible,
    tags: member.meta.tags
  }
})

const byId = (a: ClusterView.MemberView, b: ClusterView.MemberView): number => a.id < b.id ? -1 : 1

const members = Effect.gen(function*() {
  const view = yield* (yield* ClusterManager).view
  return yield* json(200, [...view.members].sort(byId).map(toMember))
})

const status = Effect.gen(function*() {
  const cluster = yield* ClusterManager
  const catalog = yield* Catalog
  const view = yield* cluster.view
  const { members, reign, replicas, role, self } = view
  const count = (wanted: ClusterView.MemberView["status"]) =>
    members.filter((member) => member.status === wanted).length
  const warm = yield* catalog.warm
  return yield* json(200, {
    self,
    // a reign outlives its holder until the next claim: then nobody is master
    reign: reign === undefined ? null : { epoch: reign.epoch, master: ClusterView.master(view)?.id ?? null },
    role,
    replicas,
    members: { alive: count("alive"), suspect: count("suspect"), dead: count("dead"), left: count("left") },
    functions: yield* catalog.count,
    routes: warm.reduce((sum, { nodes }) => sum + nodes.length, 0),
    rollout: null
  })
})

/** A function as OpenFaaS lists it, with ours beside. */
const toListed = (record: CatalogState.FunctionRecord, warm: ReadonlyMap<string, Warm>) => {
  const move = CatalogState.current(record, Manifest.live) ?? Object.values(record.aliases)[0]?.[0]
  const manifest = move === undefined ? undefined : CatalogState.manifestOf(record, move.version)
  const nodes = warm.get(move?.version ?? "")?.nodes ?? []
  const aliases = Object.entries(record.aliases).map(([alias, [current]]) => [alias, current?.version ?? null])
  return {
    name: record.name,
    image: `shoal:${move?.version ?? ""}`,
    namespace: "",
    version: move?.version ?? null,
    aliases: Object.fromEntries(aliases),
    replicas: nodes.length,
    availableReplicas: nodes.length,
    warm: nodes,
    size: manifest?.size ?? 0,
    limits: manifest?.limits ?? Manifest.defaults,
    createdAt: iso(manifest?.createdAt ?? 0)
  }
}

const warmByVersion = Effect.gen(function*() {
  const all = yield* (yield* Catalog).warm
  return new Map(all.map((one) => [one.version, one]))
})

const list = Effect.gen(function*() {
  const records = yield* (yield* Catalog).list
  const warm = yield* warmByVersion
  return yield* json(200, records.map((record) => toListed(record, warm)).sort((a, b) => a.name < b.name ? -1 : 1))
})

const describe = Effect.fnUntraced(function*(name: string) {
  const catalog = yield* Catalog
  yield* Effect.ignore(catalog.resolve(name, undefined))
  const found = yield* catalog.describe(name)
  if (Option.isNone(found)) return yield* notFound(`no function ${name.slice(0, 100)}`)
  const record = found.value
  const warm = yield* warmByVersion
  return yield* json(200, {
    ...toListed(record, warm),
    versions: record.versions.map(({ manifest }) => ({
      version: manifest.version,
      bundle: manifest.bundle,
      size: manifest.size,
      createdAt: iso(manifest.createdAt),
      limits: manifest.limits,
      env: Object.keys(manifest.env).sort(),
      warm: warm.get(manifest.version)?.nodes ?? []
    })),
    history: Object.fromEntries(
      Object.entries(record.aliases).map(([alias, moves]) => [
        alias,
        moves.map(({ at, stamp, version }) => ({ version, at: iso(at), epoch: stamp.epoch, master: stamp.master }))
      ])
    )
  })
})

const deploy = Effect.fnUntraced(function*(body: Uint8Array | undefined) {
  const catalog = yield* Catalog
  const example = `{ "service": "hello", "bundle": "BASE64", "env": {}, "limits": { "timeoutMs": 30000 } }`
  const { alias, bundle, env, limits, service } = yield* decodeBody(DeployBody, body, example)
  const manifest = yield* catalog.deploy({ name: service, bundle, env, limits, alias })
  const view = yield* (yield* ClusterManager).view
  const nodes = view.members.filter((member) => member.status === "alive").map((member): string => member.id).sort()
  return yield* json(200, { name: manifest.name, version: manifest.version, nodes })
})

const remove = Effect.fnUntraced(function*(body: Uint8Array | undefined) {
  const { functionName } = yield* decodeBody(RemoveBody, body, `{ "functionName": "hello" }`)
  yield* (yield* Catalog).remove(functionName)
  return yield* json(200, { name: functionName, removed: true })
})

const leaving = Effect.fnUntraced(function*(leave: Effect.Effect<void>) {
  const { self } = yield* (yield* ClusterManager).view
  yield* Effect.forkDetach(leave.pipe(
    Effect.tapCause((cause) => Effect.logError("leaving failed", cause)),
    Effect.ignoreCause
  ))
  return yield* json(202, { self, leaving: true })
})

const HandoverBody = Schema.fromJsonString(Schema.Struct({ to: Schema.String.check(Schema.isMaxLength(255)) }))

const handover = Effect.fnUntraced(function*(body: Uint8Array | undefined) {
  const cluster = yield* ClusterManager
  const { to } = yield* decodeBody(HandoverBody, body, `{ "to": "n2" }`)
  const former = ClusterView.master(yield* cluster.view)?.id ?? null
  const [took, { closedMs, reign }] = yield* Effect.timed(cluster.handover(Member.id(to)))
  return yield* json(200, {
    from: former,
    to: reign.id,
    epoch: reign.epoch,
    tookMs: Math.round(Duration.toMillis(took)),
    closedMs: Math.round(closedMs)
  })
})

/** Only a moment that was bad may be better later. */
const handoverRefusal = ({ detail, reason }: HandoverRefused): Refusal => {
  const retryable = reason === "busy" || reason === "aborted"
  const status = reason === "not-a-member" ? 404 : reason === "aborted" ? 503 : 409
  const said = reason === "aborted" ? `the handover was aborted because ${detail}; the master goes on` : detail
  return new Refusal({ status, component: "cluster", reason, retryable, detail: said.slice(0, maxDetail) })
}

// --- keys

const KeyBody = Schema.fromJsonString(Schema.Struct({
  key: Schema.String.check(Schema.isMaxLength(256)),
  wrappedWith: Schema.optionalKey(Schema.String)
}))
const KeyIdBody = Schema.fromJsonString(Schema.Struct({ id: Schema.String, force: Schema.optionalKey(Schema.Boolean) }))

type KeysService = Keys["Service"]

const listKeys = Effect.fnUntraced(function*(keys: KeysService) {
  const held = yield* keys.list
  return yield* json(200, held.map(({ keys, node, problem }) => ({ node, keys: [...keys], problem: problem ?? null })))
})

const applyStep = Effect.fnUntraced(function*(keys: KeysService, step: Step) {
  const outcomes = yield* keys.apply(step)
  return yield* json(200, outcomes.map(({ node, problem }) => ({ node, problem: problem ?? null })))
})

const installKey = Effect.fnUntraced(function*(keys: KeysService, body: Uint8Array | undefined) {
  // A body that is wrong is not repeated in the answer: it may hold a key.
  const decoded = yield* Effect.mapError(
    decodeBody(KeyBody, body, ""),
    () => badRequest(`expected JSON such as { "key": "BASE64" }`)
  )
  return yield* applyStep(keys, { _tag: "Install", ...decoded })
})

const keyStep = Effect.fnUntraced(function*(keys: KeysService, _tag: "Use" | "Remove", body: Uint8Array | undefined) {
  const { force = false, id } = yield* decodeBody(KeyIdBody, body, `{ "id": "FINGERPRINT" }`)
  return yield* applyStep(keys, { _tag, id, force })
})

const keyStatus = { "bad-key": 400, "unknown-key": 404, "in-use": 409, full: 409, "no-ring": 409, "not-saved": 503 }

const keyRefusal = (error: KeyringError): Refusal =>
  new Refusal({
    status: keyStatus[error.reason],
    component: "admin",
    reason: error.reason,
    retryable: error.reason === "not-saved",
    detail: error.message
  })

const unready = (error: KeysUnready): Refusal =>
  new Refusal({
    status: 409,
    component: "admin",
    reason: "not-ready",
    retryable: true,
    detail: error.message.slice(0, maxDetail)
  })

const metrics = Effect.map(PrometheusMetrics.format(), (text): Reply => ({
  status: 200,
  contentType: "text/plain; version=0.0.4; charset=utf-8",
  body: new TextEncoder().encode(text)
}))

type Answer = Effect.Effect<
  Reply,
  Refusal | Invalid | NotFound | NotDurable | NoMaster | HandoverRefused | KeyringError | KeysUnready,
  Catalog | ClusterManager
>

/** The methods of each path. */
const routesOf = (request: Request, { keys, leave }: Options): Record<string, Answer> | undefined => {
  const { body, path } = request
  const one = /^\/system\/functions?\/([^/]{1,100})$/.exec(path)?.[1]
  if (one !== undefined) return { GET: describe(one) }
  switch (path) {
    case "/system/members":
      return { GET: members }
    case "/system/status":
      return { GET: status }
    case "/system/functions":
      return { GET: list, POST: deploy(body), PUT: deploy(body), DELETE: remove(body) }
    case "/system/handover":
      return { POST: handover(body) }
    case "/system/leave":
      return { POST: leaving(leave) }
    case "/system/keys":
      return keys && { GET: listKeys(keys), POST: installKey(keys, body), DELETE: keyStep(keys, "Remove", body) }
    case "/system/keys/use":
      return keys && { POST: keyStep(keys, "Use", body) }
    case "/metrics":
      return { GET: metrics }
    default:
      return undefined
  }
}

const route = (request: Request, options: Options): Answer => {
  const methods = routesOf(request, options)
  if (methods === undefined) {
    return Effect.fail(
      new Refusal({
        status: 404,
        component: "admin",
        reason: "not-found",
        retryable: false,
        detail: `nothing at ${request.path.slice(0, 100)}`
      })
    )
  }
  const chosen = Object.hasOwn(methods, request.method) ? methods[request.method] : undefined
  if (chosen !== undefined) return chosen
  return Effect.fail(
    new Refusal({
      status: 405,
      component: "admin",
      reason: "method-not-allowed",
      retryable: false,
      detail: `${request.path} takes ${Object.keys(methods).join(", ")}`
    })
  )
}

const refuse = (request: Request, refusal: Refusal): Effect.Effect<Reply> =>
  json(refusal.status, {
    component: refusal.component,
    reason: refusal.reason,
    callId: request.callId ?? "",
    retryable: refusal.retryable,
    message: refusal.detail
  })

export interface Options {
  /** Takes the node out of the cluster and ends it. */
  readonly leave: Effect.Effect<void>
  /** Without it nothing is answered about keys. */
  readonly keys?: KeysService
}

/** Answers from this node's cluster manager and catalog. */
export const layer = (options: Options): Layer.Layer<Admin, never, Catalog | ClusterManager> =>
  Layer.effect(
    Admin,
    Effect.gen(function*() {
      const context = yield* Effect.context<Catalog | ClusterManager>()
      const handle = (request: Request): Effect.Effect<Reply> =>
        route(request, options).pipe(
          Effect.catchTags({
            Invalid: (error) => badRequest(error.detail.slice(0, maxDetail)),
            NotFound: (error) => notFound(`no function ${error.name.slice(0, 100)}`),
            NotDurable: (error) => unavailable("not-durable", error.message.slice(0, maxDetail)),
            KeyringError: (error) => keyRefusal(error),
            KeysUnready: (error) => unready(error),
            HandoverRefused: handoverRefusal,
            NoMaster: () => unavailable("no-master", "no master could be reached")
          }),
          Effect.catchTag("Refusal", (refusal) => refuse(request, refusal)),
          Effect.catchCause((cause) =>
            Effect.andThen(
              Effect.logError("an administration request failed", Cause.pretty(cause)),
              refuse(
                request,
                new Refusal({
                  status: 500,
                  component: "admin",
                  reason: "internal",
                  retryable: false,
                  detail: "see the log of this node"
                })
              )
            )
          ),
          Effect.provideContext(context)
        )
      return Admin.of({ handle })
    })
  )
