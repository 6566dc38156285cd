//! The metrics of locks.

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::fmt;
use trellis_core::locks::LocksStatus;

/// What locks hold now, and what was decided since the start.
pub(super) fn encode(encoder: &mut DescriptorEncoder, status: &LocksStatus) -> fmt::Result {
    let gauges = [
        (
            "namespaces",
            "Namespaces with locks, or remembered ones.",
            status.namespaces,
        ),
        ("locks", "Locks held or waited for.", status.locks),
        ("leases", "Leases that stand.", status.leases),
        ("sessions", "Sessions that stand.", status.sessions),
        ("waiters", "Calls waiting for locks.", status.waiters),
        (
            "request_ids",
            "Request ids of locks remembered.",
            status.request_ids,
        ),
    ];
    for (noun, help, value) in gauges {
        let name = format!("trellis_locks_{noun}");
        encoder
            .encode_descriptor(&name, help, None, MetricType::Gauge)?
            .encode_gauge(&u64::try_from(value).unwrap_or(u64::MAX))?;
    }
    let families = [
        (
            "trellis_locks_decisions",
            "Acquires of locks decided.",
            "outcome",
            vec![
                ("granted", status.granted),
                ("held", status.held),
                ("timed_out", status.timed_out),
            ],
        ),
        (
            "trellis_locks_lost",
            "Leases that ended without their holder's doing.",
            "reason",
            vec![("expired", status.expired), ("forced", status.forced)],
        ),
    ];
    for (name, help, label, counts) in families {
        let mut counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (value, count) in counts {
            counter
                .encode_family(&[(label, value)])?
                .encode_counter::<NoLabelSet, _, f64>(&count, None)?;
        }
    }
    Ok(())
}
