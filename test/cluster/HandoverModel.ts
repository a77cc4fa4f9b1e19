/** Every run of a handover that loss, doubling, delay, reordering and crashes allow, one step at a time.
 *
 * Two sides with the real machine, an observer `W` that stands for the rest of the cluster (it keeps a copy of every
 * acknowledged write and may be elected when a master has crashed), a network that is a set of messages (each may be
 * delivered any number of times, in any order, or never), clocks that run apart, writes that begin and end. `actions`
 * gives what can happen next; states are immutable, so all of them can be walked. */
import * as Handover from "../../src/cluster/Handover.ts"
import type * as HandoverEvent from "../../src/cluster/HandoverEvent.ts"
import type { Message } from "../../src/cluster/HandoverMessage.ts"
import * as Reign from "../../src/cluster/Reign.ts"
import type { Run } from "../../src/cluster/RoutingTable.ts"
import * as Member from "../../src/swim/Member.ts"

export type Side = "O" | "T"
type Name = Side | "W"

const runs: Readonly<Record<Name, Run>> = {
  O: { id: Member.id("O"), bootId: 1 },
  T: { id: Member.id("T"), bootId: 2 },
  W: { id: Member.id("W"), bootId: 3 }
}
const nameOf = (run: Run): Name => run.id === "O" ? "O" : run.id === "T" ? "T" : "W"

const reignOf = (name: Name, epoch: number, kind: Reign.Kind): Reign.Reign => ({
  ...runs[name],
  epoch,
  kind,
  startedAt: runs[name].bootId,
  predecessor: undefined,
  witnesses: 0
})

interface Node {
  readonly up: boolean
  readonly hand: Handover.Handover
  readonly reign: Reign.Reign
  readonly now: number
  /** the writes it has, as bits */
  readonly has: number
}

interface Mail {
  readonly from: Side
  readonly to: Side
  readonly message: Message
}

type Load = Extract<HandoverEvent.Output, { readonly _tag: "Load" }>

export interface State {
  readonly O: Node
  readonly T: Node
  readonly W: { readonly reign: Reign.Reign; readonly has: number }
  readonly net: ReadonlyArray<Mail>
  /** begun at the old master, not yet acknowledged */
  readonly flying: number
  readonly ackedBy: Readonly<Record<Name, number>>
  readonly written: number
  readonly load: Load | undefined
  readonly reserving: number | undefined
  readonly draining: number | undefined
  readonly reclaim: number | undefined
  readonly committed: boolean
  readonly starts: number
  readonly elections: number
}

/** What may go wrong, at most. */
export interface Budget {
  readonly starts: number
  readonly writes: number
  readonly crashes: ReadonlyArray<Side>
  readonly elections: number
  readonly cancels: boolean
}

/** The rules under test; a mutant replaces one. */
export interface Rules {
  readonly step: typeof Handover.step
  readonly isOpen: (hand: Handover.Handover) => boolean
  /** whether a target may write before it reigns */
  readonly eager: (hand: Handover.Handover) => boolean
  /** the old master may take the target for gone */
  readonly deems: (state: State) => boolean
  readonly drains: (state: State) => boolean
  readonly loads: boolean
}

export const rules: Rules = {
  step: Handover.step,
  isOpen: Handover.isOpen,
  eager: () => false,
  deems: (state) => !state.T.up,
  drains: (state) => state.flying === 0,
  loads: true
}

const params: Handover.Params = { resend: 1, prepareWithin: 2, sealWithin: 2, silence: 3 }

export const initial = (): State => {
  const reign = reignOf("O", 1, "plain")
  const node = (name: Side): Node => ({
    up: true,
    hand: Handover.make(runs[name], params),
    reign,
    now: 0,
    has: 0
  })
  return {
    O: node("O"),
    T: node("T"),
    W: { reign, has: 0 },
    net: [],
    flying: 0,
    ackedBy: { O: 0, T: 0, W: 0 },
    written: 0,
    load: undefined,
    reserving: undefined,
    draining: undefined,
    reclaim: undefined,
    committed: false,
    starts: 0,
    elections: 0
  }
}

// ---- reading

