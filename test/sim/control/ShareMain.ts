/** A share of the seeds in a process of its own, for `Sweep` on several cores: `node ShareMain.ts FROM SEEDS`; prints JSON. */
import * as Sweep from "./Sweep.ts"

const [from, seeds] = process.argv.slice(2).map(Number)
process.stdout.write(JSON.stringify(Sweep.run({ from: from ?? 1, seeds: seeds ?? 1 })))
