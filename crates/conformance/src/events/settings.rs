//! The settings that the suite expects a backend under test to obey.

use trellis_core::Micros;
use trellis_core::events::TopicRetention;

/// Bounds and periods, small enough for cases to reach them. A backend under test must obey them; it
/// gets them from the suite, so that it cannot forget one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long ids are remembered.
    pub id_window: Micros,
    /// Ids that a topic may have in the window; it is the only one of its partition.
    pub max_ids: usize,
    /// Topics in use.
    pub max_topics: usize,
    /// Groups in use.
    pub max_groups: usize,
    /// Calls that wait for events of one group.
    pub max_waiters: usize,
    /// Events of a group that are taken in and not settled.
    pub max_open: usize,
    /// Bytes of events that a group holds.
    pub group_bytes: usize,
    /// Newest events of a topic that are held for those who follow it.
    pub live_events: usize,
    /// What a topic keeps that was not set.
    pub retention: TopicRetention,
    /// How often it is looked for what need not be kept.
    pub retention_every: Micros,
    /// Bytes of changes of groups behind which a checkpoint is due.
    pub checkpoint_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            id_window: Micros::from_secs(8),
            max_ids: 160,
            max_topics: 12,
            max_groups: 6,
            max_waiters: 4,
            max_open: 40,
            group_bytes: 500,
            live_events: 8,
            retention: TopicRetention::default(),
            retention_every: Micros::from_millis(200),
            checkpoint_bytes: 4_000,
        }
    }
}
