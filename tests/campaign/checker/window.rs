//! Windows: the sum of what was surely admitted in every interval of one period.

use super::{Verdict, drift, share};
use crate::history::{Grant, Micros};
use std::collections::BTreeMap;

/// Every interval that begins with a request. Others hold no more: an interval can begin later, at its
/// first request, without losing one.
pub fn sliding(amount: u64, period: Micros, grants: &[Grant]) -> Verdict {
    let length = period - drift(period);
    let mut sent: Vec<&Grant> = grants.iter().collect();
    sent.sort_by_key(|grant| grant.at.sent);
    // Numbers of `sent`, by when the grant was surely decided and when its refund can have been.
    let mut received: Vec<usize> = (0..sent.len()).collect();
    received.sort_by_key(|&number| sent[number].at.received);
    let mut refunds = received.clone();
    refunds.sort_by_key(|&number| sent[number].refund_from());

    // The grants that count are those from `first` on that were received; `refunds` of them apart.
    let (mut counted, mut sum) = (vec![false; sent.len()], 0_i128);
    let mut given_back = vec![false; sent.len()];
    let (mut next_received, mut next_refund) = (0, 0);
    let mut verdict = Verdict::default();
    for first in 0..sent.len() {
        let end = sent[first].at.sent + length;
        while let Some(&number) = received.get(next_received) {
            if sent[number].at.received >= end {
                break;
            }
            next_received += 1;
            if number >= first {
                counted[number] = true;
                sum += weight(sent[number], given_back[number]);
            }
        }
        while let Some(&number) = refunds.get(next_refund) {
            if sent[number].refund_from() >= end {
                break;
            }
            next_refund += 1;
            given_back[number] = true;
            if counted[number] {
                sum -= i128::from(sent[number].refunded());
            }
        }
        verdict.note(u64::try_from(sum).unwrap_or(0), amount);
        if std::mem::take(&mut counted[first]) {
            sum -= weight(sent[first], given_back[first]);
        }
    }
    verdict
}

fn weight(grant: &Grant, given_back: bool) -> i128 {
    let refunded = if given_back { grant.refunded() } else { 0 };
    i128::from(grant.amount) - i128::from(refunded)
}

/// Every period of the calendar.
pub fn calendar(amount: u64, period: Micros, start: i64, grants: &[Grant]) -> Verdict {
    // Where a request and its answer lie in one period, the decision does too.
    let number = |time: Micros| {
        let time = i128::from(time) - i128::from(start);
        time.div_euclid(i128::from(period))
    };
    let mut sums = BTreeMap::<i128, u64>::new();
    for grant in grants {
        let slack = drift(period);
        let (from, to) = (
            number(grant.at.sent.saturating_sub(slack)),
            number(grant.at.received.saturating_add(slack)),
        );
        if from == to {
            let refunded = if number(grant.refund_from()) <= from {
                grant.refunded()
            } else {
                0
            };
            *sums.entry(from).or_default() += grant.amount.saturating_sub(refunded);
        }
    }
    let mut verdict = Verdict::default();
    for sum in sums.into_values() {
        verdict.note(sum, amount);
    }
    verdict
}

impl Verdict {
    /// Notes the sum of one interval.
    fn note(&mut self, sum: u64, amount: u64) {
        self.intervals += 1;
        self.over = self.over.max(sum.saturating_sub(amount));
        self.fullest = self.fullest.max(share(sum, amount));
    }
}
