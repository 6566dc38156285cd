//! What the committer and the readers of a log share: what stands where. Only the committer changes it, and only to what is
//! durable.

use super::files::Files;
use super::format::{Manifest, PartitionEntry};
use super::index::SegmentIndex;
use super::load::{Place, Sealed};
use super::options::DiskLogOptions;
use super::queue::Queue;
use super::recent::Recent;
use crate::log::tell::End;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use trellis_core::log::{Bounds, History, LogError, LogResult, Offset, Partition};

/// See the module.
pub(super) struct Shared {
    pub(super) options: DiskLogOptions,
    pub(super) files: Arc<dyn Files>,
    pub(super) history: History,
    pub(super) queue: Queue,
    pub(super) ends: Box<[End]>,
    pub(super) state: Mutex<State>,
}

/// What stands where.
pub(super) struct State {
    pub(super) sealed: BTreeMap<u64, Arc<Sealed>>,
    pub(super) active: Active,
    pub(super) places: Vec<Place>,
    pub(super) recent: Recent,
    /// Why nothing can be appended before a restart.
    pub(super) failed: Option<String>,
}

/// The segment that is being written.
#[derive(Debug, Default)]
pub(super) struct Active {
    pub(super) number: u64,
    /// Where its durable frames end.
    pub(super) length: u64,
    pub(super) index: SegmentIndex,
}

impl State {
    /// Where a partition starts and ends; nowhere for one that is not there.
    pub(super) fn place(&self, partition: Partition) -> Place {
        let place = self.places.get(partition.0 as usize);
        place.copied().unwrap_or_default()
    }

    /// What a segment begun now has to say.
    pub(super) fn manifest(&self) -> Manifest {
        let mut segments: Vec<_> = self
            .sealed
            .iter()
            .map(|(number, sealed)| (*number, sealed.length))
            .collect();
        if !self.active.index.is_empty() {
            segments.push((self.active.number, self.active.length));
        }
        let entry = |(partition, place): (u32, &Place)| PartitionEntry {
            partition,
            start: place.start,
            end: place.end,
            last_time: place.last_time,
        };
        let places = (0..).zip(&self.places);
        let known = places.filter(|(_, place)| **place != Place::default());
        Manifest {
            segments,
            partitions: known.map(entry).collect(),
        }
    }

    /// Every segment with records of a partition, the oldest first: its number, index and where its frames end.
    pub(super) fn segments(&self) -> impl Iterator<Item = (u64, &SegmentIndex, u64)> {
        let sealed = self
            .sealed
            .iter()
            .map(|(number, sealed)| (*number, &sealed.index, sealed.length));
        let active = &self.active;
        sealed.chain([(active.number, &active.index, active.length)])
    }
}

impl Shared {
    /// What a partition holds.
    pub(super) fn bounds(&self, partition: Partition) -> LogResult<Bounds> {
        self.options.limits.check_partition(partition)?;
        Ok(self.bounds_in(&self.state.lock(), partition))
    }

    /// The same, of a state that is locked already.
    pub(super) fn bounds_in(&self, state: &State, partition: Partition) -> Bounds {
        let place = state.place(partition);
        Bounds {
            start: Offset(place.start),
            end: Offset(place.end),
            history: self.history,
        }
    }

    /// Where a partition's end is watched.
    pub(super) fn end(&self, partition: Partition) -> LogResult<&End> {
        self.options.limits.check_partition(partition)?;
        self.ends.get(partition.0 as usize).ok_or(LogError::Closed)
    }
}
