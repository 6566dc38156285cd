//! Where entries are kept: one store for all namespaces, bounded by weight, with S3-FIFO admission.
//!
//! The store may throw out any entry at any time, and knows nothing of times and tags: whether an entry may
//! be served is decided by its namespace's machine at every look.

use quick_cache::sync::Cache as Store;
use quick_cache::{DefaultHashBuilder, Equivalent, Lifecycle, OptionsBuilder, Weighter};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use trellis_core::cache::{Entries, Entry};
use trellis_core::{EntryKey, Error, ErrorCode, Result};

/// What an entry takes above its key and value: its record, its counts, its place in the store.
const OVERHEAD: u64 = 320;

/// The store's parts; fewer where a part could not hold the largest value.
const MAX_SHARDS: u64 = 16;

/// What one namespace keeps.
#[derive(Debug, Default)]
pub(super) struct Usage {
    entries: AtomicU64,
    bytes: AtomicU64,
}

impl Usage {
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Acquire)
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }
}

/// An entry in the store; counted for as long as it lives, however it is thrown out.
struct Kept {
    entry: Arc<Entry>,
    bytes: u64,
    usage: Arc<Usage>,
}

impl Kept {
    fn new(key: &EntryKey, entry: Arc<Entry>, usage: &Arc<Usage>) -> Self {
        let text = key.as_str().len() + entry.content_type.len();
        let size = u64::try_from(text + entry.content.len()).unwrap_or(u64::MAX);
        let bytes = size.saturating_add(OVERHEAD);
        usage.entries.fetch_add(1, Ordering::AcqRel);
        usage.bytes.fetch_add(bytes, Ordering::AcqRel);
        let usage = Arc::clone(usage);
        Self {
            entry,
            bytes,
            usage,
        }
    }
}

impl Drop for Kept {
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

impl Weighter<StoreKey, Arc<Kept>> for Weight {
    fn weight(&self, _: &StoreKey, kept: &Arc<Kept>) -> u64 {
        kept.bytes.max(self.least)
    }
}

/// Counts what is thrown out.
#[derive(Clone, Default)]
struct Evictions(Arc<AtomicU64>);

impl Lifecycle<StoreKey, Arc<Kept>> for Evictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: StoreKey, _: Arc<Kept>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The entries of all namespaces.
pub(super) struct AllEntries {
    store: Store<StoreKey, Arc<Kept>, Weight, DefaultHashBuilder, Evictions>,
    evictions: Evictions,
}

impl AllEntries {
    /// An empty store of so many bytes and entries, where the largest value fits.
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
    pub fn evictions(&self) -> u64 {
        self.evictions.0.load(Ordering::Relaxed)
    }

    /// What belongs to one namespace.
    pub fn of<'a>(&'a self, number: u64, usage: &'a Arc<Usage>) -> OwnEntries<'a> {
        OwnEntries {
            all: self,
            number,
            usage,
        }
    }
}

/// The entries of one namespace.
pub(super) struct OwnEntries<'a> {
    all: &'a AllEntries,
    number: u64,
    usage: &'a Arc<Usage>,
}

impl Entries for OwnEntries<'_> {
    fn get(&self, key: &EntryKey) -> Option<Arc<Entry>> {
        let kept = self.all.store.get(&Sought(self.number, key))?;
        Some(Arc::clone(&kept.entry))
    }

    fn put(&self, key: &EntryKey, entry: Arc<Entry>) {
        let kept = Arc::new(Kept::new(key, entry, self.usage));
        self.all
            .store
            .insert(StoreKey(self.number, key.clone()), kept);
    }

    fn remove(&self, key: &EntryKey) {
        self.all.store.remove(&Sought(self.number, key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use trellis_core::Time;
    use trellis_core::cache::{Content, Cost, Version};

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
            let all = AllEntries::new(max_bytes, max_entries, 8_192).unwrap();
            let usage = Arc::default();
            let own = all.of(0, &usage);
            for number in 0..2_000 {
                own.put(&key(number), entry(size));
            }
            assert!(usage.bytes() <= max_bytes, "{}", usage.bytes());
            let kept = usage.entries();
            assert!(kept <= max_entries as u64 && kept > 50, "{kept}");
            assert_eq!(all.evictions(), 2_000 - kept);
        }
    }

    #[test]
    fn the_largest_value_fits_and_what_is_used_again_stays() {
        let all = AllEntries::new(20_000, 1_000, 8_192).unwrap();
        let usage = Arc::default();
        let own = all.of(0, &usage);
        own.put(&key(0), entry(8_192));
        assert!(own.get(&key(0)).is_some());
        for number in 1..1_000 {
            own.put(&key(number), entry(1_000));
            assert!(own.get(&key(0)).is_some(), "thrown out by {number}");
        }
    }

    #[test]
    fn what_is_replaced_or_removed_is_counted_no_more() {
        let all = AllEntries::new(1 << 20, 1_000, 8_192).unwrap();
        let usage = Arc::default();
        let own = all.of(0, &usage);
        own.put(&key(1), entry(100));
        own.put(&key(1), entry(200));
        assert_eq!((usage.entries(), usage.bytes()), (1, OVERHEAD + 201));
        assert!(all.of(1, &usage).get(&key(1)).is_none());
        own.remove(&key(1));
        assert_eq!((usage.entries(), usage.bytes()), (0, 0));
    }
}
