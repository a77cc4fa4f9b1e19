/** The members as a file for other programs: a JSON array as `shoal members --json` prints it, always whole.
 *
 * Job: writes it at the start and after every change, at most ten times a second, each time beside the old one and then
 * in its place.
 * Boundary: what members tell is passed on as it is; a disk that is full is logged and tried again with the next change. */
import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import process from "node:process"
import * as NodeMeta from "../cluster/NodeMeta.ts"
import type { Membership } from "../membership/Membership.ts"
import { formatAddress } from "../membership/Transport.ts"
import type { Member } from "../swim/Member.ts"

/** The file cannot be written at all. Fault: its path. State: nothing was joined. Retry: with another path. */
export class MembersFileError extends Schema.TaggedError<MembersFileError>()("MembersFileError", {
  path: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `the members file ${this.path} cannot be written: ${this.detail}`
  }
}

const every = "100 millis"

/** What a member tells that takes part in the membership only. */
const Plain = Schema.fromJsonString(
  Schema.Struct({ release: Schema.String, tags: Schema.Record(Schema.String, Schema.String) })
)
const decodePlain = Schema.decodeUnknownOption(Plain)
const encodePlain = Schema.encodeEffect(Plain)
const text = new TextDecoder()

/** The metadata of a member that runs no functions. */
export const metadata = (told: typeof Plain.Type): Effect.Effect<Uint8Array, Schema.SchemaError> =>
  Effect.map(encodePlain(told), (json) => new TextEncoder().encode(json))

/** One member as it is shown. */
export const describe = (member: Member) => {
  const meta = NodeMeta.decode(member.meta)
  const plain = meta ?? Option.getOrUndefined(decodePlain(text.decode(member.meta)))
  const { release = null, ...rest } = plain ?? {}
  return {
    id: member.id,
    address: formatAddress(member.address),
    status: member.status,
    role: null,
    incarnation: member.incarnation,
    startedAt: member.startedAt,
    release,
    metadata: plain === undefined ? null : rest
  }
}

/** Writes the members once. */
export const write = (membership: Membership["Service"], path: string): Effect.Effect<void, MembersFileError> =>
  Effect.flatMap(membership.members, (members) => {
    const shown = members.map(describe).sort((a, b) => a.id < b.id ? -1 : 1)
    return replace(path, `${Formatter.formatJson(shown, { space: 2 })}\n`)
  })

const replace = (path: string, text: string): Effect.Effect<void, MembersFileError> =>
  Effect.uninterruptible(Effect.tryPromise({
    try: async () => {
      const beside = Path.join(Path.dirname(path), `.${Path.basename(path)}.${process.pid}.tmp`)
      try {
        await Fs.writeFile(beside, text, { flush: true })
        await Fs.rename(beside, path)
      } catch (cause) {
        await Fs.rm(beside, { force: true })
        throw cause
      }
    },
    catch: (cause) => new MembersFileError({ path, detail: cause instanceof Error ? cause.message : String(cause) })
  }))

/** Keeps the file current until it is interrupted. */
export const keep = (membership: Membership["Service"], path: string): Effect.Effect<void> =>
  membership.changes.pipe(
    Stream.buffer({ capacity: 1, strategy: "sliding" }),
    Stream.runForEach(() =>
      write(membership, path).pipe(
        Effect.catch((error) =>
          Effect.annotateLogs(Effect.logWarning("Members file cannot be written"), { problem: error.message })
        ),
        Effect.andThen(Effect.sleep(every))
      )
    )
  )
