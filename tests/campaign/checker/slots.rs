//! Slots: how many were surely held at a time.

use super::{Verdict, drift, share};
use crate::history::{Grant, Micros};

/// Slots are surely held from the answer until the settle is sent, or until the reservation can have
/// ended at the earliest.
pub fn worst(slots: u64, grants: &[Grant]) -> Verdict {
    let mut changes: Vec<(Micros, bool, u64)> = Vec::new();
    for grant in grants {
        let expires = grant
            .ttl
            .map_or(Micros::MAX, |ttl| grant.at.sent + ttl - drift(ttl).min(ttl));
        let until = expires.min(grant.refund_from());
        if grant.at.received < until {
            changes.push((grant.at.received, true, grant.amount));
            changes.push((until, false, grant.amount));
        }
    }
    // Of one time, what is freed comes first.
    changes.sort_unstable();
    let (mut held, mut verdict) = (0, Verdict::default());
    for (_, taken, amount) in changes {
        if !taken {
            held -= amount;
            continue;
        }
        held += amount;
        verdict.intervals += 1;
        verdict.over = verdict.over.max(held.saturating_sub(slots));
        verdict.fullest = verdict.fullest.max(share(held, slots));
    }
    verdict
}
