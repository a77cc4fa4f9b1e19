/** The protocol without Effect: two machines driven by hand, a loop that carries their packets, a clock that is a number.
 *
 * Run: node examples/02-bare-core.ts
 *
 * Expected output (the same at every run: time and randomness are inputs):
 *      3 ms  bob: Joined ada
 *      3 ms  bob: JoinDone contacted 1
 *      4 ms  ada: Joined bob
 *   1003 ms  bob: Updated ada
 *   2000 ms  bob's machine stops
 *   3998 ms  ada: Suspected bob
 *   7998 ms  ada: Failed bob
 *  15000 ms  it runs again
 *  15213 ms  ada: Joined bob
 *   ada sees ada:alive, bob:alive
 *   bob sees bob:alive, ada:alive
 */
import * as Member from "../src/swim/Member.ts"
import * as Params from "../src/swim/Params.ts"
import * as Swim from "../src/swim/Swim.ts"
import * as Codec from "../src/wire/Codec.ts"
import * as Packet from "../src/wire/Packet.ts"

const packet = Packet.make(Codec.binary)

/** One machine and the moment at which it wants to be woken. */
interface Node {
  readonly address: Member.Address
  readonly swim: Swim.Swim
  wakeAt: number
  cut: boolean
}

let now = 0
const nodes: Array<Node> = []
/** What is under way: a datagram takes 1 ms, a stream message as well. */
const carried: Array<{ readonly at: number; readonly deliver: () => void }> = []
const carry = (deliver: () => void) => carried.push({ at: now + 1, deliver })

const start = (name: string, port: number, seed: number): Node => {
  const address = { host: "127.0.0.1", port }
  const swim = Swim.make({
    self: { id: Member.id(name), bootId: seed, startedAt: seed, address, meta: new Uint8Array() },
    params: Params.lan,
    seed,
    now,
    sizeOf: packet.sizeOf,
    packetOverhead: packet.overhead
  })
  const node = { address, swim, wakeAt: now, cut: false }
  nodes.push(node)
  return node
}

const at = (to: Member.Address): Node | undefined => nodes.find(({ address }) => Member.sameAddress(address, to))

/** The other end of each stream, by name and number; accepted ends get odd numbers. */
const peers = new Map<string, { readonly node: Node; readonly stream: number }>()
let accepted = -1

const give = (node: Node, input: Swim.Input): void => {
  if (node.cut) return
  const outputs: Array<Swim.Output> = []
  Swim.step(node.swim, input, outputs)
  for (const output of outputs) interpret(node, output)
}

const interpret = (node: Node, output: Swim.Output): void => {
  const name = node.swim.self.id
  switch (output._tag) {
    case "Send": {
      // Through bytes, as on a real network.
      const bytes = packet.encode(output.messages)
      return void carry(() => {
        const to = at(output.to)
        const messages: Array<(typeof output.messages)[number]> = []
        if (to === undefined || packet.decode(bytes, messages) !== undefined) return
        give(to, { _tag: "Received", now, from: node.address, messages })
      })
    }
    case "SetTimer": {
      node.wakeAt = output.at
      return
    }
    case "OpenStream": {
      const { stream } = output
      return void carry(() => {
        const to = at(output.to)
        if (to === undefined || to.cut) return give(node, { _tag: "StreamClosed", now, stream, error: "refused" })
        accepted += 2
        const far = { node: to, stream: accepted }
        peers.set(`${name} ${stream}`, far)
        peers.set(`${to.swim.self.id} ${far.stream}`, { node, stream })
        give(to, { _tag: "StreamOpened", now, stream: far.stream, remote: node.address, initiator: false })
        give(node, { _tag: "StreamOpened", now, stream, remote: to.address, initiator: true })
      })
    }
    case "StreamSend": {
      const peer = peers.get(`${name} ${output.stream}`)
      if (peer === undefined) return
      const { messages } = output
      return void carry(() => give(peer.node, { _tag: "StreamReceived", now, stream: peer.stream, messages }))
    }
    case "CloseStream": {
      const peer = peers.get(`${name} ${output.stream}`)
      if (peer === undefined) return
      return void carry(() => give(peer.node, { _tag: "StreamClosed", now, stream: peer.stream }))
    }
    case "Notify": {
      const { event } = output
      const about = "member" in event ? event.member.id : "contacted" in event ? `contacted ${event.contacted}` : ""
      console.log(`${String(Math.round(now)).padStart(6)} ms  ${name}: ${event._tag} ${about}`)
      return
    }
    case "Rejected":
      return console.log(`${name} refused ${output.reason}`)
  }
}

/** Advances time to the next packet or timer until `end`. */
const runUntil = (end: number): void => {
  for (;;) {
    const packetAt = carried[0]?.at ?? Infinity
    const timerAt = Math.min(...nodes.map(({ cut, wakeAt }) => cut ? Infinity : wakeAt))
    const next = Math.min(packetAt, timerAt)
    if (next > end) break
    now = Math.max(now, next)
    if (packetAt <= timerAt) {
      carried.shift()?.deliver()
      continue
    }
    for (const node of nodes) {
      if (node.wakeAt > now || node.cut) continue
      node.wakeAt = Infinity
      give(node, { _tag: "TimerFired", now })
      give(node, { _tag: "Drained", now }) // no packet is waiting: now silence may be judged
    }
  }
  now = end
}

const ada = start("ada", 7946, 1)
const bob = start("bob", 7947, 2)
give(bob, { _tag: "Command", now, command: { _tag: "Join", seeds: [ada.address] } })
runUntil(1000)
give(ada, { _tag: "Command", now, command: { _tag: "SetMeta", meta: new TextEncoder().encode("hello") } })
runUntil(2000)
console.log(`${String(now).padStart(6)} ms  bob's machine stops`)
bob.cut = true
runUntil(15_000)
console.log(`${String(now).padStart(6)} ms  it runs again`)
bob.cut = false
runUntil(25_000)
for (const { swim } of nodes) {
  console.log(`${swim.self.id} sees ${Swim.members(swim).map(({ id, status }) => `${id}:${status}`).join(", ")}`)
}
