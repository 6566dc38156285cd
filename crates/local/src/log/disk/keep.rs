//! What is dropped: records that need not be kept any longer, and files in which no record is left.

use super::begin::Frame;
use super::format::{FrameHeader, Kind, segment_name};
use super::index::Extent;
use super::shared::State;
use super::writer::{Writer, trim_frame};
use crate::log::Retention;
use bytes::Bytes;
use trellis_core::Time;

impl Writer {
    /// Drops what retention lets go, and then files without records. What fails is tried again the next time.
    pub(super) fn retain(&mut self, now: Time) {
        let retention = &self.shared.options.retention;
        let state = self.shared.state.lock();
        let trims = (0..).zip(&state.places).filter_map(|(partition, place)| {
            let rule = Retention::of(retention, partition);
            let start = new_start(&state, partition, rule, now);
            (start > place.start).then(|| trim_frame(partition, start))
        });
        let trims: Vec<Frame> = trims.collect();
        drop(state);
        if self.write(&trims).is_ok() {
            self.sweep();
        }
    }

    /// Removes the files in which every record lies below the start of its partition. That they are to be removed is
    /// logged before, so that one that is missing is known to be missing rightly.
    pub(super) fn sweep(&mut self) {
        if self.active_is_dead() && self.position > self.shared.options.segment_bytes / 8 {
            self.roll();
        }
        let dead = self.dead();
        let removal = |number: &u64| {
            let header = FrameHeader {
                first: *number,
                ..FrameHeader::new(Kind::Removal, Time(0))
            };
            Frame::new(header, Bytes::new())
        };
        let frames: Vec<Frame> = dead.iter().map(removal).collect();
        if self.write(&frames).is_err() {
            return;
        }
        for number in dead {
            self.shared.state.lock().sealed.remove(&number);
            // One that cannot be removed now is removed at the next start.
            let _ = self.shared.files.remove(&segment_name(number));
        }
    }

    fn dead(&self) -> Vec<u64> {
        let state = self.shared.state.lock();
        let sealed = state.sealed.iter();
        let dead = sealed.filter(|(_, sealed)| sealed.index.extents().all(|it| below(&state, it)));
        dead.map(|(number, _)| *number).collect()
    }

    fn active_is_dead(&self) -> bool {
        let state = self.shared.state.lock();
        let index = &state.active.index;
        !index.is_empty() && index.extents().all(|it| below(&state, it))
    }
}

/// Whether all of these records are below the start of their partition.
fn below(state: &State, (partition, extent): (u32, &Extent)) -> bool {
    let place = state.places.get(partition as usize);
    place.is_some_and(|place| extent.end <= place.start)
}

/// Where a partition starts when everything is dropped that its retention lets go, by whole stretches of the index.
fn new_start(state: &State, partition: u32, retention: Retention, now: Time) -> u64 {
    if retention == Retention::FOREVER {
        return 0;
    }
    let extents = || {
        let segments = state.segments();
        segments.filter_map(move |(_, index, _)| index.extent(partition))
    };
    let mut newer: u64 = extents().map(|extent| extent.bytes).sum();
    let mut start = 0;
    for extent in extents() {
        for (index, entry) in extent.entries.iter().enumerate() {
            let next = extent.entries.get(index + 1);
            let (end, time, bytes) = match next {
                Some(next) => (next.offset, next.time, next.bytes_before),
                None => (extent.end, extent.last_time, extent.bytes),
            };
            newer = newer.saturating_sub(bytes - entry.bytes_before);
            if !retention.drops(newer, time, now) {
                return start;
            }
            start = end;
        }
    }
    start
}
