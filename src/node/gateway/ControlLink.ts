/** The gateway's end of the link to its control plane: numbers its questions and brings the answers home.
 *
 * Boundary: transport of plain messages; what is asked and what follows from an answer is decided by the callers.
 * A question that gets no answer in time is answered here with undefined, and a later answer is dropped.
 * Invariants: M5 (at most `maxOpen` questions; beyond it the answer is undefined at once). */
import type * as Link from "../../functions/Link.ts"

export const maxOpen = 8192

type Answer = Extract<Link.ToGateway, { readonly id: number }>
type Question = Extract<Link.ToControl, { readonly id: number }>
type WithoutId<M> = M extends unknown ? Omit<M, "id"> : never

interface Open {
  readonly done: (answer: Answer | undefined) => void
  readonly timer: NodeJS.Timeout
}

export interface Receiver {
  readonly view: (view: Link.ToGateway & { readonly _tag: "View" }) => void
  readonly catalog: (functions: ReadonlyArray<Link.Function>) => void
  readonly draining: () => void
}

export class ControlLink {
  readonly #port: Link.GatewayPort
  readonly #open = new Map<number, Open>()
  #lastId = 0

  constructor(port: Link.GatewayPort) {
    this.#port = port
  }

  /** Begins to take messages; those that came before are delivered now. */
  receive(receiver: Receiver): void {
    this.#port.onMessage((message) => {
      switch (message._tag) {
        case "View":
          return receiver.view(message)
        case "Catalog":
          return receiver.catalog(message.functions)
        case "Draining":
          return receiver.draining()
        default:
          return this.#answered(message)
      }
    })
  }

  post(message: Exclude<Link.ToControl, { readonly id: number }>): void {
    this.#port.post(message)
  }

  /** Asks; `done` gets the answer, or undefined after `withinMs`. */
  ask(question: WithoutId<Question>, withinMs: number, done: (answer: Answer | undefined) => void): void {
    if (this.#open.size >= maxOpen) return done(undefined)
    const id = ++this.#lastId
    const timer = setTimeout(() => {
      // A busy loop runs timers before it reads: let an answer that is already here come first.
      setImmediate(() => this.#close(id, undefined))
    }, withinMs)
    this.#open.set(id, { done, timer })
    this.#port.post({ ...question, id })
  }

  close(): void {
    for (const id of this.#open.keys()) this.#close(id, undefined)
  }

  #answered(answer: Answer): void {
    this.#close(answer.id, answer)
  }

  #close(id: number, answer: Answer | undefined): void {
    const open = this.#open.get(id)
    if (open === undefined) return
    this.#open.delete(id)
    clearTimeout(open.timer)
    open.done(answer)
  }
}
