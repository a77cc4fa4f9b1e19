/** The two ways in which a command ends badly, and their exit codes.
 *
 * Boundary: commands fail with these; `Program` turns them into one line on stderr and a code. PURE. */
import * as Schema from "effect/Schema"

/** Wrong usage: an unknown flag, a malformed address. Fault: the caller. State: unchanged. Retry: pointless. Exit 2. */
export class UsageError extends Schema.TaggedError<UsageError>()("UsageError", {
  /** What is wrong, naming the flag or argument. */
  message: Schema.String
}) {}

/** The command was understood and could not be done. Fault and state: told by the message. Exit 1. */
export class CommandError extends Schema.TaggedError<CommandError>()("CommandError", {
  /** The cause and the place. */
  message: Schema.String,
  /** What to do about it, when that is known. */
  remedy: Schema.optionalKey(Schema.String),
  /** The node said that the same request may succeed later. */
  retryable: Schema.optionalKey(Schema.Boolean)
}) {}

export const exitCode = (error: UsageError | CommandError): 1 | 2 => error._tag === "UsageError" ? 2 : 1

/** The lines for stderr: always one for the cause, and one more for a remedy. */
export const render = (error: UsageError | CommandError): string => {
  const line = `shoal: ${oneLine(error.message)}`
  return error._tag === "CommandError" && error.remedy !== undefined ? `${line}\n       ${error.remedy}` : line
}

/** Compiler messages keep their lines; everything else loses control characters that could move the cursor. */
const oneLine = (text: string): string => text.replace(/[\u0000-\u0009\u000b-\u001f\u007f]/g, " ").trimEnd()
