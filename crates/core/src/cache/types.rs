//! What goes through the cache port.

use super::entry::{Cost, Hit, Version};
use super::options::{FetchOptions, Wait};
use super::port::Waiting;
use crate::{EntryKey, Micros, Namespace, Tag};
use std::fmt;
use std::sync::Arc;

/// What a look at a key finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// No entry.
    Miss,
    /// This one.
    Hit(Hit),
    /// It was not read, since those before it were enough for one answer: to be asked for again.
    Deferred,
}

impl Lookup {
    /// The entry, if one was found.
    #[must_use]
    pub fn hit(self) -> Option<Hit> {
        match self {
            Self::Hit(hit) => Some(hit),
            Self::Miss | Self::Deferred => None,
        }
    }
}

impl From<Option<Hit>> for Lookup {
    fn from(found: Option<Hit>) -> Self {
        found.map_or(Self::Miss, Self::Hit)
    }
}

/// A condition on the entry in force. A fresh negative entry is an entry; a stale one is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// None.
    #[default]
    Always,
    /// There is no fresh entry.
    Absent,
    /// The fresh entry has this version.
    Is(Version),
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is kept, under this version.
    Stored(Version),
    /// The condition did not hold: the version of the fresh entry, if there is one.
    Mismatch(Option<Version>),
}

/// How a delete ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// There was an entry, fresh or stale, and it is gone.
    Gone,
    /// There was none.
    Absent,
    /// The condition did not hold: the version of the fresh entry, if there is one.
    Mismatch(Option<Version>),
}

/// What is cleared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClearTarget {
    /// Every entry of the namespace.
    All,
    /// Every entry with this tag.
    Tag(Tag),
}

/// The number of a lease; of the same sequence as versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// The right to compute a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its number.
    pub id: LeaseId,
    /// How long it lives from now unless it is renewed.
    pub ttl: Micros,
    /// How long it lives from now at most.
    pub deadline: Micros,
}

/// Why a lease ended, or a computation began again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseEnd {
    /// It was not renewed in time.
    Expired,
    /// Its compute deadline passed.
    Deadline,
    /// Its holder gave it up.
    GivenUp,
    /// The key was deleted.
    Deleted,
    /// The namespace, or a tag of the value, was cleared.
    Cleared,
    /// Another value was set.
    Replaced,
    /// It was filled or failed before, or is not known any more.
    Unknown,
}

/// Keys to get or to compute, of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Where the keys live.
    pub namespace: Namespace,
    /// The keys, each once.
    pub keys: Vec<EntryKey>,
    /// What is wanted.
    pub options: FetchOptions,
    /// What to do where somebody else computes a key.
    pub wait: Wait,
}

/// What became of one key.
pub enum Begun {
    /// An entry, and the lease to compute it anew where this caller was chosen to.
    Hit {
        /// The entry.
        hit: Hit,
        /// The lease.
        refresh: Option<Lease>,
    },
    /// Compute it.
    Lease(Lease),
    /// Somebody else does; this call waits in line.
    Waiting(Box<dyn Waiting>),
    /// Somebody else does, and the caller did not want to wait.
    Busy,
    /// Its computation failed a moment ago.
    Failed(Failure),
    /// Nothing was done about it, since those before it were enough for one answer: to be begun again.
    Deferred,
}

impl fmt::Debug for Begun {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hit { hit, refresh } => formatter
                .debug_struct("Hit")
                .field("hit", hit)
                .field("refresh", refresh)
                .finish(),
            Self::Lease(lease) => formatter.debug_tuple("Lease").field(lease).finish(),
            Self::Waiting(_) => formatter.write_str("Waiting"),
            Self::Busy => formatter.write_str("Busy"),
            Self::Failed(failure) => formatter.debug_tuple("Failed").field(failure).finish(),
            Self::Deferred => formatter.write_str("Deferred"),
        }
    }
}

/// What a waiting call learns next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The next part of the value, at least 1 byte and at most 1 MiB; only where parts are wanted.
    Part(bytes::Bytes),
    /// The computation began again: parts told before are void.
    Restarted(LeaseEnd),
    /// The wait is over.
    Ended(Landing),
}

/// How a wait ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Landing {
    /// With the whole value, whichever of its parts were told.
    Value(Hit),
    /// With the lease: the former holder is gone. Parts told before are void.
    Lease(Lease),
    /// With the failure of the computation.
    Failed(Failure),
}

