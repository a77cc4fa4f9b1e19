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
