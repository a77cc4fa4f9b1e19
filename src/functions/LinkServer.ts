/** The control plane's end of the link to a gateway: answers its questions, takes its news, pushes what changes.
 *
 * Boundary: translates between plain messages and `ClusterManager`, `Catalog` and `Admin`; it decides nothing. Questions
 * are answered side by side, as a slow deploy must not hold up a look-up; news about warm versions is taken in order.
 * Invariants: M5 (at most `maxQuestions` open and `maxNews` waiting; what is beyond is counted and dropped, and a gateway
 * treats a question without an answer as one that came too late). */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { ClusterManager } from "../cluster/ClusterManager.ts"
import type { ClusterView } from "../cluster/ClusterView.ts"
import { Admin } from "./Admin.ts"
import { Catalog } from "./Catalog.ts"
import type * as Link from "./Link.ts"

export const maxQuestions = 2048
export const maxNews = 16_384

/** Messages of gateways that found no place, by kind. */
export const dropped = Metric.counter("shoal_link_dropped_total", {
  description: "Messages of a gateway dropped because too many were open",
  incremental: true
})

export class LinkServer extends Context.Service<LinkServer, {
  /** Serves one gateway until it is interrupted: first the view and the functions as they are, then every change. */
  readonly serve: (port: Link.ControlPort) => Effect.Effect<never>
  /** Tells every gateway served that the node leaves. */
  readonly drain: Effect.Effect<void>
}>()("shoal/functions/LinkServer") {}

type Question = Extract<Link.ToControl, { readonly id: number }>
type News = Exclude<Link.ToControl, Question>

const isQuestion = (message: Link.ToControl): message is Question => "id" in message

const toView = (view: ClusterView): Link.ToGateway => ({
  _tag: "View",
  self: view.self,
  bootId: view.bootId,
  role: view.role,
  epoch: view.reign?.epoch ?? 0,
  members: view.members.map(({ bootId, id, meta, status }) => ({ id, bootId, status, data: meta?.data }))
})

interface Services {
  readonly cluster: ClusterManager["Service"]
  readonly catalog: Catalog["Service"]
  readonly admin: Admin["Service"]
}

const answer = ({ admin, catalog, cluster }: Services, question: Question): Effect.Effect<Link.ToGateway> => {
  const { id } = question
  switch (question._tag) {
    case "Locate":
      return Effect.map(cluster.locate(question.version), ({ lease, nodes }) => ({
        _tag: "Located",
        id,
        lease,
        nodes: nodes.map((node) => ({ id: node.id, bootId: node.bootId }))
      }))
    case "Resolve":
      return Effect.match(catalog.resolve(question.name, question.ref), {
        onSuccess: (manifest) => ({ _tag: "Resolved", id, manifest, unavailable: false }),
        onFailure: ({ unavailable }) => ({ _tag: "Resolved", id, manifest: undefined, unavailable })
      })
    case "Bundle":
      return Effect.match(catalog.bundlePath(question.digest), {
        onSuccess: (path) => ({ _tag: "Bundled", id, path, message: "" }),
        onFailure: ({ detail }) => ({ _tag: "Bundled", id, path: undefined, message: detail })
      })
    case "Admin":
      return Effect.map(admin.handle(question), ({ body, contentType, status }) => ({
        _tag: "AdminReply",
        id,
        status,
        contentType,
        body
      }))
  }
}

const take = (cluster: ClusterManager["Service"], news: News): Effect.Effect<void> => {
  switch (news._tag) {
    case "Started":
      return cluster.register(news.version)
    case "Stopped":
      return cluster.deregister(news.version)
    case "LeaseRenew":
      return cluster.renewLease(news.version)
    case "LeaseEnd":
      return cluster.endLease(news.version)
    case "Drained":
      return Effect.logInfo("the gateway has finished its calls")
  }
}

const serve = Effect.fnUntraced(function*(services: Services, port: Link.ControlPort) {
  const { catalog, cluster } = services
  const news = yield* Queue.dropping<News>(maxNews)
  const questions = yield* FiberSet.make<void>()
  const fork = yield* FiberSet.runtime(questions)()
  const drop = (message: Link.ToControl) => Metric.update(Metric.withAttributes(dropped, { kind: message._tag }), 1)
  const reply = (question: Question) =>
    answer(services, question).pipe(
      Effect.map(port.post),
      Effect.catchCause((cause) =>
        Cause.hasInterruptsOnly(cause)
          ? Effect.void
          : Effect.logError("a question of the gateway failed", cause).pipe(
            Effect.annotateLogs({ question: question._tag })
          )
      )
    )
  let open = 0
  const closed = Effect.sync(() => {
    open--
  })
  port.onMessage((message) => {
    if (!isQuestion(message)) {
      if (!Queue.offerUnsafe(news, message)) fork(drop(message))
    } else if (open < maxQuestions) {
      open++
      fork(Effect.ensuring(reply(message), closed))
    } else fork(drop(message))
  })
  return yield* Effect.raceAllFirst([
    Stream.runForEach(cluster.views, (view) => Effect.sync(() => port.post(toView(view)))),
    Stream.runForEach(catalog.changes, ({ functions }) => Effect.sync(() => port.post({ _tag: "Catalog", functions }))),
    Effect.forever(
      Effect.flatMap(Queue.takeAll(news), Effect.forEach((each) => take(cluster, each), { discard: true }))
    )
  ]).pipe(Effect.andThen(Effect.die("the link lost a source of news")))
}, Effect.scoped)

const make = Effect.gen(function*() {
  const services = { cluster: yield* ClusterManager, catalog: yield* Catalog, admin: yield* Admin }
  const ports = new Set<Link.ControlPort>()
  return LinkServer.of({
    serve: (port) =>
      Effect.acquireUseRelease(
        Effect.sync(() => ports.add(port)),
        () => serve(services, port),
        () => Effect.sync(() => ports.delete(port))
      ),
    drain: Effect.sync(() => ports.forEach((port) => port.post({ _tag: "Draining" })))
  })
})

export const layer: Layer.Layer<LinkServer, never, ClusterManager | Catalog | Admin> = Layer.effect(LinkServer, make)
