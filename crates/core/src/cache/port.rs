//! The cache port: what every backend does, and what a caller may rely on.

use super::entry::{Hit, NewEntry};
use super::options::GetOptions;
use super::types::{
    Appended, Begin, Begun, CacheStats, CacheStatus, ClearTarget, Deleted, EndedBy, Filled, Lease,
    LeaseEnd, LeaseId, Lookup, Precondition, Progress, Written,
};
use crate::{EntryKey, Namespace, Result, Scope};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;

/// One call's place in the line for one key.
///
/// Dropping it leaves the line. A lease that ended the wait and was not received is given up.
#[async_trait]
pub trait Waiting: Send {
    /// What happens next. Not to be called again after [`Progress::Ended`] or an error.
    ///
    /// Safe to cancel: nothing told is lost. A wait has no time of its own; whoever waits bounds it.
    ///
    /// Errors: those of a store that can no longer tell.
    async fn next(&mut self) -> Result<Progress>;
}

/// Values computed once, shared by all who call the same backend.
///
/// The state of a namespace changes in one total order; each method takes effect, for each key on its own,
/// at one point of it between call and return. A backend that several daemons share keeps the same order
/// for all of them. Versions, clears and leases of a namespace are numbers of one sequence that only rises,
/// minted as the higher of the last one plus one and the time in µs.
///
/// **Single flight.** At most one lease of a key is held at a time. A value counts as made when its lease was
/// granted; a delete, a clear of the namespace or a set since then ends the lease, and a clear of a
/// tag refuses a fill that brings the tag. Whatever ends a lease without a value gives the first call in
/// line a new one and tells the others that the computation began again.
///
/// **Order.** Calls that wait for one key are in line by arrival (a shared backend: daemons by the arrival of
/// their first call, and each daemon's own calls by arrival).
///
/// **What a shared backend does.** It runs [`super::Machine`]'s rules in its scripts, and the machine's line
/// of waiting calls in each daemon: a lease in the store names its number, times and bytes; the store registers
/// the daemons that wait and pushes hints to them; a daemon that hears one, or has heard nothing until
/// the lease's end, reads the flight again and tells its own calls. So a lost hint costs time, never an answer.
///
/// **Near copies.** A backend that daemons share may answer [`super::ReadFrom::Near`] from a copy that it keeps in
/// this daemon, marked [`super::Source::Near`]. A change made through this daemon is in every read that begins after
/// the change has returned; one made through another daemon is in every read that begins after word of it has come,
/// and after a stated time in any case. Times are the store's: a copy is never told as fresh when its entry is not.
///
/// **Fences.** A set or fill that brings a [`super::Fence`] is refused as `StaleFence`, for the field `fence.token`, if a higher token was
/// seen of its lock, and changes nothing; a lease stays as it was. Else its token counts as seen, whatever becomes of the
/// write. A clear forgets no token. Locks above `max_fences` are forgotten as that says.
///
/// **Repeats.** Every method may be called again after an unknown outcome: see each.
///
/// **Cancellation.** A dropped call may have taken effect. Leases it would have brought end by their TTL.
#[async_trait]
pub trait Cache: Send + Sync {
    /// The entries under keys, in the order asked for. Changes nothing but the ledger.
    ///
    /// What is too much to be read at a time is deferred: always keys behind a hit, never the first one found.
    async fn get(
        &self,
        namespace: &Namespace,
        keys: &[EntryKey],
        options: GetOptions,
    ) -> Result<(Vec<Lookup>, Scope)>;

    /// Keeps an entry. A lease of its key ends as `Replaced`, and who waits gets the new entry.
    ///
    /// A repeat writes again, under a new version; under a precondition it finds what the first one did.
    /// Errors: `InvalidField` for `value` above the bound, `StaleFence`, `TooManyNamespaces`.
    async fn set(
        &self,
        namespace: &Namespace,
        key: &EntryKey,
        entry: NewEntry,
        precondition: Precondition,
    ) -> Result<(Written, Scope)>;

    /// Forgets an entry and a failure remembered for its key. A lease of the key ends as `Deleted`.
    async fn delete(
        &self,
        namespace: &Namespace,
        key: &EntryKey,
        precondition: Precondition,
    ) -> Result<(Deleted, Scope)>;

    /// Hides entries in O(1), whatever their number; tells the clear's number.
    ///
    /// A clear of the namespace also ends its leases, as `Cleared`, and forgets failures.
    /// Errors: `TooManyNamespaces`.
    async fn clear(&self, namespace: &Namespace, target: ClearTarget) -> Result<(u64, Scope)>;

    /// For each key an entry, a lease, or a place in line.
    ///
    /// Joins the line when it takes effect, not when the wait is first polled. Never waits for another
    /// call. What is too much to be read at a time is deferred, as by [`Cache::get`]: nothing was done about it. Errors: for all keys `InvalidField` where one is there twice, `TooManyNamespaces`; for each
    /// `TooManyLeases`, `TooManyWaiters`.
    async fn begin(self: Arc<Self>, begin: Begin) -> Result<(Vec<Result<Begun>>, Scope)>;

    /// Adds a part to the value of a lease; a part that came already is not added again.
    ///
    /// Errors: `InvalidField` for `part` (the value would be above the bound) and `offset` (bytes are
    /// missing before it), `TooManyBytes`. They leave the lease as it was.
    async fn append(
        &self,
        namespace: &Namespace,
        lease: LeaseId,
        offset: usize,
        part: Bytes,
    ) -> Result<(std::result::Result<Appended, LeaseEnd>, Scope)>;

    /// Ends a lease with the value: its parts followed by `entry.content`. Unless `keep` is false, it is kept.
    ///
    /// A repeat gets the first answer, while the backend remembers the lease.
    /// Errors: `InvalidField` for `value` (above the bound) and `negative` (parts were sent), `StaleFence`.
    async fn fill(
        &self,
        namespace: &Namespace,
        lease: LeaseId,
        entry: NewEntry,
        keep: bool,
    ) -> Result<(std::result::Result<Filled, LeaseEnd>, Scope)>;

    /// Ends a lease without a value; tells the entry that may be served instead, where its holder's
    /// [`super::StaleMode`] allows one.
    async fn fail(
        &self,
        namespace: &Namespace,
        lease: LeaseId,
        by: EndedBy,
    ) -> Result<(std::result::Result<Option<Hit>, LeaseEnd>, Scope)>;

    /// Keeps a lease for another TTL, never past its deadline.
    async fn renew(
        &self,
        namespace: &Namespace,
        lease: LeaseId,
    ) -> Result<(std::result::Result<Lease, LeaseEnd>, Scope)>;

    /// Gives leases up whose caller is gone. Never waits; where it is lost the leases' TTL does it.
    fn abandon(&self, namespace: &Namespace, leases: &[LeaseId]);

    /// What a namespace keeps, and what happened in it.
    async fn stats(&self, namespace: &Namespace) -> Result<(CacheStats, Scope)>;

    /// What all namespaces keep. Changes nothing, never fails, never waits.
    fn status(&self) -> CacheStatus;

    /// The guarantee that answers carry now. Never waits.
    fn scope(&self) -> Scope;
}
