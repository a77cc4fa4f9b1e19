/** One of every message of a handover, as the frozen fixtures have them. */
import type { Message } from "../../src/cluster/HandoverMessage.ts"
import type * as Reign from "../../src/cluster/Reign.ts"
import * as Member from "../../src/swim/Member.ts"

const reign: Reign.Reign = {
  epoch: 7,
  id: Member.id("node-a"),
  bootId: 140_737_488_355_327,
  startedAt: 1_700_000_000_000,
  predecessor: undefined,
  kind: "plain",
  witnesses: 0
}

const grant: Reign.Reign = {
  epoch: 8,
  id: Member.id("node-b"),
  bootId: 41,
  startedAt: 1_700_000_001_000,
  predecessor: { epoch: 7, bootId: 140_737_488_355_327 },
  kind: "granted",
  witnesses: 0
}

const need = { sequence: 1234, marks: { catalog: "00112233445566778899aabbccddeeff" } }

export const messages: ReadonlyArray<Message> = [
  { _tag: "Prepare", reign, attempt: 3, need },
  { _tag: "Ready", reign, attempt: 3, sealed: false },
  { _tag: "Seal", reign, attempt: 3, need },
  { _tag: "Ready", reign, attempt: 3, sealed: true },
  { _tag: "Commit", reign, attempt: 3, grant },
  { _tag: "Accepted", reign, attempt: 3 },
  { _tag: "Abort", reign, attempt: 3, reason: "sealing took too long" }
]

/** The fixture's file name. */
export const nameOf = (message: Message): string =>
  `handover-${message._tag.toLowerCase()}${message._tag === "Ready" && message.sealed ? "-sealed" : ""}.json`
