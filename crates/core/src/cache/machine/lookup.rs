//! What an entry is worth now: fresh, stale, or nothing.

use super::{Entries, Machine, Remembered};
use crate::cache::entry::{Content, Entry, Hit, Version};
use crate::cache::types::{Failure, Precondition};
use crate::{EntryKey, Time};
use std::sync::Arc;

use super::Due;

/// What a look at a key finds.
pub(super) enum Found {
    Fresh(Arc<Entry>),
    Stale(Arc<Entry>),
    Nothing,
}

impl Found {
    /// The entry that may be served.
    pub fn usable(self, allow_stale: bool) -> Option<Arc<Entry>> {
        match self {
            Self::Fresh(entry) => Some(entry),
            Self::Stale(entry) if allow_stale => Some(entry),
            Self::Stale(_) | Self::Nothing => None,
        }
    }
}

impl Machine {
    /// Looks at a key, and throws out what nobody can see any more.
    pub(super) fn look(&self, entries: &dyn Entries, key: &EntryKey, now: Time) -> Found {
        let Some(entry) = entries.get(key) else {
            return Found::Nothing;
        };
        if now >= entry.stale_until || self.numbers.hide(entry.as_of, &entry.tags) {
            entries.remove(key);
            return Found::Nothing;
        }
        if now < entry.fresh_until {
            Found::Fresh(entry)
        } else {
            Found::Stale(entry)
        }
    }

    /// Tells an entry, and notes what that saved.
    pub(super) fn serve(&mut self, entry: &Entry, now: Time) -> Hit {
        let count = match (&entry.content, now < entry.fresh_until) {
            (Content::Negative, _) => &mut self.ledger.negative_hits,
            (Content::Value(_), true) => &mut self.ledger.hits,
            (Content::Value(_), false) => &mut self.ledger.stale_hits,
        };
        *count += 1;
        self.ledger.saved_by_hits.add(entry.cost, 1);
        entry.told(self.config.fresh, now)
    }

    /// Whether a condition holds; else the version of the fresh entry.
    pub(super) fn meets(
        &self,
        entries: &dyn Entries,
        key: &EntryKey,
        precondition: Precondition,
        now: Time,
    ) -> Result<(), Option<Version>> {
        if precondition == Precondition::Always {
            return Ok(());
        }
        let fresh = self.look(entries, key, now).usable(false);
        let actual = fresh.map(|entry| entry.version);
        let expected = match precondition {
            Precondition::Is(version) => Some(version),
            Precondition::Always | Precondition::Absent => None,
        };
        if actual == expected {
            Ok(())
        } else {
            Err(actual)
        }
    }

    /// The failure remembered for a key, with the time that is left of it.
    pub(super) fn remembered(&self, key: &EntryKey, now: Time) -> Option<Failure> {
        self.failures.get(key).map(|failed| Failure {
            remembered_for: failed.until - now,
            ..failed.failure.clone()
        })
    }

    pub(super) fn remember(&mut self, key: &EntryKey, failure: &Failure, now: Time) {
        self.forget_failure(key);
        let room = self.failures.len() < self.config.max_failures;
        if failure.remembered_for.0 > 0 && room {
            let until = now + failure.remembered_for;
            self.due.insert((until, Due::Failure(key.clone())));
            let failure = failure.clone();
            self.failures
                .insert(key.clone(), Remembered { failure, until });
        }
    }

    pub(super) fn forget_failure(&mut self, key: &EntryKey) {
        if let Some(failed) = self.failures.remove(key) {
            self.due.remove(&(failed.until, Due::Failure(key.clone())));
        }
    }
}
