//! The store and its members, for operators.

use crate::{Condition, Health, Membership, Store};
use async_trait::async_trait;
use trellis_core::{Cluster, MemberState, StoreState, StoreView, Time};

/// How this daemon sees its Redis and the other daemons on it.
#[derive(Clone)]
pub struct RedisCluster {
    store: Store,
    membership: Membership,
}

impl RedisCluster {
    /// A view of a store.
    #[must_use]
    pub fn new(store: Store, membership: Membership) -> Self {
        Self { store, membership }
    }
}

impl Cluster for RedisCluster {
    fn store(&self) -> StoreState {
        let health = self.store.health();
        let health = health.borrow();
        let session = self.store.session();
        StoreState {
            kind: "redis",
            address: self.store.address(),
            up: health.condition == Condition::Up,
            condition: format!("{:?}", health.condition),
            since: health.since.wall,
            reason: health.reason.clone(),
            generation: session.map_or(0, |session| session.generation),
            incarnation: session.map_or(0, |session| session.incarnation),
            calls_in_flight: self.store.in_flight(),
        }
    }

    fn members(&self) -> Vec<MemberState> {
        let generation = self.store.session().map(|session| session.generation);
        let members = self.membership.snapshot();
        let now = self.store.now();
        let one = |member: &crate::Member| MemberState {
            daemon: member.daemon.clone(),
            incarnation: member.incarnation,
            version: member.version.clone(),
            protocol: member.protocol,
            address: member.address.clone(),
            silence: member.silence_at(now),
            attached: Some(member.generation) == generation,
            this_daemon: member.daemon == self.store.daemon(),
        };
        members.iter().map(one).collect()
    }
}

#[async_trait]
impl StoreView for RedisCluster {
    fn state(&self) -> StoreState {
        Cluster::store(self)
    }

    fn place(&self) -> Option<(u64, u64)> {
        self.membership.place()
    }

    fn acknowledged(&self) -> Option<Time> {
        // It holds for a little less than `death_after` from the send time of that beat.
        let until = self.membership.assurance()?.until;
        Some(Time(until.0.saturating_sub(self.store.death_after().0)))
    }

    fn set_apart(&self, apart: bool) {
        self.store.set_apart(apart);
    }

    async fn until(&self, up: bool) {
        let mut health = self.store.health();
        let is_so = |health: &Health| (health.condition == Condition::Up) == up;
        // The sender lives as long as the store.
        let _ = health.wait_for(is_so).await;
    }
}
