//! The highest fencing token that was seen of each lock.
//!
//! Locks are remembered up to a bound; above it the one with the lowest token is forgotten, and from then on a lock that is not
//! remembered needs at least that token. Tokens of a namespace rise from grant to grant, whatever the lock, so a writer
//! that has stopped is refused all the same. One that has held its lock since before, and writes under it for the first time, is refused too:
//! more than must be, never less.

use crate::Name;
use crate::cache::Fence;
use std::collections::{BTreeSet, HashMap};

#[derive(Debug, Default)]
pub(super) struct Fences {
    tokens: HashMap<Name, u64>,
    by_token: BTreeSet<(u64, Name)>,
    /// The highest token of a lock that was forgotten.
    forgotten: u64,
}

impl Fences {
    /// Takes note of a token. Errors: the lowest token that is not stale.
    pub fn pass(&mut self, fence: &Fence, most: usize) -> Result<(), u64> {
        let known = self.tokens.get(&fence.lock).copied();
        let least = known.unwrap_or(self.forgotten);
        if fence.token < least {
            return Err(least);
        }
        if known == Some(fence.token) {
            return Ok(());
        }
        if let Some(known) = known {
            self.by_token.remove(&(known, fence.lock.clone()));
        }
        self.tokens.insert(fence.lock.clone(), fence.token);
        self.by_token.insert((fence.token, fence.lock.clone()));
        while self.by_token.len() > most {
            if let Some((token, lock)) = self.by_token.pop_first() {
                self.tokens.remove(&lock);
                self.forgotten = token;
            }
        }
        Ok(())
    }

    /// Whether no token was seen.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(lock: &str, token: u64) -> Fence {
        let lock = Name::new(lock, "lock").unwrap();
        Fence { lock, token }
    }

    #[test]
    fn a_token_lower_than_one_seen_of_its_lock_is_stale() {
        let mut fences = Fences::default();
        assert!(fences.is_empty());
        assert_eq!(fences.pass(&fence("a", 5), 9), Ok(()));
        assert_eq!(fences.pass(&fence("a", 5), 9), Ok(()));
        assert_eq!(fences.pass(&fence("b", 3), 9), Ok(()), "another lock");
        assert_eq!(fences.pass(&fence("a", 7), 9), Ok(()));
        assert_eq!(fences.pass(&fence("a", 6), 9), Err(7));
        assert_eq!(fences.pass(&fence("a", 7), 9), Ok(()));
    }

    #[test]
    fn above_the_bound_more_is_stale_and_never_less() {
        let mut fences = Fences::default();
        for token in 1..=5 {
            assert_eq!(fences.pass(&fence(&format!("l{token}"), token), 3), Ok(()));
        }
        // Those with the tokens 1 and 2 are forgotten.
        for stale in [fence("l1", 1), fence("l9", 1)] {
            assert_eq!(fences.pass(&stale, 3), Err(2), "{stale:?}");
        }
        assert_eq!(fences.pass(&fence("l3", 2), 3), Err(3));
        assert_eq!(fences.pass(&fence("l2", 2), 3), Ok(()), "its own token");
        assert_eq!(fences.pass(&fence("l1", 6), 3), Ok(()));
        assert_eq!(fences.tokens.len(), 3);
    }
}
