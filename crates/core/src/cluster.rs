//! The daemons that share a store, and the store, as one daemon sees them. For operators.

use crate::{Micros, Time};
use async_trait::async_trait;
use std::sync::Arc;

/// How a daemon sees the store that it shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreState {
    /// What it is, for example `redis`.
    pub kind: &'static str,
    /// Host and port.
    pub address: String,
    /// Whether it can be used.
    pub up: bool,
    /// Its condition in one word.
    pub condition: String,
    /// Since when, as wall-clock time.
    pub since: Time,
    /// What was seen; empty while it is up.
    pub reason: Arc<str>,
    /// The store's history; 0 before the first attach.
    pub generation: u64,
    /// This daemon's life in the store; 0 before the first attach.
    pub incarnation: u64,
    /// Calls in flight.
    pub calls_in_flight: usize,
}

/// A daemon that shares the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberState {
    /// Its id.
    pub daemon: String,
    /// Its life in the store.
    pub incarnation: u64,
    /// Version of its program.
    pub version: String,
    /// Version of its protocol between daemons.
    pub protocol: u32,
    /// Address under which the others reach it.
    pub address: String,
    /// How long its heart has stood still.
    pub silence: Micros,
    /// Whether it has attached to the store's present history.
    pub attached: bool,
    /// Whether it is this daemon.
    pub this_daemon: bool,
}

/// The store and those who share it. Never waits.
pub trait Cluster: Send + Sync {
    /// The store.
    fn store(&self) -> StoreState;

    /// The members as of the last beat, by id.
    fn members(&self) -> Vec<MemberState>;
}

/// How a daemon's fallback sees the store.
#[async_trait]
pub trait StoreView: Send + Sync {
    /// The store; `up` tells whether it can be used now.
    fn state(&self) -> StoreState;

    /// Which of how many members this daemon was when it last told the store, from 0; `None` before it ever did.
    fn place(&self) -> Option<(u64, u64)>;

    /// When the last beat that the store has acknowledged was sent, on the clock that never goes back.
    fn acknowledged(&self) -> Option<Time>;

    /// Lets the other members know whether this daemon spends its share of limits by itself, now or as soon as they
    /// can be told: they withhold that share meanwhile.
    fn set_apart(&self, apart: bool);

    /// Returns once the store can be used, or cannot; at once where that is so.
    async fn until(&self, up: bool);
}
