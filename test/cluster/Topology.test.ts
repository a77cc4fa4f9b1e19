import { assert, describe, it } from "@effect/vitest"
import * as NodeMeta from "../../src/cluster/NodeMeta.ts"
import type { Reign } from "../../src/cluster/Reign.ts"
import * as Topology from "../../src/cluster/Topology.ts"
import * as Member from "../../src/swim/Member.ts"

const meta = NodeMeta.encode({ http: "h:1", rpc: "h:2", data: "h:3", release: "1", eligible: true, tags: {} })

const member = (id: string, startedAt: number, options: Partial<Member.Member> = {}): Member.Member => ({
  id: Member.id(id),
  bootId: startedAt + 1,
  startedAt,
  address: { host: "127.0.0.1", port: 1 },
  incarnation: 0,
  status: "alive",
  meta: meta ?? new Uint8Array(0),
  ...options
})

const reign: Reign = {
  epoch: 1,
  id: Member.id("b"),
  bootId: 3,
  startedAt: 2,
  predecessor: undefined,
  kind: "plain",
  witnesses: 0
}

const rolesOf = (members: ReadonlyArray<Member.Member>) => {
  const topology = Topology.make()
  Topology.replace(topology, members)
  Topology.refresh(topology, reign, 0)
  return {
    topology,
    roles: Object.fromEntries(Topology.memberViews(topology).map(({ id, role }) => [id, role]))
  }
}

describe("Topology", () => {
  it("gives no role, no vote and no share of the count to a member of the membership alone, however old", () => {
    const { roles, topology } = rolesOf([
      member("agent", 0, { meta: new Uint8Array(0) }),
      member("foreign", 1, { meta: new TextEncoder().encode("{}") }),
      member("b", 2),
      member("c", 3),
      member("d", 4),
      member("e", 5)
    ])
    assert.deepStrictEqual(roles, {
      agent: undefined,
      foreign: undefined,
      b: "master",
      c: "replica",
      d: "replica",
      e: "worker"
    })
    assert.deepStrictEqual(topology.active.map(({ id }): string => id), ["b", "c", "d", "e"])
    assert.deepStrictEqual(Topology.keepers(topology).map(({ id }): string => id), ["b", "c", "d"])
  })

  it("gives no role to who is gone, and keeps that of a suspect", () => {
    const { roles } = rolesOf([
      member("a", 1, { status: "dead" }),
      member("b", 2),
      member("c", 3, { status: "suspect" }),
      member("d", 4, { status: "left" })
    ])
    assert.deepStrictEqual(roles, { a: undefined, b: "master", c: "replica", d: undefined })
  })
})
