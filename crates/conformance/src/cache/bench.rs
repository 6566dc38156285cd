//! What a case works with: the calls of the port.

use super::ask::Ask;
use super::draft::Draft;
use super::waiter::Waiter;
use bytes::Bytes;
use trellis_core::cache::{
    Appended, Cache, CacheStats, ClearTarget, Content, Deleted, EndedBy, Failure, Filled,
    GetOptions, Hit, Lease, LeaseEnd, Lookup, Precondition, ReadFrom, Written,
};
use trellis_core::{EntryKey, ErrorCode, Micros, Result, Tag};

pub(super) const SECOND: Micros = Micros::from_secs(1);

pub(super) const fn ms(millis: u64) -> Micros {
    Micros::from_millis(millis)
}

/// How a lease ended, when it is not held any more.
pub(super) type Held<T> = std::result::Result<T, LeaseEnd>;

/// A namespace of the backend under test, and its time.
pub type Bench = crate::Bench<dyn Cache>;

impl Bench {
    pub(super) async fn get(&self, of: &str) -> Option<Hit> {
        self.get_all(&[of]).await.pop().unwrap()
    }

    pub(super) async fn get_stale(&self, of: &str) -> Option<Hit> {
        let options = GetOptions {
            allow_stale: true,
            read: ReadFrom::Near,
        };
        let found = self.port().get(&self.namespace, &[key(of)], options).await;
        found.unwrap().0.pop().unwrap().hit()
    }

    pub(super) async fn get_all(&self, keys: &[&str]) -> Vec<Option<Hit>> {
        let keys: Vec<_> = keys.iter().copied().map(key).collect();
        let options = GetOptions::default();
        let found = self.port().get(&self.namespace, &keys, options).await;
        let found = found.unwrap().0.into_iter();
        found.map(Lookup::hit).collect()
    }

    /// Keeps an entry; tells its version.
    pub(super) async fn set(&self, of: &str, draft: impl Into<Draft>) -> u64 {
        match self.set_if(of, draft, Precondition::Always).await.unwrap() {
            Written::Stored(version) => version.0,
            other @ Written::Mismatch(_) => panic!("not stored but {other:?}"),
        }
    }

    pub(super) async fn set_if(
        &self,
        of: &str,
        draft: impl Into<Draft>,
        precondition: Precondition,
    ) -> Result<Written> {
        let entry = draft.into().into_entry();
        let cache = self.port();
        let key = key(of);
        let set = cache.set(&self.namespace, &key, entry, precondition);
        set.await.map(|(written, _)| written)
    }

    pub(super) async fn delete(&self, of: &str) -> Deleted {
        self.delete_if(of, Precondition::Always).await
    }

    pub(super) async fn delete_if(&self, of: &str, precondition: Precondition) -> Deleted {
        let cache = self.port();
        let key = key(of);
        let delete = cache.delete(&self.namespace, &key, precondition);
        delete.await.unwrap().0
    }

    pub(super) async fn clear(&self, target: ClearTarget) -> u64 {
        self.port().clear(&self.namespace, target).await.unwrap().0
    }

    pub(super) async fn clear_tag(&self, tag: &str) -> u64 {
        self.clear(ClearTarget::Tag(Tag::new(tag, "tag").unwrap()))
            .await
    }

    /// Starts a request for keys that may have to be computed.
    pub(super) fn ask(&self, keys: &[&str]) -> Ask {
        Ask::new(self, keys)
    }

    /// The lease of a key, which nobody holds.
    pub(super) async fn lease(&self, of: &str) -> Lease {
        self.ask(&[of]).lease().await
    }

    /// A place in the line for a key, which somebody computes.
    pub(super) async fn wait(&self, of: &str) -> Waiter {
        self.ask(&[of]).wait().await
    }

    pub(super) async fn append(
        &self,
        lease: Lease,
        offset: usize,
        part: impl Into<Bytes>,
    ) -> Result<Held<Appended>> {
        let cache = self.port();
        let append = cache.append(&self.namespace, lease.id, offset, part.into());
        append.await.map(|(appended, _)| appended)
    }

    pub(super) async fn fill(&self, lease: Lease, draft: impl Into<Draft>) -> Held<Filled> {
        self.try_fill(lease, draft, true).await.unwrap()
    }

    pub(super) async fn try_fill(
        &self,
        lease: Lease,
        draft: impl Into<Draft>,
        keep: bool,
    ) -> Result<Held<Filled>> {
        let entry = draft.into().into_entry();
        let cache = self.port();
        let fill = cache.fill(&self.namespace, lease.id, entry, keep);
        fill.await.map(|(filled, _)| filled)
    }

    /// Ends a lease by a failure that is remembered for so long.
    pub(super) async fn fail(&self, lease: Lease, remembered_for: Micros) -> Held<Option<Hit>> {
        let failure = Failure {
            code: 14,
            message: "the provider is away".into(),
            remembered_for,
        };
        self.end(lease, EndedBy::Failing(failure)).await
    }

    pub(super) async fn give_up(&self, lease: Lease) -> Held<Option<Hit>> {
        self.end(lease, EndedBy::GivingUp).await
    }

    async fn end(&self, lease: Lease, by: EndedBy) -> Held<Option<Hit>> {
        let cache = self.port();
        let fail = cache.fail(&self.namespace, lease.id, by);
        fail.await.unwrap().0
    }

    pub(super) async fn renew(&self, lease: Lease) -> Held<Lease> {
        let renewed = self.port().renew(&self.namespace, lease.id).await;
        renewed.unwrap().0
    }

    /// Waits until so many calls of the namespace are in line.
    pub(super) async fn until_waiting(&self, count: usize) {
        let waiters = async || self.stats().await.waiters;
        self.until(waiters, |waiters| *waiters == count).await;
    }

    /// Waits until so much is counted in the ledger, which a shared store may learn a moment later.
    pub(super) async fn until_served(&self, count: u64) -> CacheStats {
        let counted = |stats: &CacheStats| {
            let ledger = &stats.ledger;
            let served = ledger.hits + ledger.stale_hits + ledger.negative_hits + ledger.coalesced;
            served + ledger.misses + ledger.sets + ledger.fills == count
        };
        self.until(async || self.stats().await, counted).await
    }

    pub(super) async fn stats(&self) -> CacheStats {
        self.port().stats(&self.namespace).await.unwrap().0
    }
}

pub(super) fn key(name: &str) -> EntryKey {
    EntryKey::new(name, "key").unwrap()
}

/// The code of the error that a call must end with.
#[track_caller]
pub(super) fn code<T: std::fmt::Debug>(result: Result<T>) -> ErrorCode {
    result.unwrap_err().code
}

/// The last part of the field that a call must be refused for.
#[track_caller]
pub(super) fn field<T: std::fmt::Debug>(result: Result<T>) -> String {
    let violation = result.unwrap_err().violation.unwrap();
    let last = violation.field.rsplit('.').next();
    last.unwrap().to_owned()
}

/// A hit's value as text.
#[track_caller]
pub(super) fn text(hit: &Hit) -> &str {
    let Content::Value(value) = &hit.content else {
        panic!("a negative entry has no value");
    };
    std::str::from_utf8(value).unwrap()
}
