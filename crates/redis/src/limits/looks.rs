//! When to look at which line again.

use std::collections::{BTreeSet, HashMap};
use trellis_core::Time;

/// Times at which buckets of namespaces are to be looked at, on this daemon's clock. One per bucket; bounded
/// by the calls that wait here, since only they make any.
///
/// Replies and messages come by different connections and are read by different tasks, so a time carries the
/// time of the store at which it was told: what was told earlier never replaces what was told later.
#[derive(Debug, Default)]
pub(super) struct Looks {
    times: HashMap<(String, String), (Time, u64)>,
    order: BTreeSet<(Time, String, String)>,
}

/// Later than everything that the store tells: a look that stands until it is taken.
const STANDS: u64 = u64::MAX;

impl Looks {
    /// Sets the time for a bucket, in place of one that was told earlier.
    pub fn set(&mut self, namespace: &str, bucket: String, at: Time, told: u64) {
        let name = (namespace.to_owned(), bucket);
        if let Some((former, known)) = self.times.get(&name).copied() {
            if known > told {
                return;
            }
            self.order.remove(&(former, name.0.clone(), name.1.clone()));
        }
        self.times.insert(name.clone(), (at, told));
        self.order.insert((at, name.0, name.1));
    }

    /// Looks at a bucket at this time, or sooner where that was asked for before.
    pub fn hasten(&mut self, namespace: &str, bucket: String, at: Time) {
        let name = (namespace.to_owned(), bucket);
        let former = self.times.get(&name).map(|(former, _)| *former);
        let at = former.map_or(at, |former| at.min(former));
        self.set(namespace, name.1, at, STANDS);
    }

    /// When the next look is due.
    pub fn next(&self) -> Option<Time> {
        self.order.first().map(|(at, _, _)| *at)
    }

    /// Takes what is due: buckets by namespace.
    pub fn due(&mut self, now: Time) -> HashMap<String, Vec<String>> {
        let mut due: HashMap<String, Vec<String>> = HashMap::new();
        while let Some((at, _, _)) = self.order.first()
            && *at <= now
            && let Some((_, namespace, bucket)) = self.order.pop_first()
        {
            self.times.remove(&(namespace.clone(), bucket.clone()));
            due.entry(namespace).or_default().push(bucket);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_one_time_and_is_due_once() {
        let mut looks = Looks::default();
        looks.set("a", "x".into(), Time(10), 1);
        looks.set("a", "x".into(), Time(5), 2);
        looks.set("a", "y".into(), Time(7), 2);
        looks.set("b", "x".into(), Time(20), 2);
        assert_eq!(looks.next(), Some(Time(5)));
        assert_eq!(looks.due(Time(7))["a"], ["x", "y"]);
        assert!(looks.due(Time(19)).is_empty());
        assert_eq!(looks.due(Time(20))["b"], ["x"]);
        assert_eq!(looks.next(), None);
    }

    #[test]
    fn what_was_told_earlier_does_not_replace_what_was_told_later() {
        let mut looks = Looks::default();
        looks.set("a", "x".into(), Time(5), 2);
        looks.set("a", "x".into(), Time(60), 1);
        assert_eq!(looks.next(), Some(Time(5)));
        looks.set("a", "x".into(), Time(40), 3);
        assert_eq!(looks.next(), Some(Time(40)));
    }

    #[test]
    fn a_look_that_is_hastened_is_put_off_by_nothing_that_is_told() {
        let mut looks = Looks::default();
        looks.set("a", "x".into(), Time(40), 3);
        looks.hasten("a", "x".into(), Time(10));
        looks.hasten("a", "x".into(), Time(20));
        looks.set("a", "x".into(), Time(60), 4);
        assert_eq!(looks.due(Time(10))["a"], ["x"]);
        assert_eq!(looks.next(), None);
    }
}
