//! What was deleted, set and cleared while the store was away, until the store knows it.
//!
//! Bounded: at the bound, all that is known of a namespace becomes one clear of it. More is forgotten than was asked
//! for, never less.

use std::collections::{HashMap, HashSet};
use trellis_core::cache::ClearTarget;
use trellis_core::{EntryKey, Namespace, Tag};

/// What has to be forgotten in one namespace.
#[derive(Debug, Default)]
struct Notes {
    all: bool,
    keys: HashSet<EntryKey>,
    tags: HashSet<Tag>,
}

impl Notes {
    fn len(&self) -> usize {
        usize::from(self.all) + self.keys.len() + self.tags.len()
    }

    fn note_all(&mut self) {
        *self = Self {
            all: true,
            ..Self::default()
        };
    }
}

/// Something that the store is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    Clear(Namespace, ClearTarget),
    Delete(Namespace, EntryKey),
}

/// The journal. Namespaces are bounded by those that the daemon's own cache admits.
#[derive(Debug)]
pub(super) struct Journal {
    notes: HashMap<Namespace, Notes>,
    len: usize,
    max: usize,
}

impl Journal {
    pub fn new(max: usize) -> Self {
        Self {
            notes: HashMap::new(),
            len: 0,
            max,
        }
    }

    /// Keys that are not to come back.
    pub fn delete(&mut self, namespace: &Namespace, key: &EntryKey) {
        self.change(namespace, |notes| {
            notes.keys.insert(key.clone());
        });
    }

    /// A clear.
    pub fn clear(&mut self, namespace: &Namespace, target: &ClearTarget) {
        self.change(namespace, |notes| match target {
            ClearTarget::All => notes.note_all(),
            ClearTarget::Tag(tag) => {
                notes.tags.insert(tag.clone());
            }
        });
    }

    fn change(&mut self, namespace: &Namespace, change: impl FnOnce(&mut Notes)) {
        let notes = self.notes.entry(namespace.clone()).or_default();
        self.len -= notes.len();
        // A clear of the namespace forgets everything, whatever comes with it.
        if !notes.all {
            change(notes);
        }
        if self.len + notes.len() > self.max {
            notes.note_all();
        }
        self.len += notes.len();
    }

    /// All of it, clears first.
    pub fn all(&self) -> Vec<Note> {
        let mut notes = Vec::with_capacity(self.len);
        for (namespace, of) in &self.notes {
            let clear = |target| Note::Clear(namespace.clone(), target);
            notes.extend(of.all.then(|| clear(ClearTarget::All)));
            notes.extend(
                of.tags
                    .iter()
                    .cloned()
                    .map(|tag| clear(ClearTarget::Tag(tag))),
            );
        }
        for (namespace, of) in &self.notes {
            let keys = of.keys.iter().cloned();
            notes.extend(keys.map(|key| Note::Delete(namespace.clone(), key)));
        }
        notes
    }

    /// The store knows all of it.
    pub fn told(&mut self) {
        self.notes.clear();
        self.len = 0;
    }

    pub fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str) -> Namespace {
        Namespace::new(name, "namespace").unwrap()
    }

    fn key(number: usize) -> EntryKey {
        EntryKey::new(number.to_string(), "key").unwrap()
    }

    #[test]
    fn a_full_journal_clears_the_namespace_that_no_longer_fits() {
        let (small, large) = (namespace("small"), namespace("large"));
        let mut journal = Journal::new(10);
        journal.delete(&small, &key(0));
        for number in 0..100 {
            journal.delete(&large, &key(number));
            assert!(journal.len() <= 11, "{}", journal.len());
        }
        let notes = journal.all();
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes.contains(&Note::Clear(large, ClearTarget::All)));
        assert!(notes.contains(&Note::Delete(small, key(0))));
    }

    #[test]
    fn what_is_noted_is_told_once_and_clears_come_first() {
        let namespace = namespace("n");
        let tag = ClearTarget::Tag(Tag::new("t", "tag").unwrap());
        let mut journal = Journal::new(10);
        for _ in 0..3 {
            journal.delete(&namespace, &key(1));
            journal.clear(&namespace, &tag);
        }
        let (clear, delete) = (
            Note::Clear(namespace.clone(), tag),
            Note::Delete(namespace.clone(), key(1)),
        );
        assert_eq!(journal.all(), [clear, delete]);
        journal.clear(&namespace, &ClearTarget::All);
        journal.delete(&namespace, &key(2));
        let all = Note::Clear(namespace, ClearTarget::All);
        assert_eq!((journal.all(), journal.len()), (vec![all], 1));
        journal.told();
        assert_eq!((journal.all(), journal.len()), (vec![], 0));
    }
}
