/** Ends a test run with one line a script can read: `N passed, N failed`, then `, N skipped` if any were.
 *
 * A module that fails to load and an error outside any test count as failed, so `0 failed` means the run was good. */
import * as Fs from "node:fs"
import process from "node:process"
import type { Reporter, SerializedError, TestModule } from "vitest/node"

export interface Counts {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
}

export const count = (modules: ReadonlyArray<TestModule>, unhandled: ReadonlyArray<SerializedError>): Counts => {
  const counts = { passed: 0, failed: unhandled.length, skipped: 0 }
  for (const module of modules) {
    let failed = 0
    for (const test of module.children.allTests()) {
      const { state } = test.result()
      if (state === "passed") counts.passed++
      else if (state === "failed") failed++
      else counts.skipped++
    }
    counts.failed += failed === 0 && !module.ok() ? 1 : failed
  }
  return counts
}

export const render = (counts: Counts): string =>
  `${counts.passed} passed, ${counts.failed} failed${counts.skipped > 0 ? `, ${counts.skipped} skipped` : ""}`

export default class SummaryReporter implements Reporter {
  #line: string | undefined

  onInit(): void {
    // At exit, because the default reporter and vitest itself still print after the run has ended.
    process.once("exit", () => {
      if (this.#line !== undefined) Fs.writeSync(process.stdout.fd, `${this.#line}\n`)
    })
  }

  onTestRunEnd(modules: ReadonlyArray<TestModule>, unhandled: ReadonlyArray<SerializedError>): void {
    this.#line = render(count(modules, unhandled))
  }
}
