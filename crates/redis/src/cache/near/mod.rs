//! Near copies: entries of the shared store that this daemon keeps in its memory.
//!
//! Values are read on a connection of their own, on which the server notes what was read and tells of each change of
//! it once (`task`). Everything that may make a copy wrong has a number of one sequence: a change of its key, a clear
//! of its namespace, a reset of all. A copy carries the number at which its read began, and is served only while
//! nothing that concerns it has a higher one; so a value that was read, overtaken by a change and put here afterwards
//! is never served. Besides, a copy is served for a bounded time only, and never past its entry's TTL.

mod task;
#[cfg(test)]
mod tests;

use super::house::plain;
use parking_lot::{Mutex, RwLock};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, watch};
use trellis_core::cache::{BoundedEntries, Entry, NearReset, NearStatus, Usage, Version};
use trellis_core::{EntryKey, Micros, Namespace, Result, Time};

pub(super) use task::Tracked;

/// Bounds of the copies in one daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NearConfig {
    /// Bytes of all copies, with what keeping them takes. A value of more than an eighth of it is not copied.
    pub max_bytes: u64,
    /// Copies.
    pub max_entries: usize,
    /// For how long after it was read a copy is served at most, whatever word of changes has come or was lost.
    pub max_staleness: Micros,
}

/// Values above this part of all bytes are not copied: one of them would throw out too many others.
const LARGEST_PART: u64 = 8;

/// Locks that changes and copies of keys go through. A change refuses the copies under way of all keys of its lock.
const STRIPES: usize = 1_024;

/// A copy.
#[derive(Clone)]
struct Copied {
    entry: Arc<Entry>,
    mark: Mark,
    /// The store's time, told after the read was sent: so it is later than the time at which it was sent.
    store: Time,
}

impl Borrow<Entry> for Copied {
    fn borrow(&self) -> &Entry {
        &self.entry
    }
}

/// The beginning of a read.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    /// What had happened by then.
    number: u64,
    /// When it was, on this daemon's clock.
    sent: Time,
}

/// A namespace of which there are copies.
struct Space {
    /// Its name in the store of copies; never used again.
    number: u64,
    /// When it was last cleared, wholly or by a tag.
    cleared: AtomicU64,
}

/// What is counted.
#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    invalidations: AtomicU64,
    resets: [AtomicU64; NearReset::ALL.len()],
}

/// The copies of a daemon.
pub(super) struct Near {
    config: NearConfig,
    copies: BoundedEntries<Copied>,
    usage: Arc<Usage>,
    /// The last number given.
    last: AtomicU64,
    /// The number of the last reset.
    reset: AtomicU64,
    spaces: RwLock<HashMap<Namespace, Arc<Space>>>,
    max_spaces: usize,
    spaces_made: AtomicU64,
    /// The last change of any key of each lock.
    stripes: Box<[Mutex<u64>]>,
    hasher: RandomState,
    counts: Counts,
    /// Where reads are noted by the server; `None`: nowhere, so no copies are made.
    tracked: watch::Sender<Option<Arc<Tracked>>>,
    /// What stands before the names of all keys of the cache.
    before: String,
    /// Checks of the connection that were asked for, and the last one of them that was answered.
    checks: AtomicU64,
    checked: watch::Sender<u64>,
    sooner: Notify,
}

impl Near {
    /// No copies yet. `before` stands before the names of all keys of the cache.
    pub fn new(config: NearConfig, max_spaces: usize, before: String) -> Result<Self> {
        let largest = usize::try_from(config.max_bytes / LARGEST_PART).unwrap_or(usize::MAX);
        Ok(Self {
            copies: BoundedEntries::new(config.max_bytes, config.max_entries, largest)?,
            config,
            usage: Arc::default(),
            last: AtomicU64::new(0),
            reset: AtomicU64::new(0),
            spaces: RwLock::default(),
            max_spaces,
            spaces_made: AtomicU64::new(0),
            stripes: (0..STRIPES).map(|_| Mutex::new(0)).collect(),
            hasher: RandomState::new(),
            counts: Counts::default(),
            tracked: watch::Sender::new(None),
            before,
            checks: AtomicU64::new(0),
            checked: watch::Sender::new(0),
            sooner: Notify::new(),
        })
    }

