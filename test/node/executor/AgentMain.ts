/** A process with a pool and a spinning function, to be killed. Prints the process id of the executor host. */
import * as ExecutorPool from "../../../src/node/executor/ExecutorPool.ts"
import * as Calls from "./Calls.ts"

const pool = ExecutorPool.make()
await pool.ready
const instance = await pool.start(Calls.spec("misbehave"))
void Calls.call(instance, "/spin")
await instance.ping(100)
console.log(pool.pids[0])
