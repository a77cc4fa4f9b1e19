import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import * as DataFolder from "../../src/node/DataFolder.ts"

const refusal = (folder: string): Promise<string> => DataFolder.make(folder).then(() => "made", String)

describe("DataFolder", () => {
  it("makes every folder that is missing, for its owner only, and leaves those that are there", async () => {
    const root = await Fs.mkdtemp(Path.join(Os.tmpdir(), "shoal-folder-"))
    try {
      const deep = Path.join(root, "a", "b", "c")
      await Promise.all([DataFolder.make(deep), DataFolder.make(deep), DataFolder.make(Path.join(root, "a"))])
      assert.strictEqual((await Fs.stat(deep)).mode & 0o777, 0o700)
      await DataFolder.make(deep)
      await Fs.writeFile(Path.join(root, "file"), "")
      assert.match(await refusal(Path.join(root, "file")), /EEXIST/)
      assert.match(await refusal(Path.join(root, "file", "below")), /ENOTDIR/)
    } finally {
      await Fs.rm(root, { recursive: true })
    }
  })

  it.skipIf(process.platform !== "linux")(
    "gives up where the system makes none although all above is there",
    async () => {
      assert.match(await refusal("/proc/shoal"), /ENOENT/)
      assert.match(await refusal("/proc/shoal/below"), /ENOENT/)
    }
  )
})
