/** What tests of programs on Shoal may use (`shoal/testing`): the protocol alone in a simulator, and real layers in a
 * simulated world. */
export * as SimDisk from "./SimDisk.ts"
export * as SimNet from "./SimNet.ts"
export * as Latency from "./simulator/Latency.ts"
export * as Measures from "./simulator/Measures.ts"
export * as Plan from "./simulator/Plan.ts"
export * as Simulation from "./simulator/Simulation.ts"
export * as Statistics from "./simulator/Statistics.ts"
export * as Trial from "./simulator/Trial.ts"
export * as World from "./World.ts"
