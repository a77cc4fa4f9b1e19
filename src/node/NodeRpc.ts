/** Serves the calls of other nodes: one port, one merged group, once per serialization. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as RpcServer from "effect/rpc/RpcServer"
import * as SocketServer from "effect/socket/SocketServer"
import { ClusterRpc } from "../cluster/ClusterRpc.ts"
import * as ClusterServer from "../cluster/ClusterServer.ts"
import * as KeyRpc from "../cluster/KeyRpc.ts"
import * as Peers from "../cluster/Peers.ts"
import * as PeerServer from "../cluster/PeerServer.ts"
import * as CatalogHandlers from "../functions/CatalogHandlers.ts"
import { CatalogRpc } from "../functions/CatalogRpc.ts"

/** Everything that one node may ask of another. */
export const group = ClusterRpc.merge(CatalogRpc).merge(KeyRpc.KeyRpc)

export const layer = Layer.effectDiscard(Effect.gen(function*() {
  const { sockets } = yield* PeerServer.PeerServer
  const disableTracing = !(yield* Peers.traced)
  for (const { serialization, server } of sockets) {
    yield* Layer.build(Layer.fresh(
      RpcServer.layer(group, { disableFatalDefects: true, disableTracing }).pipe(
        Layer.provide([ClusterServer.layer, CatalogHandlers.layer, KeyRpc.layer]),
        Layer.provide(RpcServer.layerProtocolSocketServer),
        Layer.provide(Layer.succeed(SocketServer.SocketServer, server)),
        Layer.provide(serialization)
      )
    ))
  }
}))
