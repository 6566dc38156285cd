//! Bounds on requests, checked before any work starts.

use trellis_core::Micros;
use trellis_core::events::MAX_DATA_BYTES;
use trellis_core::jobs::MAX_PAYLOAD_BYTES;

/// Bounds on requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Charges in one acquire.
    pub max_charges: usize,
    /// Acquires in one batch.
    pub max_batch: usize,
    /// Requests in hand on one stream; then the stream is not read further.
    pub max_stream_in_flight: usize,
    /// Open streams in this daemon.
    pub max_streams: usize,
    /// The longest `max_wait`.
    pub max_wait: Micros,
    /// How long a reservation lasts when the caller does not say.
    pub default_reservation_ttl: Micros,
    /// The longest time of a reservation.
    pub max_reservation_ttl: Micros,
    /// The longest pause.
    pub max_pause: Micros,
    /// The largest message accepted, in bytes.
    pub max_message_bytes: usize,
    /// Bounds on requests of locks.
    pub locks: LockBounds,
    /// Bounds and defaults of the cache.
    pub cache: CacheServiceConfig,
    /// Bounds on requests of events.
    pub events: EventBounds,
    /// Bounds on requests of jobs.
    pub jobs: JobBounds,
}

/// Bounds on requests of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobBounds {
    /// Bytes of a payload, of a result and of a checkpoint; at most [`MAX_PAYLOAD_BYTES`].
    pub max_payload_bytes: usize,
    /// Jobs or ends in one batch.
    pub max_batch: usize,
    /// The longest `max_wait`.
    pub max_wait: Micros,
    /// Open streams in this daemon.
    pub max_streams: usize,
    /// Requests in hand on one stream; then the stream is not read further.
    pub max_stream_in_flight: usize,
    /// Bytes of the requests in hand on one stream; then the stream is not read further.
    pub max_stream_bytes: usize,
    /// Jobs that a worker may have on one stream.
    pub max_credit: usize,
    /// How long a worker has its jobs when nothing is heard of it, unless it says otherwise.
    pub lease: Micros,
    /// How long a worker has them when its stream has broken.
    pub reattach_time: Micros,
    /// How long a worker may go on with them when the daemon shuts down.
    pub drain_time: Micros,
}

impl Default for JobBounds {
    fn default() -> Self {
        Self {
            max_payload_bytes: MAX_PAYLOAD_BYTES,
            max_batch: 1_000,
            max_wait: Micros::from_secs(3_600),
            max_streams: 4_096,
            max_stream_in_flight: 1_024,
            max_stream_bytes: 8 * 1024 * 1024,
            max_credit: 10_000,
            lease: Micros::from_secs(30),
            reattach_time: Micros::from_secs(3),
            drain_time: Micros::from_secs(5),
        }
    }
}

/// Bounds on requests of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventBounds {
    /// Bytes of an event's data; at most [`MAX_DATA_BYTES`].
    pub max_data_bytes: usize,
    /// Events or settlements in one batch.
    pub max_batch: usize,
    /// The longest `max_wait`.
    pub max_wait: Micros,
    /// Open streams in this daemon.
    pub max_streams: usize,
    /// Requests in hand on one stream; then the stream is not read further.
    pub max_stream_in_flight: usize,
    /// Bytes of the events in hand on one stream; then the stream is not read further.
    pub max_stream_bytes: usize,
    /// Events that a reader may grant ahead.
    pub max_credit_events: u32,
    /// Bytes that a reader may grant ahead.
    pub max_credit_bytes: u32,
}

impl Default for EventBounds {
    fn default() -> Self {
        Self {
            max_data_bytes: MAX_DATA_BYTES,
            max_batch: 1_000,
            max_wait: Micros::from_secs(60),
            max_streams: 4_096,
            max_stream_in_flight: 1_024,
            max_stream_bytes: 8 * 1024 * 1024,
            max_credit_events: 100_000,
            max_credit_bytes: 64 * 1024 * 1024,
        }
    }
}

/// Bounds on requests of locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockBounds {
    /// Locks in one acquire.
    pub max_targets: usize,
    /// Bytes of a holder's value.
    pub max_value_bytes: usize,
    /// How long a lease or session lasts when the caller does not say.
    pub default_ttl: Micros,
    /// The longest time of a lease or session.
    pub max_ttl: Micros,
    /// The longest `max_wait`.
    pub max_wait: Micros,
    /// Requests in hand on one stream; then the stream is not read further.
    pub max_stream_in_flight: usize,
}

impl Default for LockBounds {
    fn default() -> Self {
        Self {
            max_targets: 32,
            max_value_bytes: 4_096,
            default_ttl: Micros::from_secs(30),
            max_ttl: Micros::from_secs(3_600),
            max_wait: Micros::from_secs(3_600),
            max_stream_in_flight: 1_024,
        }
    }
}

/// Bounds on requests of the cache, and what they mean where they do not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheServiceConfig {
    /// Keys or items in one batch or fetch.
    pub max_batch: usize,
    /// Open Fetch streams in this daemon.
    pub max_streams: usize,
    /// Keys that wait, and leases that are renewed, on one stream.
    pub max_stream_keys: usize,
    /// How long an entry is fresh.
    pub default_ttl: Micros,
    /// How long a negative entry is fresh.
    pub default_negative_ttl: Micros,
    /// The longest TTL, and the longest time after it in which an entry may be served stale.
    pub max_ttl: Micros,
    /// How long a lease lives unless it is renewed.
    pub default_lease_ttl: Micros,
    /// When a lease ends for good.
    pub default_compute: Micros,
    /// The latest that it may.
    pub max_compute: Micros,
    /// How long a unary call waits.
    pub default_wait: Micros,
    /// The longest wait.
    pub max_wait: Micros,
    /// How long a failure may be remembered.
    pub max_failure_ttl: Micros,
}

impl Default for CacheServiceConfig {
    fn default() -> Self {
        Self {
            max_batch: 1_000,
            max_streams: 4_096,
            max_stream_keys: 10_000,
            default_ttl: Micros::from_secs(3_600),
            default_negative_ttl: Micros::from_secs(30),
            max_ttl: Micros::from_secs(366 * 24 * 3_600),
            default_lease_ttl: Micros::from_secs(10),
            default_compute: Micros::from_secs(60),
            max_compute: Micros::from_secs(3_600),
            default_wait: Micros::from_secs(60),
            max_wait: Micros::from_secs(3_600),
            max_failure_ttl: Micros::from_secs(60),
        }
    }
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            max_charges: 32,
            max_batch: 1_000,
            max_stream_in_flight: 1_024,
            max_streams: 1_024,
            max_wait: Micros::from_secs(3_600),
            default_reservation_ttl: Micros::from_secs(60),
            max_reservation_ttl: Micros::from_secs(24 * 3_600),
            max_pause: Micros::from_secs(24 * 3_600),
            max_message_bytes: 4 * 1024 * 1024,
            locks: LockBounds::default(),
            cache: CacheServiceConfig::default(),
            events: EventBounds::default(),
            jobs: JobBounds::default(),
        }
    }
}
