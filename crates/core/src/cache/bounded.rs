//! Where a daemon keeps entries: one store for all namespaces, bounded by weight, with S3-FIFO admission.
//!
//! The store may throw out any entry at any time, and knows nothing of times and tags: whether an entry may
//! be served is decided at every look. The memory backend keeps its entries so, a near cache its copies.

use crate::cache::entry::Entry;
use crate::{EntryKey, Error, ErrorCode, Result};
use quick_cache::sync::Cache as Store;
use quick_cache::{DefaultHashBuilder, Equivalent, Lifecycle, OptionsBuilder, Weighter};
use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What an entry takes above its key and value: its record, its counts, its place in the store.
const OVERHEAD: u64 = 320;

/// The store's parts; fewer where a part could not hold the largest value.
const MAX_SHARDS: u64 = 16;

/// What is counted together: in memory, of one namespace.
#[derive(Debug, Default)]
pub struct Usage {
    entries: AtomicU64,
    bytes: AtomicU64,
}

impl Usage {
    /// Entries kept.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Acquire)
    }

    /// Bytes that they take, keys and bookkeeping included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }
}

/// An entry in the store; counted for as long as it lives, however it is thrown out.
struct Kept<T> {
    item: T,
    bytes: u64,
    usage: Arc<Usage>,
}

impl<T: Borrow<Entry>> Kept<T> {
    fn new(key: &EntryKey, item: T, usage: &Arc<Usage>) -> Self {
        let entry: &Entry = item.borrow();
        let text = key.as_str().len() + entry.content_type.len();
        let size = u64::try_from(text + entry.content.len()).unwrap_or(u64::MAX);
        let bytes = size.saturating_add(OVERHEAD);
        usage.entries.fetch_add(1, Ordering::AcqRel);
        usage.bytes.fetch_add(bytes, Ordering::AcqRel);
        let usage = Arc::clone(usage);
        Self { item, bytes, usage }
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        self.usage.entries.fetch_sub(1, Ordering::AcqRel);
        self.usage.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// A key of the store: the namespace's number and the entry's key.
#[derive(PartialEq, Eq, Hash)]
struct StoreKey(u64, EntryKey);

/// The same, borrowed.
struct Sought<'a>(u64, &'a EntryKey);

impl Hash for Sought<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
        self.1.hash(state);
    }
}

impl Equivalent<StoreKey> for Sought<'_> {
    fn equivalent(&self, key: &StoreKey) -> bool {
        self.0 == key.0 && *self.1 == key.1
    }
}

#[derive(Clone)]
struct Weight {
    /// So that as many entries as are allowed weigh all that is allowed.
    least: u64,
}

impl<T> Weighter<StoreKey, Arc<Kept<T>>> for Weight {
    fn weight(&self, _: &StoreKey, kept: &Arc<Kept<T>>) -> u64 {
        kept.bytes.max(self.least)
    }
}

/// Counts what is thrown out for want of room; what is replaced is not told here.
#[derive(Clone, Default)]
struct Evictions(Arc<AtomicU64>);

impl<T> Lifecycle<StoreKey, Arc<Kept<T>>> for Evictions {
    type RequestState = ();