export const accepts = (state: State, side: Side, using: Rules): boolean => {
  const node = state[side]
  if (!node.up) return false
  return Reign.isHeldBy(node.reign, runs[side]) ? using.isOpen(node.hand) : using.eager(node.hand)
}

const relative = (node: Node): unknown => {
  const { hand, now } = node
  const phase: Record<string, unknown> = { ...hand.phase }
  for (const field of ["deadline", "resendAt"]) {
    const at = phase[field]
    if (typeof at === "number") phase[field] = at - now
  }
  return [node.up, phase, hand.attempts, hand.over, node.reign.epoch, node.reign.id, node.reign.kind, node.has]
}

export const key = (state: State): string =>
  JSON.stringify([
    relative(state.O),
    relative(state.T),
    state.W.reign.epoch,
    state.W.reign.id,
    state.W.has,
    state.net.map(mailKey).sort(),
    state.flying,
    state.ackedBy,
    state.load,
    state.reserving,
    state.draining,
    state.reclaim,
    state.committed,
    state.starts,
    state.elections
  ])

const mailKey = ({ from, message }: Mail): string => {
  const need = "need" in message ? message.need.sequence : ""
  const sealed = "sealed" in message ? message.sealed : ""
  const grant = "grant" in message ? message.grant.epoch : ""
  return `${from} ${message._tag} ${message.reign.epoch}/${message.attempt} ${need}${sealed}${grant}`
}

/** What must hold in every state; undefined when it does. */
export const violation = (state: State, using: Rules): string | undefined => {
  const old = accepts(state, "O", using)
  const target = accepts(state, "T", using)
  if (old && target) return "both sides accept writes"
  if (old && state.O.reign.epoch === 1 && state.T.up && state.T.reign.id === "T") return "the fenced side accepts"
  if (target && (state.ackedBy.O & ~state.T.has) !== 0) return "the target reigns without an acknowledged write"
  if (old && (state.ackedBy.T & ~state.O.has) !== 0) return "the old master reigns without an acknowledged write"
  return undefined
}

// ---- changing

const feed = (state: State, side: Side, event: HandoverEvent.Event, using: Rules): State => {
  const node = state[side]
  if (!node.up) return state
  const out: Array<HandoverEvent.Output> = []
  const context = { now: node.now, reign: node.reign, startOf: (run: Run) => run.bootId }
  let next: State = { ...state, [side]: { ...node, hand: using.step(node.hand, event, context, out) } }
  for (const output of out) next = perform(next, side, output, using)
  return next
}

const perform = (state: State, side: Side, output: HandoverEvent.Output, using: Rules): State => {
  switch (output._tag) {
    case "Send": {
      const mail: Mail = { from: side, to: output.to.id === "O" ? "O" : "T", message: output.message }
      const known = state.net.some((other) => mailKey(other) === mailKey(mail))
      const committed = state.committed || mail.message._tag === "Commit"
      return { ...state, committed, net: known ? state.net : [...state.net, mail] }
    }
    case "Load":
      return { ...state, load: output }
    case "Reserve":
      return { ...state, reserving: output.attempt }
    case "Close":
      return { ...state, draining: output.attempt }
    case "Obey":
      return obey(state, side, output.reign, using)
    case "Reclaim":
      return { ...state, reclaim: output.above }
    case "Open":
    case "Ended":
      return state
  }
}

/** R1: only a higher reign is obeyed. */
const obey = (state: State, side: Side, reign: Reign.Reign, using: Rules): State =>
  Reign.isLower(state[side].reign, reign)
    ? feed({ ...state, [side]: { ...state[side], reign } }, side, { _tag: "Settle" }, using)
    : state

/** What a master that was not granted its reign does first: it takes what everybody has. */
const gathered = (state: State): number => state.W.has | (state.O.up ? state.O.has : 0) | (state.T.up ? state.T.has : 0)

export interface Action {
  readonly name: string
  readonly run: () => State
}

