/** What the catalog counts.
 *
 * Boundary: handles only; labels are of small, fixed sets. */
import * as Metric from "effect/Metric"

export const functions = Metric.gauge("shoal_catalog_functions", {
  description: "Functions that can be called, as this node knows them"
})

export const prepared = Metric.gauge("shoal_catalog_prepared", {
  description: "Changes on this node's disk whose end is not known"
})

/** Changes this node wrote as master, by outcome: durable, not-durable. */
export const writes = Metric.counter("shoal_catalog_writes_total", {
  description: "Changes of the catalog this node wrote as master",
  incremental: true
})

export const promoted = Metric.counter("shoal_catalog_promoted_total", {
  description: "Changes of an earlier reign that this node took to their end",
  incremental: true
})

/** Records that came by comparing digests, not by a push. */
export const pulled = Metric.counter("shoal_catalog_pulled_total", {
  description: "Records pulled because a digest differed",
  incremental: true
})

/** Bundles fetched from peers, by outcome: ok, failed. */
export const fetches = Metric.counter("shoal_catalog_fetches_total", {
  description: "Bundles asked of a peer",
  incremental: true
})

export const setAside = Metric.counter("shoal_catalog_set_aside_total", {
  description: "Files found torn or altered",
  incremental: true
})
