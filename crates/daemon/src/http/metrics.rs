//! The metrics, collected when they are asked for.
//!
//! Names: `trellis_` and the noun; counters end in `_total`, times in `_seconds`.

mod cache;
mod events;
mod figures;
mod jobs;
mod locks;

use crate::readiness::{Phase, Readiness};
use figures::{count, counter, family, gauge, gauges};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use trellis_core::cache::Cache;
use trellis_core::events::Events;
use trellis_core::jobs::Jobs;
use trellis_core::limits::{Limits, LimitsStatus};
use trellis_core::locks::Locks;
use trellis_core::{Clock, Cluster, Now};
use trellis_service::{RpcSnapshot, RpcStats};

/// Where the figures come from.
pub(crate) struct DaemonMetrics {
    pub limits: Arc<dyn Limits>,
    pub locks: Arc<dyn Locks>,
    pub cache: Arc<dyn Cache>,
    pub events: Option<Arc<dyn Events>>,
    pub jobs: Option<Arc<dyn Jobs>>,
    pub cluster: Option<Arc<dyn Cluster>>,
    pub stats: Arc<RpcStats>,
    pub readiness: Arc<Readiness>,
    pub clock: Arc<dyn Clock>,
    pub started: Now,
}

impl fmt::Debug for DaemonMetrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DaemonMetrics")
            .finish_non_exhaustive()
    }
}

impl Collector for DaemonMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        self.encode_daemon(&mut encoder)?;
        self.encode_limits(&mut encoder)?;
        locks::encode(&mut encoder, &self.locks.status())?;
        cache::encode(&mut encoder, &self.cache.status())?;
        if let Some(events) = &self.events {
            events::encode(&mut encoder, &events.status())?;
        }
        if let Some(jobs) = &self.jobs {
            jobs::encode(&mut encoder, &jobs.status())?;
        }
        self.encode_store(&mut encoder)?;
        self.encode_fallback(&mut encoder)?;
        encode_rpcs(&mut encoder, &self.stats.snapshot())
    }
}

impl DaemonMetrics {
    fn encode_daemon(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        encoder
            .encode_descriptor(
                "trellis_build",
                "Version of the daemon.",
                None,
                MetricType::Info,
            )?
            .encode_info(&version)?;
        let now = self.clock.now();
        let uptime = Duration::from(now.mono - self.started.mono);
        let started = Duration::from_micros(self.started.wall.0);
        let draining = self.readiness.phase() == Phase::Draining;
        let gauges = [
            (
                "process_start_time_seconds",
                "When the daemon started, in seconds since the Unix epoch.",
                started.as_secs_f64(),
            ),
            (
                "trellis_uptime_seconds",
                "How long the daemon has run.",
                uptime.as_secs_f64(),
            ),
            (
                "trellis_draining",
                "1 while the daemon shuts down, else 0.",
                f64::from(u8::from(draining)),
            ),
        ];
        for (name, help, value) in gauges {
            gauge(encoder, name, help, value)?;
        }
        Ok(())
    }

    fn encode_store(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let Some(cluster) = &self.cluster else {
            return Ok(());
        };
        let store = cluster.store();
        let gauges = [
            (
                "trellis_store_up",
                "1 while the shared store can be used, else 0.",
                u64::from(store.up),
            ),
            (
                "trellis_store_calls_in_flight",
                "Calls of the shared store in flight.",
                count(store.calls_in_flight),
            ),
            (
                "trellis_store_generation",
                "The store's history; another one means that it lost its memory.",
                store.generation,
            ),
            (
                "trellis_members",
                "Daemons that share the store, this one included.",
                count(cluster.members().len()),
            ),
        ];
        for (name, help, value) in gauges {
            gauge(encoder, name, help, value)?;
        }
        Ok(())
    }

