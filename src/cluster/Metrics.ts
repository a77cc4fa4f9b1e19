/** What the control plane counts.
 *
 * Boundary: handles only; no per-member labels. Inputs and refusals are labelled by their kind. */
import * as Metric from "effect/Metric"

/** Inputs stepped, by kind. */
export const inputs = Metric.counter("shoal_cluster_inputs_total", {
  description: "Messages processed by the cluster manager",
  incremental: true
})

/** Messages refused or ignored, by reason. */
export const rejected = Metric.counter("shoal_cluster_rejected_total", {
  description: "Control messages refused or ignored",
  incremental: true
})

export const reigns = Metric.counter("shoal_cluster_reign_changes_total", {
  description: "Changes of the reign this node obeys",
  incremental: true
})

export const restarts = Metric.counter("shoal_cluster_restarts_total", {
  description: "Restarts of the cluster manager after a defect",
  incremental: true
})

export const mailbox = Metric.gauge("shoal_cluster_mailbox", {
  description: "Messages waiting for the cluster manager"
})

export const batches = Metric.counter("shoal_cluster_batches_total", {
  description: "Batches of routing changes published to replicas",
  incremental: true
})

export const batchEntries = Metric.counter("shoal_cluster_batch_entries_total", {
  description: "Routing changes published to replicas",
  incremental: true
})

export const routes = Metric.gauge("shoal_cluster_routes", {
  description: "Routing entries that count in this node's table"
})

export const epoch = Metric.gauge("shoal_cluster_epoch", {
  description: "Epoch of the reign this node obeys"
})

/** 1 for the master, 2 for a replica, 3 for a worker. */
export const role = Metric.gauge("shoal_cluster_role", {
  description: "Role of this node: 1 master, 2 replica, 3 worker"
})

/** 0 from the moment in which the master was lost (the last beat, for its witnesses) until another is obeyed. */
export const hasMaster = Metric.gauge("shoal_cluster_has_master", {
  description: "Whether this node knows a master that it holds for alive"
})

export const withoutMaster = Metric.histogram("shoal_cluster_without_master_milliseconds", {
  description: "How long this node was without a master, once per time",
  boundaries: [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000]
})

/** A master sends a change or a digest every second at least. */
export const replicaLag = Metric.gauge("shoal_cluster_replica_lag_milliseconds", {
  description: "Time since this replica was last in step with its master; 0 for who is no replica"
})

export const snapshots = Metric.counter("shoal_cluster_snapshots_total", {
  description: "Snapshots of the routing table given to replicas",
  incremental: true
})

export const snapshotBytes = Metric.counter("shoal_cluster_snapshot_bytes_total", {
  description: "Bytes of the routing entries in snapshots given to replicas, without their encoding",
  incremental: true
})

/** By outcome: `done` or the reason why not. */
export const handovers = Metric.histogram("shoal_cluster_handover_milliseconds", {
  description: "How long handovers of this master took",
  boundaries: [5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000]
})

export const closed = Metric.histogram("shoal_cluster_handover_closed_milliseconds", {
  description: "How long this master made no writes for a handover",
  boundaries: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
})
