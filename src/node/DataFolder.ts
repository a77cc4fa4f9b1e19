/** Makes the folder that a node, or `shoal dev`, keeps its data in.
 *
 * Boundary: only the folders; what is in them and who holds them is for `NodeStore` and `FolderLock`. */
import * as Fs from "node:fs/promises"
import * as Path from "node:path"

const codeOf = (cause: unknown): unknown =>
  typeof cause === "object" && cause !== null && "code" in cause ? cause.code : undefined

/** Makes the entries of a folder durable. */
export const sync = async (folder: string): Promise<void> => {
  const handle = await Fs.open(folder, "r")
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Creates the folders that are missing, durably. One by one, because Node's own `recursive` tries for ever where the
 * system says that there is no such folder although the one above is there, as below `/proc`. */
export const make = async (folder: string): Promise<void> => {
  try {
    await Fs.mkdir(folder, { mode: 0o700 })
  } catch (cause) {
    const above = Path.dirname(folder)
    if (codeOf(cause) === "ENOENT" && above !== folder && !(await isFolder(above))) {
      await make(above)
      return make(folder)
    }
    if (await isFolder(folder)) return
    throw cause
  }
  await sync(Path.dirname(folder))
}

const isFolder = (path: string): Promise<boolean> => Fs.stat(path).then((found) => found.isDirectory(), () => false)