/** What brings a run without further faults to its end, the most urgent first. */
const progress = (state: State, using: Rules): Array<Action> => {
  const actions: Array<Action> = []
  const add = (name: string, run: () => State) => actions.push({ name, run })
  if (state.flying !== 0) {
    add("a write is acknowledged", () => {
      const bits = state.flying
      const done = { ...state, flying: 0 }
      // the writer looks at its reign before it shows the write
      if (!state.O.up || !Reign.isHeldBy(state.O.reign, runs.O)) return done
      return {
        ...done,
        O: { ...state.O, has: state.O.has | bits },
        W: { ...state.W, has: state.W.has | bits },
        ackedBy: { ...state.ackedBy, O: state.ackedBy.O | bits }
      }
    })
  }
  const { draining, load, reclaim, reserving } = state
  if (reserving !== undefined) {
    add("the epoch is on disk", () => {
      const epoch = state.O.reign.epoch + 1 + state.starts - 1
      const done = { ...state, reserving: undefined }
      return feed(done, "O", { _tag: "Reserved", attempt: reserving, epoch, ok: true }, using)
    })
  }
  if (draining !== undefined && using.drains(state)) {
    add("the last write has finished", () => {
      const need = { sequence: state.O.has, marks: {} }
      return feed({ ...state, draining: undefined }, "O", { _tag: "Drained", attempt: draining, need }, using)
    })
  }
  if (load !== undefined && state.T.up) {
    const { attempt, sealed } = load
    const done = { ...state, load: undefined }
    if (state.O.up || !using.loads) {
      add("the target has loaded", () => {
        const has = using.loads ? state.T.has | (load.need.sequence & state.O.has) : state.T.has
        return feed({ ...done, T: { ...state.T, has } }, "T", { _tag: "Loaded", attempt, sealed }, using)
      })
    } else {
      add("the target cannot load", () => feed(done, "T", { _tag: "LoadFailed", attempt, reason: "gone" }, using))
    }
  }
  if (reclaim !== undefined && state.O.up && state.O.hand.phase._tag === "Reclaiming") {
    add("the old master claims", () => {
      const node = { ...state.O, has: gathered(state) }
      const done: State = { ...state, O: node, reclaim: undefined }
      return obey(done, "O", reignOf("O", Math.max(reclaim, state.W.reign.epoch) + 1, "plain"), using)
    })
  }
  return actions
}

const deliveries = (state: State, using: Rules): Array<Action> =>
  state.net.map((mail) => ({
    name: `${mailKey(mail)} arrives`,
    run: () => {
      const left = { ...state, net: state.net.filter((other) => other !== mail) }
      const from = runs[mail.from]
      return feed(left, mail.to, { _tag: "Received", from, message: mail.message }, using)
    }
  }))

const detections = (state: State, using: Rules): Array<Action> => {
  const actions: Array<Action> = []
  const { O, T } = state
  const waits = O.hand.phase._tag === "Preparing" || O.hand.phase._tag === "Sealing" ||
    O.hand.phase._tag === "Committing"
  if (O.up && waits && using.deems(state)) {
    actions.push({
      name: "the target is deemed gone",
      run: () => feed(state, "O", { _tag: "Gone", run: runs.T }, using)
    })
  }
  if (T.up && T.hand.phase._tag === "Following" && !O.up) {
    actions.push({
      name: "the old master is deemed gone",
      run: () => feed(state, "T", { _tag: "Gone", run: runs.O }, using)
    })
  }
  return actions
}

const gossip = (state: State, using: Rules): Array<Action> => {
  const actions: Array<Action> = []
  const names: ReadonlyArray<Name> = ["O", "T", "W"]
  for (const from of names) {
    if (from !== "W" && !state[from].up) continue
    for (const to of names) {
      if (from === to || !Reign.isLower(state[to].reign, state[from].reign)) continue
      if (to !== "W" && !state[to].up) continue
      const { reign } = state[from]
      actions.push({
        name: `${to} hears of the reign of ${reign.id}`,
        run: () => to === "W" ? { ...state, W: { ...state.W, reign } } : obey(state, to, reign, using)
      })
    }
  }
  return actions
}

const elections = (state: State): Array<Action> => {
  const holder = nameOf(state.W.reign)
  if (holder === "W" || state[holder].up) return []
  return [{
    name: "another is elected",
    run: () => ({
      ...state,
      elections: state.elections + 1,
      W: { has: gathered(state), reign: reignOf("W", state.W.reign.epoch + 1, "witnessed") }
    })
  }]
}

