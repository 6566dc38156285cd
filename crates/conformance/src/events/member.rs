//! A member of a group of a case.

use super::bench::{Bench, HOUR, may_repeat, names, room};
use trellis_core::events::group::LeaseKey;
use trellis_core::events::{
    DeadEvent, Delivered, GroupId, GroupSpec, GroupState, Replay, Room, Settlement, Start,
};
use trellis_core::log::Offset;
use trellis_core::{Micros, Result};

/// See the module.
#[derive(Clone)]
pub(super) struct Member {
    bench: Bench,
    pub(super) id: GroupId,
}

/// Makes a call again as long as that is right.
macro_rules! repeated {
    ($call:expr) => {
        loop {
            match $call.await {
                Err(error) if may_repeat(&error) => {}
                answer => break answer,
            }
        }
    };
}

impl Member {
    pub(super) fn new(bench: Bench, id: GroupId) -> Self {
        Self { bench, id }
    }

    pub(super) async fn try_join(&self, start: Start) -> Result<GroupState> {
        repeated!(self.bench.port().join_group(self.id.clone(), start))
    }

    pub(super) async fn join(&self, start: Start) -> GroupState {
        self.try_join(start).await.unwrap()
    }

    pub(super) async fn set(&self, spec: GroupSpec, start: Start) -> GroupState {
        let set = repeated!(self.bench.port().set_group(self.id.clone(), spec, start));
        set.unwrap().0
    }

    pub(super) async fn delete(&self) -> Result<()> {
        repeated!(self.bench.port().delete_group(self.id.clone()))
    }

    pub(super) async fn look(&self) -> GroupState {
        self.bench.port().group(self.id.clone()).await.unwrap()
    }

    pub(super) async fn receive(&self, room: Room, max_wait: Micros) -> Result<Vec<Delivered>> {
        self.bench
            .port()
            .receive(self.id.clone(), room, max_wait)
            .await
    }

    /// What there is now, at most so many.
    pub(super) async fn get(&self, events: usize) -> Vec<Delivered> {
        self.receive(room(events), Micros::ZERO).await.unwrap()
    }

    /// The ids of what there is now, at most so many.
    pub(super) async fn ids(&self, events: usize) -> Vec<String> {
        names(self.get(events).await.iter().map(|it| &*it.event))
    }

    /// The next event, waited for.
    pub(super) async fn one(&self) -> Delivered {
        let mut delivered = self.receive(room(1), HOUR).await.unwrap();
        assert_eq!(delivered.len(), 1);
        delivered.remove(0)
    }

    pub(super) async fn settle(
        &self,
        lease: LeaseKey,
        settlement: Settlement,
    ) -> Result<Option<Micros>> {
        loop {
            let port = self.bench.port();
            let settled = port.settle(self.id.clone(), vec![(lease, settlement)]);
            match settled.await?.remove(0) {
                Err(error) if may_repeat(&error) => {}
                answer => return answer,
            }
        }
    }

    pub(super) async fn ack(&self, delivered: &Delivered) -> Result<()> {
        let settled = self.settle(delivered.lease, Settlement::Ack).await;
        settled.map(|remaining| assert_eq!(remaining, None))
    }

    /// Acknowledges what there is until there is nothing; the ids.
    pub(super) async fn drain(&self) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let delivered = self.get(100).await;
            if delivered.is_empty() {
                return seen;
            }
            for delivered in delivered {
                seen.extend(names([&*delivered.event]));
                self.ack(&delivered).await.unwrap();
            }
        }
    }

    /// Dead letters from an offset on, at most so many, and where to go on.
    pub(super) async fn dead(
        &self,
        from: Offset,
        events: usize,
    ) -> (Vec<DeadEvent>, Option<Offset>) {
        let port = self.bench.port();
        let dead = port.dead_letters(self.id.clone(), from, room(events));
        dead.await.unwrap()
    }

    pub(super) async fn replay(&self, which: Replay) -> u64 {
        let replayed = repeated!(self.bench.port().replay(self.id.clone(), which.clone()));
        replayed.unwrap()
    }

    /// Waits until the group is as it should be.
    pub(super) async fn until(&self, holds: impl Fn(&GroupState) -> bool) {
        self.bench.until(async || self.look().await, holds).await;
    }
}
