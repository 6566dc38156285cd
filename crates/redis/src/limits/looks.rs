//! When to look at which line again.

use std::collections::{BTreeSet, HashMap};
use trellis_core::Time;

/// Times at which buckets of namespaces are to be looked at, on this daemon's clock. One per bucket; bounded
/// by the calls that wait here, since only they make any.
#[derive(Debug, Default)]
pub(super) struct Looks {
    times: HashMap<(String, String), Time>,
    order: BTreeSet<(Time, String, String)>,
}

impl Looks {
    /// Sets the time for a bucket, in place of the former one.
    pub fn set(&mut self, namespace: &str, bucket: String, at: Time) {
        let name = (namespace.to_owned(), bucket);
        if let Some(former) = self.times.insert(name.clone(), at) {
            self.order.remove(&(former, name.0.clone(), name.1.clone()));
        }
        self.order.insert((at, name.0, name.1));
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

    /// Takes every bucket of a namespace.
    pub fn take(&mut self, namespace: &str) -> Vec<String> {
        let of = |(_, name, _): &&(Time, String, String)| name == namespace;
        let taken: Vec<_> = self.order.iter().filter(of).cloned().collect();
        taken
            .into_iter()
            .map(|look| {
                self.order.remove(&look);
                self.times.remove(&(look.1, look.2.clone()));
                look.2
            })
            .collect()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.times.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_one_time_and_is_due_once() {
        let mut looks = Looks::default();
        looks.set("a", "x".into(), Time(10));
        looks.set("a", "x".into(), Time(5));
        looks.set("a", "y".into(), Time(7));
        looks.set("b", "x".into(), Time(20));
        assert_eq!(looks.next(), Some(Time(5)));
        assert_eq!(looks.due(Time(7))["a"], ["x", "y"]);
        assert!(looks.due(Time(19)).is_empty());
        assert_eq!(looks.take("b"), ["x"]);
        assert_eq!(looks.next(), None);
    }
}
