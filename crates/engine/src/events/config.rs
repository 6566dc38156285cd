//! Bounds and periods of the engine of events.

use trellis_core::events::{MAX_DATA_BYTES, TopicRetention};
use trellis_core::{Micros, Result, check_rules};

/// Bounds and periods of an [`EventEngine`](super::EventEngine).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventsConfig {
    /// Partitions over which topics are spread, for the life of a log: 1 to 1,024. The log has one more.
    pub partitions: u32,
    /// How long an event's id is remembered.
    pub id_window: Micros,
    /// Ids that each partition remembers. Beyond, events with an id are refused.
    pub max_ids: usize,
    /// Topics that hold events, were set or have groups.
    pub max_topics: usize,
    /// Groups of all topics.
    pub max_groups: usize,
    /// Calls that wait for events of one group.
    pub max_waiters: usize,
    /// Events of one group that are taken in and not settled.
    pub max_open: usize,
    /// Bytes of events that one group holds for its members; what goes beyond is read again.
    pub group_bytes: usize,
    /// Newest events of a topic that are held for those who follow it.
    pub live_events: usize,
    /// Bytes of them.
    pub live_bytes: usize,
    /// What a topic keeps that was not set.
    pub retention: TopicRetention,
    /// How often it is looked for what need not be kept.
    pub retention_every: Micros,
    /// What topics and groups amount to is written anew when more bytes than this, and than twice its size, were logged since.
    pub checkpoint_bytes: usize,
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self {
            partitions: 16,
            id_window: Micros::from_secs(120),
            max_ids: 1_000_000,
            max_topics: 100_000,
            max_groups: 10_000,
            max_waiters: 10_000,
            max_open: 10_000,
            group_bytes: 8 * MAX_DATA_BYTES,
            live_events: 1_024,
            live_bytes: 4 * MAX_DATA_BYTES,
            retention: TopicRetention {
                max_age: Some(Micros::from_secs(7 * 24 * 3_600)),
                max_bytes: Some(1024 * 1024 * 1024),
                max_events: None,
            },
            retention_every: Micros::from_secs(10),
            checkpoint_bytes: 4 * 1024 * 1024,
        }
    }
}

impl EventsConfig {
    /// Checks every bound. Errors: `InvalidField` with the setting's name.
    pub fn check(&self) -> Result<()> {
        let positive = "must be at least 1";
        let rules = [
            (
                (1..=1_024).contains(&self.partitions),
                "partitions",
                "must be 1 to 1024",
            ),
            (self.max_ids >= 1, "max_ids", positive),
            (self.max_topics >= 1, "max_topics", positive),
            (self.max_groups >= 1, "max_groups", positive),
            (self.max_waiters >= 1, "max_waiters", positive),
            (self.max_open >= 1, "max_open", positive),
            (self.live_events >= 1, "live_events", positive),
            (
                self.retention_every >= Micros::from_millis(1),
                "retention_every",
                "must be at least 1 ms",
            ),
        ];
        check_rules(rules)
    }
}
