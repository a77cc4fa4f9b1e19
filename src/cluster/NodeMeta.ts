/** What a node tells about itself in its member metadata: where it listens, which release it runs, if it may lead.
 *
 * PURE. Boundary: gossip carries the bytes and knows nothing of them (membership limits them to 512); who becomes what
 * by them is decided in `Role`. Metadata comes from the network: decoding is total, what does not fit is `undefined`. */
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"

export const maxBytes = 512

export const NodeMeta = Schema.Struct({
  /** `HOST:PORT` of the HTTP listener. */
  http: Schema.String,
  /** `HOST:PORT` of the control connections between nodes. */
  rpc: Schema.String,
  /** `HOST:PORT` of the data connections between nodes. */
  data: Schema.String,
  release: Schema.String,
  /** May become master. Canaries may not. */
  eligible: Schema.Boolean,
  tags: Schema.Record(Schema.String, Schema.String)
})
export type NodeMeta = typeof NodeMeta.Type

const Json = Schema.fromJsonString(NodeMeta)
const encodeJson = Schema.encodeUnknownExit(Json)
const decodeJson = Schema.decodeUnknownExit(Json)
const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8")

/** The bytes for `Membership.setMetadata`; undefined when they would be more than `maxBytes` (too many or long tags). */
export const encode = (meta: NodeMeta): Uint8Array | undefined => {
  const exit = encodeJson(meta)
  if (!Exit.isSuccess(exit)) return undefined
  const bytes = encoder.encode(exit.value)
  return bytes.length > maxBytes ? undefined : bytes
}

/** Total: metadata of another program, or none, is undefined. */
export const decode = (bytes: Uint8Array): NodeMeta | undefined => {
  if (bytes.length === 0 || bytes.length > maxBytes) return undefined
  const exit = decodeJson(decoder.decode(bytes))
  return Exit.isSuccess(exit) ? exit.value : undefined
}
