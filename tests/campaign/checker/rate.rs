//! Rates: for every request and every later answer, what was surely admitted between them, less what can
//! have come back, against the burst and the refill of that time.
//!
//! All pairs at once, in O(n log n): answers are taken by time, and a tree over the requests holds, for
//! each as the beginning of an interval, the sum since then and the refill that the time before it would
//! have brought. The greatest of these decides.

use super::{DRIFT_PPM, Verdict};
use crate::history::{Grant, Micros};

/// What changes sums, by time.
enum Event {
    /// Units are surely admitted, by a request sent then.
    Admitted { units: u64, sent: Micros },
    /// Units can have come back since; not for intervals that begin after the answer.
    Refunded { units: u64, received: Micros },
}

pub fn worst(amount: u64, period: Micros, burst: u64, grants: &[Grant]) -> Verdict {
    let mut begins: Vec<Micros> = grants.iter().map(|grant| grant.at.sent).collect();
    begins.sort_unstable();
    begins.dedup();
    // In units / (period * 10^6), so that all is whole; time passes a little faster than it seems to.
    let unit = i128::from(period) * 1_000_000;
    let speed = i128::from(amount) * i128::from(1_000_000 + DRIFT_PPM);
    let before = |time: Micros| speed * i128::from(time);
    let mut sums = Sums::new(&begins.iter().map(|&time| before(time)).collect::<Vec<_>>());
    let up_to = |time: Micros| begins.partition_point(|&begin| begin <= time);
    let mut verdict = Verdict::default();
    let mut greatest = 0;
    for (time, event) in events(grants) {
        match event {
            Event::Admitted { units, sent } => sums.add(up_to(sent), i128::from(units) * unit),
            Event::Refunded { units, received } => {
                sums.add(up_to(received), -i128::from(units) * unit);
                continue;
            }
        }
        verdict.intervals += 1;
        greatest = greatest.max(sums.greatest(up_to(time)) - before(time));
    }
    let over = greatest - i128::from(burst) * unit;
    // What is admitted are whole units: any part of one above is a unit too many.
    let over = (over.max(0) + unit - 1).div_euclid(unit);
    verdict.over = u64::try_from(over).unwrap_or(u64::MAX);
    #[expect(clippy::cast_precision_loss, reason = "a share, of rounded figures")]
    let fullest = greatest as f64 / (unit as f64 * burst as f64);
    verdict.fullest = fullest;
    verdict
}

fn events(grants: &[Grant]) -> Vec<(Micros, Event)> {
    let mut events = Vec::new();
    for grant in grants {
        let (units, sent) = (grant.amount, grant.at.sent);
        events.push((grant.at.received, Event::Admitted { units, sent }));
        if let Some(settled) = &grant.settled {
            let refund = Event::Refunded {
                units: settled.refunded,
                received: settled.at.received,
            };
            events.push((settled.at.sent, refund));
        }
    }
    // Of one time, refunds first: they count for an interval that ends then.
    events.sort_by_key(|(time, event)| (*time, matches!(event, Event::Admitted { .. })));
    events
}

/// Numbers, of which the first so many are raised together and the greatest of the first so many is
/// asked for: a binary tree whose nodes hold what was added to all below them, and the greatest below.
struct Sums {
    leaves: usize,
    added: Vec<i128>,
    greatest: Vec<i128>,
}

const NONE: i128 = i128::MIN / 2;

impl Sums {
    fn new(numbers: &[i128]) -> Self {
        let leaves = numbers.len().next_power_of_two();
        let mut greatest = vec![NONE; 2 * leaves];
        greatest[leaves..leaves + numbers.len()].copy_from_slice(numbers);
        for node in (1..leaves).rev() {
            greatest[node] = greatest[2 * node].max(greatest[2 * node + 1]);
        }
        Self {
            leaves,
            added: vec![0; 2 * leaves],
            greatest,
        }
    }

    /// Adds to the first so many.
    fn add(&mut self, count: usize, number: i128) {
        self.add_below(1, self.leaves, count, number);
    }

    fn add_below(&mut self, node: usize, size: usize, count: usize, number: i128) {
        if count == 0 {
            return;
        }
        if count >= size {
            self.added[node] += number;
            self.greatest[node] += number;
            return;
        }
        let half = size / 2;
        self.add_below(2 * node, half, count.min(half), number);
        self.add_below(2 * node + 1, half, count.saturating_sub(half), number);
        let below = self.greatest[2 * node].max(self.greatest[2 * node + 1]);
        self.greatest[node] = below + self.added[node];
    }

    /// The greatest of the first so many.
    fn greatest(&self, count: usize) -> i128 {
        self.greatest_below(1, self.leaves, count)
    }

    fn greatest_below(&self, node: usize, size: usize, count: usize) -> i128 {
        if count == 0 {
            return NONE;
        }
        if count >= size {
            return self.greatest[node];
        }
        let half = size / 2;
        let left = self.greatest_below(2 * node, half, count.min(half));
        let right = self.greatest_below(2 * node + 1, half, count.saturating_sub(half));
        left.max(right) + self.added[node]
    }
}
