//! How a disk log is to behave.

use crate::log::{DEFAULT_LIMITS, Retention};
use trellis_core::log::LogLimits;
use trellis_core::{Micros, Result, check_rules};

/// What to do when damage is found while a log is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDamage {
    /// The log is not opened; the error names the position.
    #[default]
    Refuse,
    /// Every file is read and checked; damaged ones are rewritten without what cannot be read, and kept beside under the
    /// suffix `.damaged`. Offsets that are lost become gaps. [`super::DiskLog::lost`] tells what was lost.
    Salvage,
}

/// Bounds and periods of a [`super::DiskLog`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskLogOptions {
    /// Bounds on what is appended: at most 65,536 partitions, batches of at most 16 MiB. Partitions may become more from one
    /// opening to the next; fewer are refused as long as those left out have records.
    pub limits: LogLimits,
    /// Bytes after which a new file is begun, 64 KiB to 1 GiB. Old records are removed by whole files.
    pub segment_bytes: u64,
    /// Bytes of batches that wait to be written, and at most that many again that are being written. Beyond, appends fail
    /// with `Busy`. At least the largest batch.
    pub queue_bytes: usize,
    /// Bytes of the newest records that are kept in memory for readers that follow; 0 for none.
    pub tail_bytes: usize,
    /// Readers of older records at a time, each on a thread that may wait for the disk; others wait their turn. At least 1.
    pub readers: usize,
    /// What each partition keeps, by its number; those beyond the list keep everything that is not trimmed.
    pub retention: Vec<Retention>,
    /// How often it is looked for what is too old, at least 1 ms.
    pub retention_every: Micros,
    /// What to do about damage.
    pub on_damage: OnDamage,
}

impl Default for DiskLogOptions {
    fn default() -> Self {
        Self {
            limits: DEFAULT_LIMITS,
            segment_bytes: 64 * 1024 * 1024,
            queue_bytes: 32 * 1024 * 1024,
            tail_bytes: 16 * 1024 * 1024,
            readers: 8,
            retention: Vec::new(),
            retention_every: Micros::from_secs(10),
            on_damage: OnDamage::Refuse,
        }
    }
}

impl DiskLogOptions {
    /// Checks every bound.
    pub fn check(&self) -> Result<()> {
        let rules = [
            (
                (1..=65_536).contains(&self.limits.partitions),
                "limits.partitions",
                "must be 1 to 65536",
            ),
            (
                (1..=16 * 1024 * 1024).contains(&self.limits.batch_bytes),
                "limits.batch_bytes",
                "must be 1 to 16777216",
            ),
            (
                self.limits.batch_records >= 1 && u32::try_from(self.limits.batch_records).is_ok(),
                "limits.batch_records",
                "must be 1 to 4294967295",
            ),
            (
                (64 * 1024..=1024 * 1024 * 1024).contains(&self.segment_bytes),
                "segment_bytes",
                "must be 65536 to 1073741824",
            ),
            (
                (self.limits.batch_bytes..=1024 * 1024 * 1024).contains(&self.queue_bytes),
                "queue_bytes",
                "must be limits.batch_bytes to 1073741824",
            ),
            (self.readers >= 1, "readers", "must be at least 1"),
            (
                self.retention_every >= Micros::from_millis(1),
                "retention_every",
                "must be at least 1 ms",
            ),
        ];
        check_rules(rules)
    }
}
