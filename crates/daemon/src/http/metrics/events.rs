//! The metrics of events.

use super::figures::{count, counter, gauges};
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt;
use trellis_core::events::EventsStatus;

/// What events keep now, and what was published since the start.
pub(super) fn encode(encoder: &mut DescriptorEncoder, status: &EventsStatus) -> fmt::Result {
    let figures = [
        ("topics", "Topics that are known.", count(status.topics)),
        ("kept", "Events that can be read.", status.events),
        ("kept_bytes", "Their bytes.", status.bytes),
        ("groups", "Groups of consumers.", count(status.groups)),
        (
            "leased",
            "Events that members of groups hold.",
            count(status.leased),
        ),
        (
            "retrying",
            "Events that wait to be delivered again.",
            count(status.retrying),
        ),
        (
            "dead_letters",
            "Events that groups have given up.",
            count(status.dead),
        ),
        (
            "log_failed",
            "1 while nothing can be published before a restart, else 0.",
            u64::from(status.failure.is_some()),
        ),
    ];
    gauges(encoder, "trellis_events", figures)?;
    let help = "Events published.";
    counter(encoder, "trellis_events_published", help, status.published)?;
    let help = "Events that were published before, and were not published again.";
    counter(
        encoder,
        "trellis_events_duplicates",
        help,
        status.duplicates,
    )
}
