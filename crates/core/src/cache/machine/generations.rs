//! The one sequence of a namespace, and which entries its clears hide.
//!
//! A clear is one number: it hides what was made before it. So a clear costs the same whatever it hides.
//! Clears of tags are remembered up to a bound; above it the oldest is forgotten, and from then on every entry
//! that has a tag and is older than that clear is hidden. More is hidden than was asked for, never less.

use crate::Tag;
use crate::cache::Version;
use std::collections::{BTreeMap, HashMap};

/// Clears, and the numbers given out.
#[derive(Debug, Default)]
pub(super) struct Generations {
    /// The last number given out.
    last: u64,
    /// The last clear of everything.
    all: u64,
    /// The last clear of each tag that is remembered.
    tags: HashMap<Tag, u64>,
    by_number: BTreeMap<u64, Tag>,
    /// The newest clear that is not remembered by its tag.
    forgotten: u64,
}

impl Generations {
    /// Goes on after a number given out before.
    pub fn after(last: u64) -> Self {
        Self {
            last,
            ..Self::default()
        }
    }

    pub fn last(&self) -> u64 {
        self.last
    }

    /// The next number: the time in µs, or one more than the last.
    pub fn mint(&mut self, wall_us: u64) -> u64 {
        self.last = wall_us.max(self.last + 1);
        self.last
    }

    pub fn clear_all(&mut self, wall_us: u64) -> u64 {
        self.all = self.mint(wall_us);
        // It hides all that clears of tags hide.
        self.tags.clear();
        self.by_number.clear();
        self.forgotten = 0;
        self.all
    }

    pub fn clear_tag(&mut self, tag: &Tag, max_tags: usize, wall_us: u64) -> u64 {
        let number = self.mint(wall_us);
        if let Some(former) = self.tags.insert(tag.clone(), number) {
            self.by_number.remove(&former);
        }
        self.by_number.insert(number, tag.clone());
        while self.by_number.len() > max_tags {
            if let Some((number, tag)) = self.by_number.pop_first() {
                self.tags.remove(&tag);
                self.forgotten = number;
            }
        }
        number
    }

    /// Whether a value made as of a number, with these tags, is hidden.
    pub fn hide(&self, as_of: Version, tags: &[Tag]) -> bool {
        if as_of.0 <= self.all {
            return true;
        }
        if tags.is_empty() {
            return false;
        }
        as_of.0 <= self.forgotten
            || tags
                .iter()
                .any(|tag| self.tags.get(tag).is_some_and(|number| as_of.0 <= *number))
    }

    pub fn tags(&self) -> usize {
        self.tags.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(name: &str) -> Tag {
        Tag::new(name, "tag").unwrap()
    }

    #[test]
    fn numbers_rise_although_the_clock_goes_back() {
        let mut numbers = Generations::default();
        assert_eq!(numbers.mint(100), 100);
        assert_eq!(numbers.mint(50), 101);
        assert_eq!(numbers.mint(101), 102);
        assert_eq!(numbers.mint(500), 500);
    }

    #[test]
    fn a_clear_hides_what_was_made_before_it_and_nothing_else() {
        let mut numbers = Generations::default();
        let before = Version(numbers.mint(0));
        numbers.clear_tag(&tag("a"), 10, 0);
        let after = Version(numbers.mint(0));
        assert!(numbers.hide(before, &[tag("b"), tag("a")]));
        assert!(!numbers.hide(before, &[tag("b")]));
        assert!(!numbers.hide(before, &[]));
        assert!(!numbers.hide(after, &[tag("a")]));
        numbers.clear_all(0);
        assert!(numbers.hide(after, &[]));
        assert_eq!(numbers.tags(), 0);
    }

    #[test]
    fn a_forgotten_clear_hides_more_and_never_less() {
        let mut numbers = Generations::default();
        let old = Version(numbers.mint(0));
        numbers.clear_tag(&tag("a"), 1, 0);
        let between = Version(numbers.mint(0));
        numbers.clear_tag(&tag("b"), 1, 0);
        assert_eq!(numbers.tags(), 1);
        assert!(numbers.hide(old, &[tag("a")]));
        assert!(numbers.hide(old, &[tag("other")]), "more is hidden");
        assert!(!numbers.hide(between, &[tag("a")]));
        assert!(numbers.hide(between, &[tag("b")]));
        assert!(!numbers.hide(old, &[]));
    }
}
