/** The files nothing imports: where the package, the command and the executor processes begin.
 *
 * The build bundles them, knip and the dead-file rule start from them. */

/** Imported by users of the package; dependencies stay imports. */
export const library = ["src/index.ts", "src/testing/index.ts"]

/** The command; bundled with its dependencies for a quick start. */
export const command = "src/cli/main.ts"

/** Started by path as a process or worker thread of its own, and bundled with its dependencies. */
export const executor = ["src/node/executor/HostMain.ts", "src/node/executor/WorkerMain.ts"]

export const isEntry = (file: string): boolean => [...library, command, ...executor].includes(file)
