//! The entries of one namespace, in the store of all.

use std::sync::Arc;
use trellis_core::EntryKey;
use trellis_core::cache::{BoundedEntries, Entries, Entry, Usage};

/// The entries of all namespaces.
pub(super) type AllEntries = BoundedEntries<Arc<Entry>>;

/// The entries of one namespace.
pub(super) struct OwnEntries<'a> {
    pub all: &'a AllEntries,
    pub number: u64,
    pub usage: &'a Arc<Usage>,
}

impl Entries for OwnEntries<'_> {
    fn get(&self, key: &EntryKey) -> Option<Arc<Entry>> {
        self.all.get(self.number, key)
    }

    fn put(&self, key: &EntryKey, entry: Arc<Entry>) {
        self.all.put(self.number, key, entry, self.usage);
    }

    fn remove(&self, key: &EntryKey) {
        self.all.remove(self.number, key);
    }
}
