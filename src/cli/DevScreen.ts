/** Where `shoal dev` shows what happens: lines that stay, and on a terminal a table below them that is drawn anew.
 *
 * With --json every event is one JSON object per line. Without a terminal every event is a line and there is no table.
 * Boundary: `DevView` has the words; this file has the cursor. */
import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"
import * as Semaphore from "effect/Semaphore"
import * as DevView from "./DevView.ts"
import * as Query from "./Query.ts"
import { Session } from "./Session.ts"

export interface DevScreen {
  readonly show: (event: DevView.Event) => Effect.Effect<void>
  /** The newest look at the cluster; undefined when no node answered. */
  readonly update: (
    snapshot: DevView.Snapshot | undefined,
    processes: ReadonlyArray<DevView.Process>
  ) => Effect.Effect<void>
  /** Takes the table away; later events are lines again. */
  readonly close: Effect.Effect<void>
}

const usualRows = 24

export const make = (json: boolean): Effect.Effect<DevScreen, never, Session> =>
  Effect.gen(function*() {
    const session = yield* Session
    const draws = session.terminal.interactive && !json
    const oneAtATime = (yield* Semaphore.make(1)).withPermits(1)
    const state: { frame: string; snapshot: DevView.Snapshot | undefined } = { frame: "", snapshot: undefined }

    const redraw = (lines: ReadonlyArray<string>, frame: string) => {
      const up = state.frame === "" ? "" : `\u001b[${state.frame.split("\n").length}A\u001b[J`
      const text = [...lines, ...(frame === "" ? [] : [frame])].map((line) => `${line}\n`).join("")
      state.frame = frame
      return session.print(up + text)
    }
    const show = (event: DevView.Event) =>
      json
        ? session.print(`${Formatter.formatJson(event)}\n`)
        : redraw([DevView.describe(event)], state.frame)
    const update: DevScreen["update"] = (snapshot, processes) =>
      Effect.gen(function*() {
        const events = snapshot === undefined ? [] : DevView.changes(state.snapshot, snapshot)
        state.snapshot = snapshot ?? state.snapshot
        if (!draws) return yield* Effect.forEach(events, show, { discard: true })
        // A terminal that does not tell its size says 0.
        const style = { ...Query.style(session), height: (session.terminal.rows() || usualRows) - 1 }
        const frame = DevView.frame(snapshot, processes, style)
        if (frame !== state.frame) yield* redraw([], frame)
      })
    return {
      show: (event) => oneAtATime(show(event)),
      update: (snapshot, processes) => oneAtATime(update(snapshot, processes)),
      close: oneAtATime(Effect.suspend(() => state.frame === "" ? Effect.void : redraw([state.frame], "")))
    }
  })