    fn encode_fallback(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let Some(fallback) = self.limits.fallback() else {
            return Ok(());
        };
        let now = self.clock.now().wall;
        let open_for = fallback.outage.map(|(since, _)| now - since);
        let shares = fallback.share.map_or(0, |share| share.count);
        let share = if shares == 0 {
            0.0
        } else {
            1.0 / float(shares)
        };
        let gauges = [
            (
                "trellis_fallback_open",
                "1 while the store is away and limits go on with this daemon's share, else 0.",
                f64::from(u8::from(open_for.is_some())),
            ),
            (
                "trellis_fallback_open_seconds",
                "For how long they have, 0 while they are shared.",
                open_for.map_or(0.0, |time| Duration::from(time).as_secs_f64()),
            ),
            (
                "trellis_fallback_share",
                "The part of each limit that this daemon spends, or would spend, while the store is away.",
                share,
            ),
            (
                "trellis_fallback_unmerged_buckets",
                "Buckets of which the store does not know yet what was spent without it.",
                float(count(fallback.unmerged_buckets)),
            ),
            (
                "trellis_fallback_unmerged_units",
                "Units spent of them.",
                float(u64::try_from(fallback.unmerged_units).unwrap_or(0)),
            ),
        ];
        for (name, help, value) in gauges {
            gauge(encoder, name, help, value)?;
        }
        let counters = [
            (
                "trellis_fallback_outages",
                "How often limits have begun to go on with this daemon's share.",
                fallback.outages,
            ),
            (
                "trellis_fallback_decisions",
                "Acquires decided by this daemon alone, because the store was away.",
                fallback.decisions,
            ),
        ];
        for (name, help, value) in counters {
            counter(encoder, name, help, value)?;
        }
        Ok(())
    }

    fn encode_limits(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let status = self.limits.status();
        let figures = [
            ("namespaces", "Namespaces in use.", status.namespaces),
            ("limits", "Limits, declared and inline.", status.limits),
            (
                "buckets",
                "Buckets that are not idle and full.",
                status.buckets,
            ),
            (
                "waiters",
                "Calls waiting for their charges.",
                status.waiters,
            ),
            (
                "reservations",
                "Reservations open or remembered.",
                status.reservations,
            ),
            ("request_ids", "Request ids remembered.", status.request_ids),
            (
                "slices",
                "Slices of hot limits that this daemon holds.",
                status.slices,
            ),
            (
                "slice_units",
                "Units left in those slices.",
                usize::try_from(status.slice_units).unwrap_or(0),
            ),
        ];
        let figures = figures.map(|(noun, help, value)| (noun, help, count(value)));
        gauges(encoder, "trellis_limits", figures)?;
        encode_decisions(encoder, &status)
    }
}

fn encode_decisions(encoder: &mut DescriptorEncoder, status: &LimitsStatus) -> fmt::Result {
    let decided = [
        ("granted", status.granted),
        ("denied", status.denied),
        ("never", status.never),
        ("timed_out", status.timed_out),
    ];
    let help = "Acquires decided, dry runs apart.";
    family(
        encoder,
        "trellis_limits_decisions",
        help,
        "outcome",
        decided,
    )?;
    let help = "Of the acquires granted and denied, those decided out of slices.";
    counter(encoder, "trellis_limits_leased", help, status.leased)?;
    let help = "Units of this daemon's found to be above a limit when merged.";
    counter(
        encoder,
        "trellis_limits_overshoot_units",
        help,
        status.overshoot,
    )
}

fn encode_rpcs(encoder: &mut DescriptorEncoder, rpcs: &[RpcSnapshot]) -> fmt::Result {
    let name = "trellis_rpc_duration_seconds";
    let help = "Latency of each RPC, time spent waiting included.";
    let mut histogram = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for rpc in rpcs {
        let buckets = apart(&rpc.buckets, rpc.calls);
        histogram
            .encode_family(&[("rpc", rpc.name.as_str())])?
            .encode_histogram::<NoLabelSet>(rpc.sum.as_secs_f64(), rpc.calls, &buckets, None)?;
    }
    let errors = rpcs.iter().map(|rpc| (rpc.name.as_str(), rpc.errors));
    family(
        encoder,
        "trellis_rpc_errors",
        "Calls answered with an error.",
        "rpc",
        errors,
    )
}

/// A count as a gauge has it; above 2^53 rounded.
#[expect(clippy::cast_precision_loss, reason = "nobody counts so far")]
fn float(count: u64) -> f64 {
    count as f64
}

/// Counts of each bucket from cumulative ones, as the encoder adds them up again; the last bucket takes
/// what is above every bound.
fn apart(cumulative: &[(f64, u64)], calls: u64) -> Vec<(f64, u64)> {
    let mut below = 0;
    let all = cumulative.iter().copied().chain([(f64::INFINITY, calls)]);
    all.map(|(bound, count)| {
        let own = count.saturating_sub(below);
        below = count.max(below);
        (bound, own)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cumulative_buckets_come_out_as_they_went_in() {
        let counts = apart(&[(0.1, 2), (0.2, 2), (0.5, 5)], 6);
        assert_eq!(counts, [(0.1, 2), (0.2, 0), (0.5, 3), (f64::INFINITY, 1)]);
    }
}