    /// Where a read must go so that what it finds may be copied. To be asked for after its mark.
    pub fn tracked(&self) -> Option<Arc<Tracked>> {
        self.tracked.borrow().clone()
    }

    /// The beginning of a read: before it is sent, and before its connection is looked up.
    pub fn mark(&self, now: Time) -> Mark {
        Mark {
            number: self.last.load(Ordering::SeqCst),
            sent: now,
        }
    }

    fn next_number(&self) -> u64 {
        self.last.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The copies of keys that are fresh and wanted now, each with the store's time.
    pub fn find(
        &self,
        namespace: &Namespace,
        keys: &[EntryKey],
        now: Time,
        wanted: impl Fn(&Entry, Time) -> bool,
    ) -> Vec<Option<(Arc<Entry>, Time)>> {
        let space = self.spaces.read().get(namespace).cloned();
        let one = |key| {
            let space = space.as_deref()?;
            let copy = self.copies.get(space.number, key)?;
            let served = self.judge(space, &copy, now);
            if served.is_none() {
                self.copies.remove(space.number, key);
            }
            let store_now = served.filter(|now| wanted(&copy.entry, *now))?;
            Some((copy.entry, store_now))
        };
        let found: Vec<_> = keys.iter().map(one).collect();
        let hits = found.iter().flatten().count();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.counts.hits.fetch_add(count(hits), Ordering::Relaxed);
        let misses = count(found.len() - hits);
        self.counts.misses.fetch_add(misses, Ordering::Relaxed);
        found
    }

    /// The store's time, or a little more, if the copy may be served.
    fn judge(&self, space: &Space, copy: &Copied, now: Time) -> Option<Time> {
        let mark = copy.mark;
        let overtaken = self
            .reset
            .load(Ordering::SeqCst)
            .max(space.cleared.load(Ordering::SeqCst));
        if overtaken > mark.number || now - mark.sent >= self.config.max_staleness {
            return None;
        }
        let store_now = copy.store + (now - mark.sent);
        (store_now < copy.entry.fresh_until).then_some(store_now)
    }

    /// Copies an entry that a tracked read has found fresh at a time of the store.
    pub fn copy(
        &self,
        (namespace, key): (&Namespace, &EntryKey),
        entry: &Arc<Entry>,
        (mark, store): (Mark, Time),
    ) {
        let size = u64::try_from(entry.content.len()).unwrap_or(u64::MAX);
        if size > self.config.max_bytes / LARGEST_PART || store >= entry.fresh_until {
            return;
        }
        let space = self.space(namespace);
        let changed = self.stripe(space.number, key).lock();
        if *changed > mark.number {
            return;
        }
        // Of two reads the later one may be put here first.
        let kept = self.copies.peek(space.number, key);
        if kept.is_some_and(|kept| kept.entry.version > entry.version) {
            return;
        }
        let entry = Arc::clone(entry);
        let copy = Copied { entry, mark, store };
        // Under the lock, so that a change comes before this or throws it out.
        self.copies.put(space.number, key, copy, &self.usage);
    }

    /// A version of an entry was read past the copies: none of an older one is served from here on, and none that is being
    /// read is copied.
    pub fn seen(&self, (namespace, key): (&Namespace, &EntryKey), version: Version) {
        let number = self.next_number();
        // Without copies of its namespace, the namespace begins after this number.
        let Some(space) = self.spaces.read().get(namespace).cloned() else {
            return;
        };
        let mut changed = self.stripe(space.number, key).lock();
        *changed = (*changed).max(number);
        let kept = self.copies.peek(space.number, key);
        if kept.is_some_and(|kept| kept.entry.version < version) {
            self.copies.remove(space.number, key);
        }
    }

    fn stripe(&self, space: u64, key: &EntryKey) -> &Mutex<u64> {
        let hash = self.hasher.hash_one((space, key));
        let index = usize::try_from(hash % STRIPES as u64).unwrap_or(0);
        &self.stripes[index]
    }

    /// The namespace, made when there is none: cleared as of now, since nobody noted what happened before.
    fn space(&self, namespace: &Namespace) -> Arc<Space> {
        if let Some(space) = self.spaces.read().get(namespace) {
            return Arc::clone(space);
        }
        let mut spaces = self.spaces.write();
        if let Some(space) = spaces.get(namespace) {
            return Arc::clone(space);
        }
        if spaces.len() >= self.max_spaces {
            spaces.clear();
            self.reset(NearReset::Namespaces);
        }
        let space = Arc::new(Space {
            number: self.spaces_made.fetch_add(1, Ordering::Relaxed),
            cleared: AtomicU64::new(self.last.load(Ordering::SeqCst)),
        });
        spaces.insert(namespace.clone(), Arc::clone(&space));
        space
    }

    /// A key's entry may have changed: what was read of it before is not served from here on.
    pub fn changed(&self, namespace: &Namespace, key: &EntryKey) {
        let number = self.next_number();
        // Without copies of its namespace, the namespace begins after this number.
        let Some(space) = self.spaces.read().get(namespace).cloned() else {
            return;
        };
        let mut changed = self.stripe(space.number, key).lock();
        *changed = (*changed).max(number);
        self.copies.remove(space.number, key);
    }

    /// A namespace was cleared, wholly or by a tag.
    pub fn cleared(&self, namespace: &Namespace) {
        let number = self.next_number();
        if let Some(space) = self.spaces.read().get(namespace) {
            space.cleared.fetch_max(number, Ordering::SeqCst);
        }
    }

    /// Gives all copies up, and what is being read.
    fn reset(&self, why: NearReset) {
        let number = self.next_number();
        self.reset.fetch_max(number, Ordering::SeqCst);
        self.copies.clear();
        self.counts.resets[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Takes note of what the server tells has changed: the name of a key of the store.
    fn invalidated(&self, key: &[u8]) {
        let Some(change) = self.change_of(key) else {
            return;
        };
        self.counts.invalidations.fetch_add(1, Ordering::Relaxed);
        match change {
            (namespace, Some(key)) => self.changed(&namespace, &key),
            (namespace, None) => self.cleared(&namespace),
        }
    }

    /// What a key of the store is the entry or the clears of; `None` for other keys.
    fn change_of(&self, key: &[u8]) -> Option<(Namespace, Option<EntryKey>)> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(&self.before)?;
        let (namespace, rest) = rest.split_once(':')?;
        let namespace = Namespace::new(plain(namespace)?, "namespace").ok()?;
        match rest.split_once(':') {
            Some(("v", key)) => Some((namespace, Some(EntryKey::new(key, "key").ok()?))),
            None if rest == "c" => Some((namespace, None)),
            _ => None,
        }
    }

    /// Waits until every change that the store had made when this was called is taken note of, or there are no copies.
    pub async fn settled(&self) {
        if self.tracked().is_none() {
            return;
        }
        let check = self.checks.fetch_add(1, Ordering::SeqCst) + 1;
        self.sooner.notify_one();
        let mut checked = self.checked.subscribe();
        // The sender lives in `self`.
        let _ = checked.wait_for(|last| *last >= check).await;
    }

    pub fn status(&self) -> NearStatus {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        NearStatus {
            serving: self.tracked.borrow().is_some(),
            entries: self.usage.entries(),
            bytes: self.usage.bytes(),
            hits: load(&self.counts.hits),
            misses: load(&self.counts.misses),
            invalidations: load(&self.counts.invalidations),
            evictions: self.copies.evictions(),
            resets: std::array::from_fn(|reason| load(&self.counts.resets[reason])),
        }
    }
}