    fn before_evict(&self, (): &mut (), _: &StoreKey, _: &mut Arc<Kept<T>>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Entries of all namespaces, each as a `T`. A namespace is known by a number.
pub struct BoundedEntries<T> {
    store: Store<StoreKey, Arc<Kept<T>>, Weight, DefaultHashBuilder, Evictions>,
    evictions: Evictions,
}

impl<T: Borrow<Entry> + Clone> BoundedEntries<T> {
    /// An empty store of so many bytes and entries, where the largest value fits.
    ///
    /// Errors: `Internal` where the store cannot be made.
    pub fn new(max_bytes: u64, max_entries: usize, max_value_bytes: usize) -> Result<Self> {
        let value = u64::try_from(max_value_bytes).unwrap_or(u64::MAX);
        // A key, a content type, and the share of a part that is never filled with one entry.
        let largest = value.saturating_add(OVERHEAD + 1_024);
        let largest = largest.saturating_add(largest / 16);
        let shards = (max_bytes / largest).clamp(1, MAX_SHARDS);
        // The largest power of two that is not above it.
        let shards = 1_usize << shards.ilog2();
        let options = OptionsBuilder::new()
            .shards(shards)
            .estimated_items_capacity(max_entries)
            .weight_capacity(max_bytes)
            .build()
            .map_err(|error| Error::new(ErrorCode::Internal, error.to_string()))?;
        let entries = u64::try_from(max_entries.max(1)).unwrap_or(u64::MAX);
        let least = max_bytes.div_ceil(entries);
        let evictions = Evictions::default();
        let hasher = DefaultHashBuilder::default();
        let store = Store::with_options(options, Weight { least }, hasher, evictions.clone());
        Ok(Self { store, evictions })
    }

    /// Entries thrown out for want of room.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions.0.load(Ordering::Relaxed)
    }

    /// What is kept under a key.
    #[must_use]
    pub fn get(&self, namespace: u64, key: &EntryKey) -> Option<T> {
        let kept = self.store.get(&Sought(namespace, key))?;
        Some(kept.item.clone())
    }

    /// What is kept under a key, without counting as a use of it.
    #[must_use]
    pub fn peek(&self, namespace: u64, key: &EntryKey) -> Option<T> {
        let kept = self.store.peek(&Sought(namespace, key))?;
        Some(kept.item.clone())
    }

    /// Puts an entry in the place of a former one; it is counted in `usage` for as long as it is kept.
    pub fn put(&self, namespace: u64, key: &EntryKey, item: T, usage: &Arc<Usage>) {
        let kept = Arc::new(Kept::new(key, item, usage));
        self.store.insert(StoreKey(namespace, key.clone()), kept);
    }

    /// Throws an entry out.
    pub fn remove(&self, namespace: u64, key: &EntryKey) {
        self.store.remove(&Sought(namespace, key));
    }

    /// Throws all entries out.
    pub fn clear(&self) {
        self.store.clear();
    }
}

impl<T> fmt::Debug for BoundedEntries<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BoundedEntries")
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Time;
    use crate::cache::{Content, Cost, Version};
    use bytes::Bytes;

    fn entry(size: usize) -> Arc<Entry> {
        Arc::new(Entry {
            content: Content::Value(Bytes::from(vec![0; size])),
            content_type: "".into(),
            cost: Cost::default(),
            version: Version(1),
            as_of: Version(1),
            written: Time(0),
            fresh_until: Time::NEVER,
            stale_until: Time::NEVER,
            refresh_at: Time::NEVER,
            tags: Arc::default(),
        })
    }

    fn key(number: usize) -> EntryKey {
        EntryKey::new(number.to_string(), "key").unwrap()
    }

    #[test]
    fn bytes_and_entries_stay_within_their_bounds() {
        for (max_bytes, max_entries, size) in [(1 << 20, 1_000_000, 4_096), (1 << 30, 100, 10)] {
            let all = BoundedEntries::new(max_bytes, max_entries, 8_192).unwrap();
            let usage = Arc::<Usage>::default();
            for number in 0..2_000 {
                all.put(0, &key(number), entry(size), &usage);
            }
            assert!(usage.bytes() <= max_bytes, "{}", usage.bytes());
            let kept = usage.entries();
            assert!(kept <= max_entries as u64 && kept > 50, "{kept}");
            assert_eq!(all.evictions(), 2_000 - kept);
        }
    }

    #[test]
    fn the_largest_value_fits_and_what_is_used_again_stays() {
        let all = BoundedEntries::new(20_000, 1_000, 8_192).unwrap();
        let usage = Arc::default();
        all.put(0, &key(0), entry(8_192), &usage);
        assert!(all.get(0, &key(0)).is_some());
        for number in 1..1_000 {
            all.put(0, &key(number), entry(1_000), &usage);
            assert!(all.get(0, &key(0)).is_some(), "thrown out by {number}");
        }
    }

    #[test]
    fn what_is_replaced_or_removed_is_counted_no_more() {
        let all = BoundedEntries::new(1 << 20, 1_000, 8_192).unwrap();
        let usage = Arc::<Usage>::default();
        all.put(0, &key(1), entry(100), &usage);
        all.put(0, &key(1), entry(200), &usage);
        assert_eq!((usage.entries(), usage.bytes()), (1, OVERHEAD + 201));
        assert!(all.get(1, &key(1)).is_none());
        all.remove(0, &key(1));
        assert_eq!((usage.entries(), usage.bytes()), (0, 0));
        all.put(0, &key(1), entry(100), &usage);
        all.clear();
        assert_eq!((usage.entries(), usage.bytes()), (0, 0));
        assert_eq!(all.evictions(), 0);
    }
}