/// Why a computation failed, in its holder's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A gRPC code, for programs.
    pub code: i32,
    /// For people.
    pub message: Arc<str>,
    /// How long it is remembered from now; zero: not at all.
    pub remembered_for: Micros,
}

/// Who ended a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// Its holder cannot compute: the next in line does.
    GivingUp,
    /// The computation failed: all in line are told.
    Failing(Failure),
}

/// How far a value has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Bytes taken so far.
    pub size: usize,
}

/// How a fill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    /// The version that the value got.
    pub version: Version,
    /// Calls that waited for it.
    pub waiters: usize,
}

/// What happened in a namespace since it came into use. Each figure counts keys, not calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Answered with a fresh value.
    pub hits: u64,
    /// Answered with a stale value.
    pub stale_hits: u64,
    /// Answered with a negative entry.
    pub negative_hits: u64,
    /// Answered with another caller's computation.
    pub coalesced: u64,
    /// Answered with nothing, or with a lease to compute what was not there.
    pub misses: u64,
    /// Answered with a failure.
    pub failed: u64,
    /// Values kept by a set.
    pub sets: u64,
    /// Values kept by a fill.
    pub fills: u64,
    /// Fills that came too late.
    pub fills_refused: u64,
    /// Cost of what hits served.
    pub saved_by_hits: Cost,
    /// Cost of what coalesced calls were served.
    pub saved_by_coalescing: Cost,
    /// Of the hits and negative hits, those from a daemon's copy of a shared store.
    pub near_hits: u64,
}

impl Ledger {
    /// Adds another ledger.
    pub fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.stale_hits += other.stale_hits;
        self.negative_hits += other.negative_hits;
        self.coalesced += other.coalesced;
        self.misses += other.misses;
        self.failed += other.failed;
        self.sets += other.sets;
        self.fills += other.fills;
        self.fills_refused += other.fills_refused;
        self.saved_by_hits.add(other.saved_by_hits, 1);
        self.saved_by_coalescing.add(other.saved_by_coalescing, 1);
        self.near_hits += other.near_hits;
    }
}

/// What a namespace keeps, and what happened in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Entries kept, those included that nobody can see any more.
    pub entries: u64,
    /// Bytes they take.
    pub bytes: u64,
    /// Leases held.
    pub leases: usize,
    /// Calls that wait.
    pub waiters: usize,
    /// What happened.
    pub ledger: Ledger,
}

/// What all namespaces keep together, as far as this daemon knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStatus {
    /// Namespaces in use.
    pub namespaces: usize,
    /// The sums.
    pub stats: CacheStats,
    /// Entries thrown out for want of room since the start.
    pub evictions: u64,
    /// Values in a shared store that could not be read since the start; each counted as a miss.
    pub damaged: u64,
    /// How often this daemon has begun to cache alone because the shared store was away.
    pub outages: u64,
    /// Keys, tags and namespaces that the shared store is still to forget.
    pub journalled: usize,
    /// This daemon's copies of the shared store.
    pub near: NearStatus,
}

/// Why all near copies were given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NearReset {
    /// The connection on which the store tells of changes ended.
    Disconnected,
    /// More changes were told than were taken in time.
    Lagged,
    /// The store's history is another one, or its data is gone.
    Generation,
    /// More namespaces were read than are kept apart.
    Namespaces,
}

impl NearReset {
    /// All reasons, and how metrics name them.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Disconnected, "disconnected"),
        (Self::Lagged, "lagged"),
        (Self::Generation, "generation"),
        (Self::Namespaces, "namespaces"),
    ];
}

/// A daemon's copies of the shared store, and what happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NearStatus {
    /// The store tells of changes, so copies are served.
    pub serving: bool,
    /// Copies kept, those included that may not be served any more.
    pub entries: u64,
    /// Bytes they take.
    pub bytes: u64,
    /// Keys answered from a copy.
    pub hits: u64,
    /// Keys looked up in vain.
    pub misses: u64,
    /// Changes the store told of.
    pub invalidations: u64,
    /// Copies thrown out for want of room.
    pub evictions: u64,
    /// How often all were given up, for each reason of [`NearReset::ALL`].
    pub resets: [u64; NearReset::ALL.len()],
}
