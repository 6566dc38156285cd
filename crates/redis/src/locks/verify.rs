//! Whether what this daemon has the care of still stands in the store, where somebody may have taken it by hand.
//!
//! A part is looked at once a second, in turn, so that it costs the store the same however much there is; who takes all keys of
//! a namespace is noticed at once, who takes one as soon as its turn comes. What does not stand is told to the store again: it
//! holds its locks once more, or is lost and its holder told. So two never hold one lock for long without one of them knowing.

use super::RedisLocks;
use super::scripts::VERIFY;
use super::wire::Claim;
use crate::Session;
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::sleep;
use trellis_core::{Namespace, Result};

/// How often a part is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Leases, sessions and waiting calls of a namespace that are looked at in one call, of each at most.
const BATCH: usize = 64;

/// Namespaces that are looked at in one turn.
const NAMESPACES: usize = 32;

/// Numbers and claims.
type Things = Vec<(u64, Claim)>;

impl RedisLocks {
    /// Looks at a part, and the next. Never returns.
    pub(super) async fn keep_verifying(&self) {
        let mut turn = 0_usize;
        loop {
            sleep(EVERY).await;
            let mut namespaces = self.namespaces_here();
            namespaces.sort_unstable();
            let first = turn * NAMESPACES % namespaces.len().max(1);
            namespaces.rotate_left(first);
            for namespace in namespaces.iter().take(NAMESPACES) {
                if let Err(error) = self.verify(namespace, turn).await {
                    tracing::debug!(%error, "it could not be verified what is held here");
                }
            }
            turn = turn.wrapping_add(1);
        }
    }

    /// Looks at a part of a namespace, and at all of it where that part does not stand.
    async fn verify(&self, namespace: &Namespace, turn: usize) -> Result<()> {
        let Some(session) = self.standing_session() else {
            return Ok(());
        };
        let things = self.things(namespace);
        let batches = things.iter().map(|them| them.len().div_ceil(BATCH)).max();
        let batches = batches.unwrap_or_default();
        if batches == 0
            || self
                .batch_stands(session, namespace, &things, turn % batches)
                .await?
        {
            return Ok(());
        }
        for batch in (0..batches).filter(|batch| *batch != turn % batches) {
            self.batch_stands(session, namespace, &things, batch)
                .await?;
        }
        self.doubt(namespace);
        Ok(())
    }

    /// Leases, sessions and calls in line, in order.
    fn things(&self, namespace: &Namespace) -> [Things; 3] {
        let state = self.state.lock();
        let Some(space) = state.spaces.get(namespace) else {
            return Default::default();
        };
        let leases = space.leases.iter().filter(|(_, held)| !held.ending);
        let leases = leases.map(|(number, held)| (*number, held.record.claim));
        let sessions = space.sessions.iter().filter(|(_, it)| !it.ending);
        let sessions = sessions.map(|(number, it)| (*number, it.record.claim));
        let seats = space.seats.iter();
        let seats = seats
            .filter(|(_, seat)| seat.ticket > 0 && !seat.asking && seat.outcome.is_none())
            .filter(|(_, seat)| seat.kept_back.is_none());
        let seats = seats.map(|(claim, seat)| (seat.ticket, *claim));
        let mut things = [leases.collect(), sessions.collect(), seats.collect()];
        drop(state);
        for them in &mut things {
            let them: &mut Things = them;
            them.sort_unstable_by_key(|(number, _)| *number);
        }
        things
    }

    /// Whether all of a batch stand; what does not is told again.
    async fn batch_stands(
        &self,
        session: Session,
        namespace: &Namespace,
        things: &[Things; 3],
        batch: usize,
    ) -> Result<bool> {
        let batch = things.each_ref().map(|them| {
            let end = them.len().min((batch + 1) * BATCH);
            &them[end.min(batch * BATCH)..end]
        });
        let (leases, sessions, tickets): (Vec<u64>, Vec<u64>, Vec<u64>) = self
            .call_within(session, &VERIFY, namespace, &batch)
            .await?;
        if leases.is_empty() && sessions.is_empty() && tickets.is_empty() {
            return Ok(true);
        }
        let of = |things: &[(u64, Claim)], numbers: Vec<u64>| {
            let things = things.iter().filter(move |(it, _)| numbers.contains(it));
            things.map(|(_, claim)| *claim).collect::<HashSet<_>>()
        };
        let fallen = &of(batch[0], leases) | &of(batch[1], sessions);
        for claim in of(batch[2], tickets) {
            self.state.lock().lead_astray(namespace, claim);
        }
        self.sooner.notify_one();
        if !fallen.is_empty() {
            tracing::warn!(%namespace, count = fallen.len(), "the store does not have all that is held here");
        }
        let is_fallen = |claim| fallen.contains(&claim);
        self.tell_again(session, namespace, session.generation, is_fallen)
            .await?;
        Ok(false)
    }
}
