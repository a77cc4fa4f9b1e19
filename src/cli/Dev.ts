import * as Effect from "effect/Effect"
export const dev = (_flags: unknown) => Effect.void
