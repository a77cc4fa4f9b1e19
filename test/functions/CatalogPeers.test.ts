import { assert, describe, it } from "@effect/vitest"
import type { ClusterView, MemberView } from "../../src/cluster/ClusterView.ts"
import * as CatalogPeers from "../../src/functions/CatalogPeers.ts"
import * as Member from "../../src/swim/Member.ts"

const member = (id: string, options: Partial<MemberView> = {}): MemberView => ({
  id: Member.id(id),
  bootId: 1,
  startedAt: 1,
  status: "alive",
  role: "worker",
  incarnation: 0,
  address: { host: "127.0.0.1", port: 1 },
  meta: { http: "", rpc: "127.0.0.1:1", data: "", release: "1", eligible: true, tags: {} },
  ...options
})

const view = (members: ReadonlyArray<MemberView>): ClusterView => ({
  self: Member.id("a"),
  bootId: 1,
  role: "worker",
  reign: {
    epoch: 1,
    id: Member.id("m"),
    bootId: 1,
    startedAt: 1,
    predecessor: undefined,
    kind: "plain",
    witnesses: 0
  },
  replicas: [Member.id("r")],
  members
})

describe("CatalogPeers.others", () => {
  it("names the master, then replicas, then the rest, and who is suspect last", () => {
    const all = [member("a"), member("r"), member("w"), member("m"), member("s", { status: "suspect" })]
    assert.deepStrictEqual(CatalogPeers.others(view(all)).map(String), ["m", "r", "w", "s"])
  })

  it("names nobody who has no disk for a copy: the gone, and members of the membership alone", () => {
    const all = [
      member("a"),
      member("m"),
      member("x", { status: "dead" }),
      member("y", { status: "left" }),
      member("agent", { meta: undefined, role: undefined })
    ]
    assert.deepStrictEqual(CatalogPeers.others(view(all)).map(String), ["m"])
  })
})
