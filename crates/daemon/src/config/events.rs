//! The groups `events` and `disk`: their tables, their typed values, and what becomes of them.

use super::allowed::Allowed::{Choice, Count};
use super::settings::{DAY, HOUR, MILLION, SECOND, Setting, YEAR, setting, span};
use super::span::Span;
use serde::Deserialize;
use trellis_core::Micros;
use trellis_core::events::TopicRetention;
use trellis_core::log::LogLimits;
use trellis_engine::EventsConfig;
use trellis_local::log::{DEFAULT_LIMITS, DiskLogOptions, MemoryLogOptions, OnDamage, Retention};
use trellis_service::EventBounds;

const MIB: u64 = 1024 * 1024;
const TIB: u64 = MIB * MIB;

/// The part of the memory that topics and groups themselves may take.
const CONTROL_PART: u64 = 16;

/// The largest batch.
const BATCH: u64 = DEFAULT_LIMITS.batch_bytes as u64;

/// The group `events`. The table below tells what each means.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct EventsSettings {
    partitions: u32,
    memory_bytes: u64,
    id_window: Span,
    max_ids: usize,
    max_topics: usize,
    max_groups: usize,
    max_waiters: usize,
    max_open: usize,
    retention_age: Span,
    retention_bytes: u64,
    max_data_bytes: usize,
    max_batch: usize,
    max_wait: Span,
    max_streams: usize,
    max_stream_in_flight: usize,
    max_stream_bytes: usize,
    max_credit_events: u32,
    max_credit_bytes: u32,
}

/// The group `disk`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DiskSettings {
    segment_bytes: u64,
    on_damage: Damaged,
}

/// What to do about damage.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Damaged {
    Refuse,
    Salvage,
}

impl EventsSettings {
    /// Topics and groups.
    pub(super) fn engine(&self) -> EventsConfig {
        EventsConfig {
            partitions: self.partitions,
            id_window: self.id_window.into(),
            max_ids: self.max_ids,
            max_topics: self.max_topics,
            max_groups: self.max_groups,
            max_waiters: self.max_waiters,
            max_open: self.max_open,
            retention: TopicRetention {
                max_age: Some(Micros::from(self.retention_age)),
                max_bytes: Some(self.retention_bytes),
                max_events: None,
            },
            ..EventsConfig::default()
        }
    }

    /// Bounds on requests.
    pub(super) fn bounds(&self) -> EventBounds {
        EventBounds {
            max_data_bytes: self.max_data_bytes,
            max_batch: self.max_batch,
            max_wait: self.max_wait.into(),
            max_streams: self.max_streams,
            max_stream_in_flight: self.max_stream_in_flight,
            max_stream_bytes: self.max_stream_bytes,
            max_credit_events: self.max_credit_events,
            max_credit_bytes: self.max_credit_bytes,
        }
    }

    /// One partition for each that topics are spread over, and one for what concerns them.
    fn limits(&self) -> LogLimits {
        LogLimits {
            partitions: self.partitions + 1,
            ..DEFAULT_LIMITS
        }
    }

    /// The log of a daemon that keeps nothing. Each sequence of topics has its share, in which new events drop the oldest; what is
    /// left is for topics and groups themselves, of which nothing may be dropped.
    pub(super) fn memory(&self) -> MemoryLogOptions {
        let for_topics = self.memory_bytes - self.memory_bytes / CONTROL_PART;
        let share = Retention {
            max_bytes: Some(for_topics / u64::from(self.partitions)),
            max_age: None,
        };
        let mut retention = vec![share; self.limits().partitions as usize];
        retention[0] = Retention::FOREVER;
        MemoryLogOptions {
            limits: self.limits(),
            // Whole batches are dropped, so a share may be exceeded by one.
            max_bytes: self.memory_bytes + u64::from(self.partitions) * BATCH,
            retention,
        }
    }

    /// The log in a directory.
    pub(super) fn disk(&self, disk: &DiskSettings) -> DiskLogOptions {
        DiskLogOptions {
            limits: self.limits(),
            segment_bytes: disk.segment_bytes,
            on_damage: match disk.on_damage {
                Damaged::Refuse => OnDamage::Refuse,
                Damaged::Salvage => OnDamage::Salvage,
            },
            ..DiskLogOptions::default()
        }
    }
}

