/** The disk of a node as a service: small files under one folder, each write on the platter before it is acknowledged.
 *
 * Job: whole-file reads, atomic replacement, appends, removal, listing; and `seal` / `unseal`, by which a torn or
 * altered file is recognised when it is read again.
 * Boundary: what the files mean belongs to their owners, each below a path prefix of its own. Paths are relative, with
 * `/` between segments of letters, digits, `.`, `_` and `-` that do not begin with a dot. A layer holds its folder
 * alone. Invariants: R2 and R4 rest on `replace`: it completes when the new bytes survive a power loss, and a crash
 * before that leaves the old ones. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

/** A file could not be read or written. Fault: the disk or its configuration (`Path`: the caller). State: for `replace`
 * and `remove` unchanged or done, for `append` possibly a torn end. Retry: after the cause is gone. */
export class StoreError extends Schema.TaggedError<StoreError>()("StoreError", {
  operation: Schema.Literals(["read", "replace", "append", "remove", "list", "create"]),
  path: Schema.String,
  reason: Schema.Literals(["Full", "Permission", "Path", "TooLarge", "Unknown"]),
  detail: Schema.String
}) {
  override get message(): string {
    return `cannot ${this.operation} ${this.path}: ${this.detail}`
  }
}

export class Store extends Context.Service<Store, {
  readonly read: (path: string) => Effect.Effect<Option.Option<Uint8Array>, StoreError>
  /** Atomic and durable: after a crash the file has the old bytes or the new, after completion the new. */
  readonly replace: (path: string, bytes: Uint8Array) => Effect.Effect<void, StoreError>
  /** Durable on completion, not atomic: after a crash a part of the bytes may be there. */
  readonly append: (path: string, bytes: Uint8Array) => Effect.Effect<void, StoreError>
  /** Durable; a file that is not there is removed already. */
  readonly remove: (path: string) => Effect.Effect<void, StoreError>
  /** Every path that starts with `prefix`, sorted. */
  readonly list: (prefix: string) => Effect.Effect<ReadonlyArray<string>, StoreError>
  /** How another program on this machine names the file. */
  readonly location: (path: string) => string
}>()("shoal/cluster/Store") {}

/** The largest file, bytes. */
export const maxFileBytes = 64 * 1024 * 1024
const maxPathLength = 200
const segment = /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/

/** Whether a path keeps to the rules above, so that it can never leave the folder. */
export const isPath = (path: string): boolean =>
  path.length > 0 && path.length <= maxPathLength && path.split("/").every((part) => segment.test(part))

/** The checks that every layer makes before it touches the disk. */
export const check = (
  operation: StoreError["operation"],
  path: string,
  bytes?: Uint8Array
): Effect.Effect<void, StoreError> => {
  if (!isPath(path)) return new StoreError({ operation, path, reason: "Path", detail: "not a path of the store" })
  return bytes !== undefined && bytes.length > maxFileBytes
    ? new StoreError({ operation, path, reason: "TooLarge", detail: `more than ${maxFileBytes} bytes` })
    : Effect.void
}

/** "SHOF", version of the seal. */
const magic = Uint8Array.of(0x53, 0x48, 0x4f, 0x46, 1)
const headerBytes = magic.length + 8

const table = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1
  return c
})

const crc32 = (bytes: Uint8Array): number => {
  let crc = 0xffffffff
  for (const byte of bytes) crc = (table[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8)
  return (crc ^ 0xffffffff) >>> 0
}

/** The bytes behind a header of magic, length and checksum. */
export const seal = (bytes: Uint8Array): Uint8Array => {
  const sealed = new Uint8Array(headerBytes + bytes.length)
  sealed.set(magic)
  const view = new DataView(sealed.buffer)
  view.setUint32(magic.length, bytes.length)
  view.setUint32(magic.length + 4, crc32(bytes))
  sealed.set(bytes, headerBytes)
  return sealed
}

/** What was sealed, or nothing if the file is torn, altered or something else. Total. */
export const unseal = (sealed: Uint8Array): Option.Option<Uint8Array> => {
  if (sealed.length < headerBytes || magic.some((byte, i) => sealed[i] !== byte)) return Option.none()
  const view = new DataView(sealed.buffer, sealed.byteOffset, sealed.byteLength)
  const bytes = sealed.subarray(headerBytes)
  return view.getUint32(magic.length) === bytes.length && view.getUint32(magic.length + 4) === crc32(bytes)
    ? Option.some(bytes)
    : Option.none()
}

/** A store over a map that outlives it, as a disk outlives a process. */
export const makeMemory = (files: Map<string, Uint8Array>): Store["Service"] =>
  Store.of({
    read: (path) =>
      Effect.map(check("read", path), () => {
        const bytes = files.get(path)
        return bytes === undefined ? Option.none() : Option.some(bytes.slice())
      }),
    replace: (path, bytes) => Effect.map(check("replace", path, bytes), () => void files.set(path, bytes.slice())),
    append: (path, bytes) =>
      Effect.map(check("append", path, bytes), () => {
        const before = files.get(path) ?? new Uint8Array(0)
        const after = new Uint8Array(before.length + bytes.length)
        after.set(before)
        after.set(bytes, before.length)
        files.set(path, after)
      }),
    remove: (path) => Effect.map(check("remove", path), () => void files.delete(path)),
    list: (prefix) => Effect.sync(() => [...files.keys()].filter((path) => path.startsWith(prefix)).sort()),
    location: (path) => `memory:${path}`
  })

/** A store in memory, empty at first, gone with its scope. */
export const layerMemory: Layer.Layer<Store> = Layer.sync(Store, () => makeMemory(new Map()))
