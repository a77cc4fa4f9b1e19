/** One process per data folder.
 *
 * Job: a lock that a living process holds, that names its holder, and that is taken over when the holder was killed.
 * The lock files are `.lock.1`, `.lock.2`, ...: the highest counts. A file appears whole (written aside, then linked, which
 * fails if the name is taken), so of two processes that find the same dead holder only one gets the next number. Numbers
 * are never used again while a higher one exists, and a leaving holder marks its file as free instead of removing it;
 * so a slow process cannot come back to a number that was given away.
 * Boundary: a holder is alive if its pid runs with the start time it wrote (Linux; elsewhere the pid alone), since the
 * same boot of the machine. Processes of other machines or pid namespaces that share the folder are not seen. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import process from "node:process"

/** Another process uses the data folder, or its lock cannot be written. Fault: whoever started this process. State:
 * unchanged. Retry: after the holder has ended. */
export class FolderLocked extends Schema.TaggedError<FolderLocked>()("FolderLocked", {
  folder: Schema.String,
  /** the holder's pid; undefined when the lock could not be written at all */
  pid: Schema.UndefinedOr(Schema.Finite),
  detail: Schema.String
}) {
  override get message(): string {
    return this.pid === undefined
      ? `cannot lock the data folder ${this.folder}: ${this.detail}`
      : `the data folder ${this.folder} is in use by process ${this.pid}`
  }
}

const Holder = Schema.Struct({
  pid: Schema.Finite,
  /** start of the process in clock ticks since boot; "" where it is not known */
  started: Schema.String,
  /** boot of the machine; "" where it is not known */
  boot: Schema.String,
  free: Schema.Boolean
})
type Holder = typeof Holder.Type
const decode = Schema.decodeUnknownExit(Schema.fromJsonString(Holder))
const encode = Schema.encodeUnknownExit(Schema.fromJsonString(Holder))

const name = /^\.lock\.([1-9][0-9]{0,14})$/
const attempts = 100

const readText = (file: string): Promise<string> => Fs.readFile(file, "utf8").catch(() => "")

/** State and start of a process: fields 3 and 22 of /proc/PID/stat. The name before them may contain anything, so count
 * from its closing bracket. */
const statOf = async (pid: number): Promise<{ readonly state: string; readonly started: string }> => {
  const stat = await readText(`/proc/${pid}/stat`)
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  return { state: fields[0] ?? "", started: fields[19] ?? "" }
}

const bootOf = async (): Promise<string> => (await readText("/proc/sys/kernel/random/boot_id")).trim()

const runs = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (cause) {
    return typeof cause === "object" && cause !== null && "code" in cause && cause.code === "EPERM"
  }
}

const isAlive = async (holder: Holder): Promise<boolean> => {
  if (holder.free || !runs(holder.pid) || holder.boot !== await bootOf()) return false
  if (holder.started === "") return true
  const { started, state } = await statOf(holder.pid)
  return holder.started === started && state !== "Z" && state !== "X"
}

const numbersIn = async (folder: string): Promise<Array<number>> =>
  (await Fs.readdir(folder)).flatMap((file) => {
    const match = name.exec(file)
    return match === null ? [] : [Number(match[1])]
  }).sort((a, b) => a - b)

const textOf = (holder: Holder): string => {
  const exit = encode(holder)
  return Exit.isSuccess(exit) ? exit.value : ""
}

let written = 0

const writeAside = async (folder: string, holder: Holder): Promise<string> => {
  const file = Path.join(folder, `.lock-${process.pid}-${written++}.tmp`)
  await Fs.rm(file, { force: true })
  const handle = await Fs.open(file, "wx", 0o600)
  try {
    await handle.writeFile(textOf(holder))
    await handle.sync()
  } finally {
    await handle.close()
  }
  return file
}

const isTaken = (cause: unknown): boolean =>
  typeof cause === "object" && cause !== null && "code" in cause && cause.code === "EEXIST"

/** Takes the next number if the holder of the highest is gone: the number, the living holder, or nothing (lost a race). */
const tryTake = async (folder: string, aside: string): Promise<number | Holder | undefined> => {
  const lock = (number: number): string => Path.join(folder, `.lock.${number}`)
  const highest = (await numbersIn(folder)).at(-1) ?? 0
  if (highest > 0) {
    const holder = decode(await readText(lock(highest)))
    if (Exit.isSuccess(holder) && await isAlive(holder.value)) return holder.value
  }
  const mine = highest + 1
  try {
    await Fs.link(aside, lock(mine))
  } catch (cause) {
    if (isTaken(cause)) return undefined
    throw cause
  }
  const now = await numbersIn(folder)
  if (now.at(-1) !== mine) {
    await Fs.rm(lock(mine), { force: true })
    return undefined
  }
  for (const number of now) if (number < mine) await Fs.rm(lock(number), { force: true })
  return mine
}

const take = async (folder: string): Promise<number | Holder | undefined> => {
  const { started } = await statOf(process.pid)
  const self: Holder = { pid: process.pid, started, boot: await bootOf(), free: false }
  const aside = await writeAside(folder, self)
  try {
    for (let i = 0; i < attempts; i++) {
      const taken = await tryTake(folder, aside)
      if (taken !== undefined) return taken
    }
    return undefined
  } finally {
    await Fs.rm(aside, { force: true })
  }
}

const free = async (folder: string, number: number): Promise<void> => {
  const aside = await writeAside(folder, { pid: process.pid, started: "", boot: "", free: true })
  await Fs.rename(aside, Path.join(folder, `.lock.${number}`))
}

const holding = Effect.fnUntraced(function*(folder: string): Effect.fn.Return<number, FolderLocked> {
  const refuse = (detail: string, pid?: number) => new FolderLocked({ folder, pid, detail })
  const taken = yield* Effect.tryPromise({
    try: () => take(folder),
    catch: (cause) => refuse(cause instanceof Error ? cause.message : String(cause))
  })
  if (typeof taken === "number") return taken
  return yield* taken === undefined ? refuse("too many processes want it") : refuse("in use", taken.pid)
})

/** Holds the folder until the scope closes. A lock that is left because its release failed is taken over later like
 * that of a killed process. */
export const acquire = (folder: string): Effect.Effect<number, FolderLocked, Scope.Scope> =>
  Effect.acquireRelease(holding(folder), (number) =>
    Effect.promise(() => free(folder, number)).pipe(
      Effect.ignoreCause({ log: "Debug", message: "the lock of the data folder was not released" })
    ))