/// The tables of both groups.
pub(super) static EVENTS: &[Setting] = &[
    setting(
        "events.partitions",
        "16",
        Count(1, 1_024),
        "Sequences over which topics are spread, each in one order. In a `data_dir` it stays what it was at first.",
    ),
    setting(
        "events.memory_bytes",
        "268435456",
        Count(MIB, TIB),
        "Bytes of events without a `data_dir`, attributes included: an equal share for each partition, in which new events \
         drop the oldest.",
    ),
    setting(
        "events.id_window",
        "2m",
        span(SECOND, HOUR),
        "How long an event's id is remembered, so that a repeat is published once.",
    ),
    setting(
        "events.max_ids",
        "1000000",
        Count(1, 100 * MILLION),
        "Ids remembered in each partition; further events with an id fail with TOO_MANY_REQUEST_IDS.",
    ),
    setting(
        "events.max_topics",
        "100000",
        Count(1, 100 * MILLION),
        "Topics that hold events, were set or have groups. Further ones fail with TOO_MANY_TOPICS.",
    ),
    setting(
        "events.max_groups",
        "10000",
        Count(1, MILLION),
        "Groups of all topics. Further ones fail with TOO_MANY_GROUPS.",
    ),
    setting(
        "events.max_waiters",
        "10000",
        Count(1, MILLION),
        "Members that wait for events of one group. Further ones fail with TOO_MANY_WAITERS.",
    ),
    setting(
        "events.max_open",
        "10000",
        Count(1, MILLION),
        "Events of one group that are taken in and not settled; further ones are not delivered before.",
    ),
    setting(
        "events.retention_age",
        "7d",
        span(SECOND, YEAR),
        "How old the events of a topic may become that was not set otherwise.",
    ),
    setting(
        "events.retention_bytes",
        "1073741824",
        Count(MIB, TIB),
        "Bytes of the newest events that such a topic keeps.",
    ),
    setting(
        "events.max_data_bytes",
        "1048576",
        Count(1, MIB),
        "The largest data of an event, in bytes.",
    ),
    setting(
        "events.max_batch",
        "1000",
        Count(1, 10_000),
        "Events in one PublishBatch, settlements in one Settle, and places in one ReplayDeadLetters.",
    ),
    setting(
        "events.max_wait",
        "1m",
        span(SECOND, DAY),
        "The longest `max_wait` of Read and Receive.",
    ),
    setting(
        "events.max_streams",
        "4096",
        Count(1, MILLION),
        "Streams of events open in this daemon. Further ones fail with TOO_MANY_STREAMS.",
    ),
    setting(
        "events.max_stream_in_flight",
        "1024",
        Count(1, MILLION),
        "Requests in hand on one stream; then it is not read further.",
    ),
    setting(
        "events.max_stream_bytes",
        "8388608",
        Count(MIB, 1_024 * MIB),
        "Bytes of the events in hand on one stream; then it is not read further.",
    ),
    setting(
        "events.max_credit_events",
        "100000",
        Count(1, MILLION),
        "Events that a reader may grant ahead.",
    ),
    setting(
        "events.max_credit_bytes",
        "67108864",
        Count(MIB, 1_024 * MIB),
        "Bytes of events that a reader may grant ahead.",
    ),
    setting(
        "disk.segment_bytes",
        "67108864",
        Count(65_536, 1_024 * MIB),
        "Bytes after which a new file is begun in `data_dir`. Old records are removed by whole files.",
    ),
    setting(
        "disk.on_damage",
        "refuse",
        Choice(&["refuse", "salvage"]),
        "What to do when a file in `data_dir` is damaged: do not start, and say where; or give up what cannot be read, keep \
         the damaged files beside and say what was lost.",
    ),
];

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    #[test]
    fn defaults_are_those_of_engine_and_logs() {
        let settings = Config::from_toml("").unwrap().settings;
        assert_eq!(settings.events.engine(), EventsConfig::default());
        let limits = settings.events.limits();
        let memory = settings.events.memory();
        assert_eq!((memory.limits, memory.retention.len()), (limits, 17));
        assert_eq!(memory.retention[0], Retention::FOREVER);
        assert_eq!(memory.retention[16].max_bytes, Some(15 * MIB));
        assert_eq!(settings.events.bounds(), EventBounds::default());
        let disk = DiskLogOptions {
            limits,
            ..DiskLogOptions::default()
        };
        assert_eq!(settings.events.disk(&settings.disk), disk);
    }

    #[test]
    fn whatever_is_allowed_engine_and_disk_can_take() {
        for text in [
            "events.partitions = 1024\nevents.max_ids = 1\ndisk.segment_bytes = 65536",
            "events.partitions = 1\ndisk.segment_bytes = 1073741824",
        ] {
            let settings = Config::from_toml(text).unwrap().settings;
            settings.events.engine().check().unwrap();
            settings.events.disk(&settings.disk).check().unwrap();
        }
    }
}
