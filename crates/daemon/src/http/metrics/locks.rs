//! The metrics of locks.

use super::figures::{count, family, gauges};
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt;
use trellis_core::locks::LocksStatus;

/// What locks hold now, and what was decided since the start.
pub(super) fn encode(encoder: &mut DescriptorEncoder, status: &LocksStatus) -> fmt::Result {
    let figures = [
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
    let figures = figures.map(|(noun, help, value)| (noun, help, count(value)));
    gauges(encoder, "trellis_locks", figures)?;
    let decided = [
        ("granted", status.granted),
        ("held", status.held),
        ("timed_out", status.timed_out),
    ];
    let help = "Acquires of locks decided.";
    family(encoder, "trellis_locks_decisions", help, "outcome", decided)?;
    let lost = [("expired", status.expired), ("forced", status.forced)];
    let help = "Leases that ended without their holder's doing.";
    family(encoder, "trellis_locks_lost", help, "reason", lost)
}
