/** The store in a folder of a real disk.
 *
 * Job: durable writes (file and folder synced), atomic replacement, and the lock that keeps a second process away.
 * Boundary: `Store` says what the operations promise; `FolderLock` who may use the folder. Temporary files of a crash
 * (`*.tmp`) are removed at the start. A write is not interruptible: it is done or failed. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import process from "node:process"
import { check, maxFileBytes, Store, StoreError } from "../cluster/Store.ts"
import * as DataFolder from "./DataFolder.ts"
import * as FolderLock from "./FolderLock.ts"

const suffix = ".tmp"
/** Files a listing returns at most. */
const maxListed = 1_000_000

const codeOf = (cause: unknown): string =>
  typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : ""

const reasons: Readonly<Record<string, StoreError["reason"]>> = {
  ENOSPC: "Full",
  EDQUOT: "Full",
  EACCES: "Permission",
  EPERM: "Permission",
  EROFS: "Permission"
}

const attempt = <A>(
  operation: StoreError["operation"],
  path: string,
  run: () => Promise<A>
): Effect.Effect<A, StoreError> =>
  Effect.uninterruptible(Effect.tryPromise({
    try: run,
    catch: (cause) =>
      new StoreError({
        operation,
        path,
        reason: reasons[codeOf(cause)] ?? "Unknown",
        detail: cause instanceof Error ? cause.message : String(cause)
      })
  }))

/** Writes a new file and syncs it; a failed write leaves no file. */
export const writeSynced = async (file: string, bytes: Uint8Array): Promise<void> => {
  try {
    const handle = await Fs.open(file, "wx", 0o600)
    try {
      await handle.writeFile(bytes)
      await handle.sync()
    } finally {
      await handle.close()
    }
  } catch (cause) {
    await Fs.rm(file, { force: true })
    throw cause
  }
}

const isMissing = (cause: unknown): boolean => codeOf(cause) === "ENOENT" || codeOf(cause) === "ENOTDIR"

const walk = async (root: string, folder: string, prefix: string, found: Array<string>): Promise<void> => {
  for (const entry of await Fs.readdir(Path.join(root, folder), { withFileTypes: true })) {
    const path = folder === "" ? entry.name : `${folder}/${entry.name}`
    if (entry.name.startsWith(".")) continue
    if (entry.isDirectory()) {
      const inside = `${path}/`
      if (inside.startsWith(prefix) || prefix.startsWith(inside)) await walk(root, path, prefix, found)
    } else if (path.startsWith(prefix) && found.length < maxListed) found.push(path)
  }
}

const clean = async (folder: string): Promise<void> => {
  for (const entry of await Fs.readdir(folder, { withFileTypes: true })) {
    const path = Path.join(folder, entry.name)
    if (entry.isDirectory()) await clean(path)
    else if (entry.name.startsWith(".") && entry.name.endsWith(suffix)) await Fs.rm(path, { force: true })
  }
}

const replaceFile = async (file: string, bytes: Uint8Array, temporary: string): Promise<void> => {
  const folder = Path.dirname(file)
  await DataFolder.make(folder)
  await writeSynced(temporary, bytes)
  await Fs.rename(temporary, file).catch(async (cause: unknown) => {
    await Fs.rm(temporary, { force: true })
    throw cause
  })
  await DataFolder.sync(folder)
}

const appendFile = async (file: string, bytes: Uint8Array): Promise<void> => {
  const folder = Path.dirname(file)
  await DataFolder.make(folder)
  const fresh = await Fs.stat(file).then(() => false, () => true)
  const handle = await Fs.open(file, "a", 0o600)
  try {
    await handle.writeFile(bytes)
    await handle.sync()
  } finally {
    await handle.close()
  }
  if (fresh) await DataFolder.sync(folder)
}

const readBounded = async (file: string): Promise<Option.Option<Uint8Array>> => {
  try {
    const { size } = await Fs.stat(file)
    if (size > maxFileBytes) throw new RangeError(`more than ${maxFileBytes} bytes`)
    return Option.some(new Uint8Array(await Fs.readFile(file)))
  } catch (cause) {
    if (isMissing(cause)) return Option.none()
    throw cause
  }
}

const removeFile = async (file: string): Promise<void> => {
  try {
    await Fs.unlink(file)
    await DataFolder.sync(Path.dirname(file))
  } catch (cause) {
    if (!isMissing(cause)) throw cause
  }
}

/** The store below `root`, which must exist. Does not lock it. */
const make = (root: string): Store["Service"] => {
  let temporaries = 0
  const at = (path: string): string => Path.join(root, ...path.split("/"))
  const temporaryFor = (path: string): string =>
    Path.join(Path.dirname(at(path)), `.${Path.basename(path)}.${process.pid}.${temporaries++}${suffix}`)
  return Store.of({
    read: (path) => Effect.andThen(check("read", path), attempt("read", path, () => readBounded(at(path)))),
    replace: (path, bytes) =>
      Effect.andThen(
        check("replace", path, bytes),
        attempt("replace", path, () => replaceFile(at(path), bytes, temporaryFor(path)))
      ),
    append: (path, bytes) =>
      Effect.andThen(check("append", path, bytes), attempt("append", path, () => appendFile(at(path), bytes))),
    remove: (path) => Effect.andThen(check("remove", path), attempt("remove", path, () => removeFile(at(path)))),
    list: (prefix) =>
      attempt("list", prefix, async () => {
        const found: Array<string> = []
        await walk(root, "", prefix, found)
        return found.sort()
      }),
    location: at
  })
}

/** Opens the folder, creating it if need be, and holds it until the scope closes. */
export const layer = (options: {
  readonly dir: string
}): Layer.Layer<Store, StoreError | FolderLock.FolderLocked> =>
  Layer.effect(
    Store,
    Effect.gen(function*() {
      const root = Path.resolve(options.dir)
      yield* attempt("create", root, () => DataFolder.make(root))
      yield* FolderLock.acquire(root)
      yield* attempt("list", root, () => clean(root))
      return make(root)
    })
  )