const ticks = (state: State, using: Rules): Array<Action> =>
  (["O", "T"] as const).flatMap((side) => {
    const node = state[side]
    const at = Handover.nextWake(node.hand)
    if (!node.up || at === Number.POSITIVE_INFINITY) return []
    return [{
      name: `time passes at ${side}`,
      run: () => feed({ ...state, [side]: { ...node, now: Math.max(node.now, at) } }, side, { _tag: "Settle" }, using)
    }]
  })

const writes = (state: State, using: Rules): Array<Action> => {
  const bit = 1 << state.written
  const actions: Array<Action> = []
  const counted = { ...state, written: state.written + 1 }
  if (accepts(state, "O", using)) {
    actions.push({ name: "O begins a write", run: () => ({ ...counted, flying: state.flying | bit }) })
  }
  if (accepts(state, "T", using)) {
    actions.push({
      name: "T acknowledges a write",
      run: () => ({
        ...counted,
        T: { ...state.T, has: state.T.has | bit },
        W: { ...state.W, has: state.W.has | bit },
        ackedBy: { ...state.ackedBy, T: state.ackedBy.T | bit }
      })
    })
  }
  return actions
}

export const begin = (state: State, using: Rules): State =>
  feed(
    { ...state, starts: state.starts + 1 },
    "O",
    { _tag: "Start", target: runs.T, need: { sequence: state.O.has, marks: {} } },
    using
  )

/** Everything that may happen next. */
export const actions = (state: State, budget: Budget, using: Rules): Array<Action> => {
  const all = [
    ...progress(state, using),
    ...deliveries(state, using),
    ...detections(state, using),
    ...gossip(state, using),
    ...ticks(state, using)
  ]
  if (state.starts < budget.starts && state.O.up && state.O.hand.phase._tag === "Idle" && state.O.reign.id === "O") {
    all.push({ name: "a handover is asked for", run: () => begin(state, using) })
  }
  if (state.elections < budget.elections) all.push(...elections(state))
  if (state.written < budget.writes) all.push(...writes(state, using))
  for (const side of budget.crashes) {
    if (state[side].up) all.push({ name: `${side} crashes`, run: () => crash(state, side) })
  }
  if (budget.cancels && (state.O.hand.phase._tag === "Preparing" || state.O.hand.phase._tag === "Sealing")) {
    all.push({ name: "it is cancelled", run: () => feed(state, "O", { _tag: "Cancel", reason: "asked" }, using) })
  }
  for (const mail of state.net) {
    const rest = state.net.filter((other) => other !== mail)
    all.push({ name: `${mailKey(mail)} is lost`, run: () => ({ ...state, net: rest }) })
    all.push({
      name: `${mailKey(mail)} arrives and will again`,
      run: () => {
        const after = feed(state, mail.to, { _tag: "Received", from: runs[mail.from], message: mail.message }, using)
        return after
      }
    })
  }
  return all
}

export const crash = (state: State, side: Side): State => ({
  ...state,
  [side]: { ...state[side], up: false },
  ...(side === "O" ? { flying: 0, reserving: undefined, draining: undefined, reclaim: undefined } : { load: undefined })
})

/** The next step of a run without further faults; undefined at its end. */
export const fair = (state: State, using: Rules): Action | undefined =>
  progress(state, using)[0] ?? deliveries(state, using)[0] ?? detections(state, using)[0] ?? elections(state)[0] ??
    gossip(state, using)[0] ?? ticks(state, using)[0]

/** At the end of a run: one master that lives, accepts, is obeyed by all that live, and has every write. */
export const unfinished = (state: State, using: Rules): string | undefined => {
  const living = (["O", "T", "W"] as const).filter((name) => name === "W" || state[name].up)
  const [first, ...rest] = living.map((name) => state[name].reign)
  if (first === undefined || !rest.every((reign) => Reign.equals(reign, first))) return "two reigns are obeyed"
  const master = nameOf(first)
  if (master !== "W" && !accepts(state, master, using)) return "the master accepts nothing"
  const acked = state.ackedBy.O | state.ackedBy.T | state.ackedBy.W
  return (acked & ~gathered(state)) !== 0 ? "an acknowledged write is lost" : undefined
}
