/** Members on disk: what one run of a member leaves to the next.
 *
 *   "SHM" | version u8 | wall clock at the time, ms, f64be | (length u16be | State)*
 *
 * PURE. Boundary: checksums and files are the owner's. Decoding is total and bounded. Ages grow by the time that has
 * passed, so that a tombstone is forgotten when its time is over. */
import * as Result from "effect/Result"
import type * as Member from "../swim/Member.ts"
import type * as Message from "../swim/Message.ts"
import * as Codec from "./Codec.ts"
import * as Packet from "./Packet.ts"

const head = 12
const version = 1
/** More members than this are not looked at. */
const maxMembers = 1_000_000

export interface Saved {
  /** Wall clock, milliseconds since the epoch. */
  readonly savedAt: number
  readonly states: ReadonlyArray<Message.State>
}

/** Always in the binary codec, whatever the wire uses. */
export const encode = (saved: Saved): Uint8Array => {
  const parts = saved.states.map(Codec.binary.encode)
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + 2 + part.length, head))
  const view = new DataView(bytes.buffer)
  bytes.set([0x53, 0x48, 0x4d, version])
  view.setFloat64(4, saved.savedAt)
  let at = head
  for (const part of parts) {
    view.setUint16(at, part.length)
    bytes.set(part, at + 2)
    at += 2 + part.length
  }
  return bytes
}

export const decode = (bytes: Uint8Array): Result.Result<Saved, string> => {
  if (bytes.length < head || bytes[0] !== 0x53 || bytes[1] !== 0x48 || bytes[2] !== 0x4d) {
    return Result.fail("these are no saved members")
  }
  if (bytes[3] !== version) return Result.fail("members saved by another release")
  const savedAt = new DataView(bytes.buffer, bytes.byteOffset).getFloat64(4)
  if (!Number.isFinite(savedAt) || savedAt < 0) return Result.fail("the time at which they were saved is missing")
  const out: Array<Message.Message> = []
  const broken = Packet.parts(Codec.binary, bytes, { at: head, out, max: maxMembers })
  if (broken !== undefined) return Result.fail(broken)
  return Result.succeed({ savedAt, states: out.filter((message) => message._tag === "State") })
}

/** What a later run makes of it. */
export interface Restored {
  /** The dead and the left that are still to be remembered, with their ages by now. */
  readonly tombstones: ReadonlyArray<Message.State>
  /** Where members lived that were not known to be gone, those with the newest news first. */
  readonly contacts: ReadonlyArray<Member.Address>
}

/** Lives are only contacted and shown when they have shown themselves: a death that others know of, or have forgotten by
 * now, is never undone by what was true once. */
export const restore = (
  saved: Saved,
  options: { readonly now: number; readonly retention: number; readonly maxContacts: number }
): Restored => {
  const passed = Math.max(0, options.now - saved.savedAt)
  const living = saved.states.filter(({ status }) => status === "alive" || status === "suspect")
  const tombstones = saved.states.filter(({ age, status }) =>
    (status === "dead" || status === "left") && age + passed < options.retention
  )
  return {
    tombstones: tombstones.map((state) => ({ ...state, age: Math.round(state.age + passed) })),
    contacts: living.toSorted((a, b) => a.age - b.age).slice(0, options.maxContacts).map(({ address }) => address)
  }
}
