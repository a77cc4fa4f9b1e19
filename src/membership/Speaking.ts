/** How user messages leave: encoded, in the order of the callers, waiting while the core's queue is full.
 *
 * Boundary: the core judges size and room; kinds are `Broadcast`'s. */
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import type { MemberId } from "../swim/Member.ts"
import { type Broadcast, MessageTooLarge, Undelivered } from "./Broadcast.ts"
import type { Shell } from "./Shell.ts"

type Failure = MessageTooLarge | Undelivered | Schema.SchemaError

/** How long to wait before a full queue is tried again. */
const retryMs = 20

const failure = (name: string, bytes: number, refused: string): MessageTooLarge | Undelivered => {
  switch (refused) {
    case "oversized":
    case "oversized-broadcast":
      return new MessageTooLarge({ name, bytes })
    case "left":
    case "unknown-member":
    case "member-gone":
    case "queue-full":
    case "expired":
      return new Undelivered({ name, reason: refused })
    default:
      return new Undelivered({ name, reason: "stopped" })
  }
}

export const broadcast = (shell: Shell) => {
  const turn = Semaphore.makeUnsafe(1)
  return Effect.fnUntraced(function*<A>(definition: Broadcast<A>, value: A): Effect.fn.Return<void, Failure> {
    const { invalidates, key, name, urgent } = definition
    const payload = yield* definition.encode(value)
    const command = {
      _tag: "Broadcast",
      kind: name,
      key: key(value),
      payload,
      urgent,
      invalidates: invalidates(value)
    } as const
    // One at a time, so that a later caller does not overtake one that waits.
    const refused = yield* turn.withPermits(1)(Effect.gen(function*() {
      while (true) {
        const refused = yield* shell.ask(command)
        if (refused !== "broadcast-queue-full") return refused
        yield* Effect.sleep(retryMs)
      }
    }))
    if (refused !== undefined) return yield* failure(name, payload.length, refused)
  })
}

export const send = (shell: Shell) =>
  Effect.fnUntraced(
    function*<A>(to: MemberId, definition: Broadcast<A>, value: A): Effect.fn.Return<void, Failure> {
      const { name } = definition
      const payload = yield* definition.encode(value)
      const refused = yield* shell.messages.outcome((token) =>
        shell.post({ _tag: "Command", command: { _tag: "Send", to, token, kind: name, payload } })
      )
      if (refused !== undefined) return yield* failure(name, payload.length, refused)
    }
  )
