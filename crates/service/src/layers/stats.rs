//! Latency of every RPC of the contract, in histograms of a fixed size.

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use trellis_core::{Clock, Micros, Time};
use trellis_proto::FILE_DESCRIPTOR_SET;

/// The longest latency told apart: 1 hour, in µs.
const MAX_LATENCY: u64 = 3_600_000_000;
/// Two digits: figures are within 1 %.
const DIGITS: u8 = 2;
/// Upper bounds of the exported buckets, in µs: 1-2-5 steps from 10 µs to 100 s.
const BOUNDS: [u64; 22] = [
    10,
    20,
    50,
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
];

#[derive(Debug)]
struct Rpc {
    name: String,
    /// Its requests come one at a time, and are timed from outside.
    unary: bool,
    /// Made by the first call. Counts are 64 bits wide: 32 are full within half a day of load, and a
    /// full count distorts every figure from then on.
    latency: Mutex<Option<(Histogram<u64>, u64)>>,
    errors: AtomicU64,
}

/// Latencies of the contract's RPCs. Bounded: only they are counted.
pub struct RpcStats {
    /// By name.
    rpcs: Vec<Rpc>,
    clock: Arc<dyn Clock>,
}

/// One RPC since the start of the daemon.
#[derive(Clone, Debug, PartialEq)]
pub struct RpcSnapshot {
    /// Full name, for example `trellis.v1.LimitService/Acquire`.
    pub name: String,
    /// Calls answered.
    pub calls: u64,
    /// Calls answered with an error.
    pub errors: u64,
    /// Sum of the latencies.
    pub sum: Duration,
    /// Upper bounds in seconds, and how many calls took at most so long.
    pub buckets: Vec<(f64, u64)>,
    /// Half of the calls took at most this long.
    pub p50: Duration,
    /// 90 % of the calls took at most this long.
    pub p90: Duration,
    /// 99 % of the calls took at most this long.
    pub p99: Duration,
    /// 99.9 % of the calls took at most this long.
    pub p999: Duration,
    /// No call took longer than this.
    pub max: Duration,
}

impl RpcStats {
    /// No calls yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let descriptors = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default();
        let mut rpcs = Vec::new();
        for file in descriptors.file {
            for service in &file.service {
                for method in &service.method {
                    let name = format!("{}.{}/{}", file.package(), service.name(), method.name());
                    let unary = !method.client_streaming() && !method.server_streaming();
                    let errors = AtomicU64::new(0);
                    rpcs.push(Rpc {
                        name,
                        unary,
                        latency: Mutex::new(None),
                        errors,
                    });
                }
            }
        }
        rpcs.sort_by(|a, b| a.name.cmp(&b.name));
        Self { rpcs, clock }
    }

    /// The time now, to measure from.
    pub(crate) fn now(&self) -> Time {
        self.clock.mono()
    }

    /// The place of an RPC of the contract.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.rpcs
            .binary_search_by(|rpc| rpc.name.as_str().cmp(name))
            .ok()
    }

    /// The place of an RPC that is timed as a whole.
    pub(crate) fn find_unary(&self, name: &str) -> Option<usize> {
        self.find(name).filter(|place| self.rpcs[*place].unary)
    }

    /// Notes one answer of the RPC at that place.
    pub(crate) fn record(&self, place: usize, elapsed: Micros, is_error: bool) {
        let rpc = &self.rpcs[place];
        if is_error {
            rpc.errors.fetch_add(1, Ordering::Relaxed);
        }
        let mut latency = rpc.latency.lock();
        if latency.is_none() {
            *latency = Histogram::new_with_bounds(1, MAX_LATENCY, DIGITS)
                .ok()
                .map(|new| (new, 0));
        }
        if let Some((histogram, sum)) = &mut *latency {
            histogram.saturating_record(elapsed.0.max(1));
            *sum = sum.saturating_add(elapsed.0);
        }
    }

    /// Every RPC called so far, by name.
    #[must_use]
    pub fn snapshot(&self) -> Vec<RpcSnapshot> {
        let called = |rpc: &Rpc| {
            let latency = rpc.latency.lock().clone();
            let errors = rpc.errors.load(Ordering::Relaxed);
            latency.map(|(histogram, sum)| snapshot(&rpc.name, &histogram, sum, errors))
        };
        self.rpcs.iter().filter_map(called).collect()
    }
}

#[allow(clippy::cast_precision_loss, reason = "bounds are far below 2^52")]
fn snapshot(name: &str, histogram: &Histogram<u64>, sum: u64, errors: u64) -> RpcSnapshot {
    let mut buckets: Vec<(f64, u64)> = BOUNDS
        .iter()
        .map(|bound| (*bound as f64 / 1e6, 0))
        .collect();
    for step in histogram.iter_recorded() {
        let first = BOUNDS.partition_point(|bound| *bound < step.value_iterated_to());
        for (_, count) in buckets.iter_mut().skip(first) {
            *count += step.count_since_last_iteration();
        }
    }
    let quantile = |quantile| Duration::from_micros(histogram.value_at_quantile(quantile));
    RpcSnapshot {
        name: name.to_owned(),
        calls: histogram.len(),
        errors,
        sum: Duration::from_micros(sum),
        buckets,
        p50: quantile(0.5),
        p90: quantile(0.9),
        p99: quantile(0.99),
        p999: quantile(0.999),
        max: Duration::from_micros(histogram.max()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trellis_core::Now;

    struct Zero;

    impl Clock for Zero {
        fn now(&self) -> Now {
            Now::default()
        }
    }

    #[test]
    fn calls_are_counted_by_rpc_with_cumulative_buckets() {
        let stats = RpcStats::new(Arc::new(Zero));
        let name = "trellis.v1.LimitService/Acquire";
        for micros in [5, 15, 15, 700_000] {
            stats.record(stats.find_unary(name).unwrap(), Micros(micros), micros == 5);
        }
        let [rpc] = &stats.snapshot()[..] else {
            panic!("one RPC was called")
        };
        assert_eq!((rpc.name.as_str(), rpc.calls, rpc.errors), (name, 4, 1));
        assert_eq!(rpc.sum, Duration::from_micros(700_035));
        let at_most = |seconds: f64| {
            rpc.buckets
                .iter()
                .find(|(bound, _)| *bound >= seconds)
                .unwrap()
                .1
        };
        assert_eq!(
            (at_most(1e-5), at_most(2e-5), at_most(0.5), at_most(1.0)),
            (1, 3, 3, 4)
        );
        assert_eq!(
            stats.find_unary("trellis.v1.LimitService/AcquireStream"),
            None
        );
        assert_eq!(stats.find("no.such/Rpc"), None);
    }

    #[test]
    fn figures_stay_right_after_more_calls_than_32_bits_hold() {
        let stats = RpcStats::new(Arc::new(Zero));
        let place = stats.find("trellis.v1.LimitService/Peek").unwrap();
        stats.record(place, Micros(15), false);
        let many = 1 << 33;
        let mut latency = stats.rpcs[place].latency.lock();
        latency.as_mut().unwrap().0.record_n(15, many - 1).unwrap();
        drop(latency);
        stats.record(place, Micros(15), false);
        let snapshot = stats.snapshot();
        assert_eq!(snapshot[0].calls, many + 1);
        assert_eq!(snapshot[0].buckets[1], (2e-5, many + 1));
    }
}
