//! Dead letters: looked at, and delivered again.

use super::super::control::Control;
use super::group::Group;
use std::ops::Bound;
use trellis_core::Result;
use trellis_core::events::group::{DeadLetter, GroupRecord};
use trellis_core::events::{DeadEvent, Replay, Room};
use trellis_core::log::Offset;

impl Group {
    /// Those from an offset on, and where to go on.
    pub async fn dead_letters(
        &self,
        from: Offset,
        room: Room,
    ) -> Result<(Vec<DeadEvent>, Option<Offset>)> {
        let (mut letters, mut sum, mut from) = (Vec::new(), 0, Bound::Included(from.0));
        while let Some((offset, letter)) = self.next_letter(from) {
            from = Bound::Excluded(offset);
            if letters.len() >= room.events.max(1) {
                return Ok((letters, Some(Offset(offset))));
            }
            // What retention has just taken is none any more.
            let Some(event) = self.fetch(offset).await? else {
                continue;
            };
            sum += event.event.bytes();
            if sum > room.bytes && !letters.is_empty() {
                return Ok((letters, Some(Offset(offset))));
            }
            letters.push(DeadEvent {
                event,
                attempts: letter.attempts,
                reason: letter.reason,
            });
        }
        Ok((letters, None))
    }

    fn next_letter(&self, from: Bound<u64>) -> Option<(u64, DeadLetter)> {
        let state = self.state.lock();
        let mut behind = state.machine.fold().dead().range((from, Bound::Unbounded));
        behind.next().map(|(offset, letter)| (*offset, *letter))
    }

    /// Has dead letters delivered again; tells how many.
    pub async fn replay(&self, control: &Control, which: Replay) -> Result<u64> {
        let due = control.groups.clock.now();
        let offsets: Vec<u64> = {
            let state = self.state.lock();
            let dead = state.machine.fold().dead();
            match which {
                Replay::All => dead.keys().copied().collect(),
                Replay::These(places) => {
                    let places = places.into_iter().map(|place| place.0);
                    places.filter(|offset| dead.contains_key(offset)).collect()
                }
            }
        };
        if offsets.is_empty() {
            return Ok(0);
        }
        let records = offsets
            .into_iter()
            .map(|offset| GroupRecord::Replay { offset, due });
        let records = records.map(|record| self.record(record)).collect();
        let replayed = control.write(records).await?;
        Ok(replayed as u64)
    }
}
