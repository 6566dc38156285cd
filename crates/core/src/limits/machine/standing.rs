//! Where a waiting call stands at each bucket that it wants, and what is in its way there.
//!
//! See `line` for the rules; here is how one call is measured by them.

use super::acquire::Want;
use super::queue::{Caller, List, Queue};
use super::shares;
use super::store::{BucketId, Store};
use crate::Now;
use smallvec::SmallVec;

/// Where a waiting call stands at a bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stand {
    /// The bucket's virtual time when the call came.
    pub since: u64,
    pub place: Standing,
}

/// What a waiting call claims of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing: others may pass.
    Aside,
    /// A place in line.
    Line,
    /// A place among those that a hold keeps off.
    KeptOff,
    /// It holds the bucket, while it stands in the line of that other one if it lacks one.
    Hold(Option<BucketId>),
}

/// What is in the way of a call at a bucket.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Obstacle {
    pub lacks: bool,
    pub held_off: bool,
}

impl Obstacle {
    pub fn is_there(self) -> bool {
        self.lacks || self.held_off
    }
}

impl Stand {
    /// Moves a call to another place.
    pub fn go(&mut self, place: Standing, queue: &mut Queue, caller: Caller<'_>, amount: i64) {
        if self.place == place {
            return;
        }
        match std::mem::replace(&mut self.place, place) {
            Standing::Aside => {}
            Standing::Line => queue.unclaim(List::Line, caller),
            Standing::KeptOff => queue.unclaim(List::KeptOff, caller),
            Standing::Hold(root) => queue.release(caller.ticket, root, amount),
        }
        match place {
            Standing::Aside => {}
            Standing::Line => queue.claim(List::Line, caller, amount, self.since),
            Standing::KeptOff => queue.claim(List::KeptOff, caller, amount, self.since),
            Standing::Hold(root) => queue.hold(caller.ticket, root, amount),
        }
    }
}

impl Store {
    /// What is in the way of a call at each of its buckets; `stands` are those of a waiting call.
    pub fn obstacles(
        &mut self,
        wants: &[Want],
        caller: Caller<'_>,
        stands: &[Stand],
        now: Now,
    ) -> SmallVec<[Obstacle; 4]> {
        let mut obstacles = SmallVec::<[Obstacle; 4]>::new();
        for (index, want) in wants.iter().enumerate() {
            let entry = self.entry_mut(want.bucket);
            let since = match (stands.get(index), &entry.queue) {
                (Some(stand), _) => stand.since,
                (None, Some(queue)) => queue.time(caller.ticket.priority),
                (None, None) => 0,
            };
            obstacles.push(Obstacle {
                lacks: entry.lacks(want.amount, caller, since, now),
                held_off: false,
            });
        }
        for (index, want) in wants.iter().enumerate() {
            let goes_first = |root| {
                let mut pairs = wants.iter().zip(&obstacles);
                pairs.any(|(want, obstacle)| want.bucket == root && !obstacle.lacks)
            };
            let queue = self.entry(want.bucket).queue.as_ref();
            obstacles[index].held_off =
                queue.is_some_and(|queue| queue.holds.stop(caller.ticket, goes_first));
        }
        obstacles
    }

    /// Counts a grant at each of its buckets; `stands` are those of a call that waited. Returns the
    /// buckets at which somebody else is first then.
    pub fn count_turns(
        &mut self,
        wants: &[Want],
        caller: Caller<'_>,
        stands: &[Stand],
    ) -> Vec<BucketId> {
        let mut changed = Vec::new();
        for (index, want) in wants.iter().enumerate() {
            let entry = self.entry_mut(want.bucket);
            let Some(queue) = &mut entry.queue else {
                continue;
            };
            let stand = stands.get(index);
            let since = stand.map_or_else(|| queue.time(caller.ticket.priority), |it| it.since);
            let cost = shares::cost(want.amount, entry.bucket.capacity());
            if queue.serve(caller, since, cost) {
                changed.push(want.bucket);
            }
        }
        changed
    }
}
