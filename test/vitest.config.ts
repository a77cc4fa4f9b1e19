/** How the tests run: `unit` in parallel, then `e2e`, which starts real processes, one file at a time. */
import * as Path from "node:path"
import { defineConfig } from "vitest/config"

export default defineConfig({
  root: Path.resolve(import.meta.dirname, ".."),
  test: {
    reporters: ["default", Path.join(import.meta.dirname, "tools/SummaryReporter.ts")],
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/e2e/**"],
          testTimeout: 20_000,
          hookTimeout: 20_000,
          sequence: { groupOrder: 0 }
        }
      },
      {
        extends: true,
        test: {
          name: "e2e",
          include: ["test/e2e/**/*.test.ts"],
          pool: "forks",
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 1 }
        }
      }
    ]
  }
})
