//! Jobs of a queue that may start, in their order: those that charge the same buckets stand in one line, so that who waits for a limit is
//! passed by in one step, however many they are.

use super::charges::ChargedBuckets;
use super::ids::JobId;
use super::queue::Order;
use std::collections::btree_map::Iter;
use std::collections::{BTreeMap, HashMap};

/// A job that is ready, and what it charges.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub id: JobId,
    pub buckets: Option<ChargedBuckets>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// Those that charge nothing.
    free: BTreeMap<Order, JobId>,
    charged: HashMap<ChargedBuckets, BTreeMap<Order, JobId>>,
    /// The first of each line.
    heads: BTreeMap<Order, ChargedBuckets>,
}

impl Ready {
    pub fn insert(&mut self, order: Order, waiting: Waiting) {
        let Some(buckets) = waiting.buckets else {
            self.free.insert(order, waiting.id);
            return;
        };
        let line = self.charged.entry(buckets.clone()).or_default();
        let head = line.first_key_value().map(|(head, _)| *head);
        line.insert(order, waiting.id);
        if head.is_none_or(|head| order < head) {
            if let Some(head) = head {
                self.heads.remove(&head);
            }
            self.heads.insert(order, buckets);
        }
    }

    pub fn remove(&mut self, order: Order, buckets: Option<&ChargedBuckets>) {
        let Some(buckets) = buckets else {
            self.free.remove(&order);
            return;
        };
        let Some(line) = self.charged.get_mut(buckets) else {
            return;
        };
        line.remove(&order);
        if self.heads.remove(&order).is_some()
            && let Some((head, _)) = line.first_key_value()
        {
            self.heads.insert(*head, buckets.clone());
        }
        if line.is_empty() {
            self.charged.remove(buckets);
        }
    }

    pub fn contains(&self, order: Order, buckets: Option<&ChargedBuckets>) -> bool {
        let line = match buckets {
            None => Some(&self.free),
            Some(buckets) => self.charged.get(buckets),
        };
        line.is_some_and(|line| line.contains_key(&order))
    }

    /// All of them in order, but for the rest of a line from where it is shut.
    pub fn iter<'a>(
        &'a self,
        is_shut: impl Fn(&ChargedBuckets) -> bool + 'a,
    ) -> impl Iterator<Item = JobId> + 'a {
        let mut free = self.free.iter().peekable();
        let mut heads = self.heads.iter().peekable();
        // Lines whose head's turn has come: what comes next of each.
        let mut open: BTreeMap<Order, Open<'a>> = BTreeMap::new();
        std::iter::from_fn(move || {
            loop {
                let of_free = free.peek().map(|(order, _)| **order);
                let of_open = open.first_key_value().map(|(order, _)| *order);
                let first = of_free.into_iter().chain(of_open).min();
                let head = heads.next_if(|(head, _)| first.is_none_or(|first| **head < first));
                if let Some((_, buckets)) = head {
                    open.extend(Open::next(buckets, self.charged.get(buckets)?.iter()));
                    continue;
                }
                if first.is_some() && first == of_free {
                    return free.next().map(|(_, id)| *id);
                }
                let (_, Open { id, buckets, rest }) = open.pop_first()?;
                if !is_shut(buckets) {
                    open.extend(Open::next(buckets, rest));
                    return Some(id);
                }
            }
        })
    }
}

/// A line that is being told.
struct Open<'a> {
    id: JobId,
    buckets: &'a ChargedBuckets,
    rest: Iter<'a, Order, JobId>,
}

impl<'a> Open<'a> {
    fn next(
        buckets: &'a ChargedBuckets,
        mut rest: Iter<'a, Order, JobId>,
    ) -> Option<(Order, Self)> {
        let (order, id) = rest.next()?;
        let id = *id;
        Some((*order, Self { id, buckets, rest }))
    }
}
