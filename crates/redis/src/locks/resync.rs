//! What may have been missed: news lost with the mailbox, calls without an answer. What the store has under this
//! daemon's name is compared with what it knows.

use super::RedisLocks;
use super::scripts::CLAIMS;
use super::state::{Due, Seat};
use super::wire::{Claim, UNKNOWN};
use std::collections::{HashMap, HashSet};
use trellis_core::{Micros, Namespace, Result, Time};

impl RedisLocks {
    /// Looks into a namespace.
    pub(super) async fn resync(&self, namespace: Namespace) {
        if let Err(error) = self.compare(&namespace).await {
            tracing::debug!(%error, "what the store has could not be looked at");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            self.doubt(&namespace);
        }
    }

    async fn compare(&self, namespace: &Namespace) -> Result<()> {
        let Some(session) = self.standing_session() else {
            // All is told first, and then looked at.
            return Ok(());
        };
        let flat: Vec<String> = {
            let none: [u8; 0] = [];
            self.call_within(session, &CLAIMS, namespace, &none).await?
        };
        let mut there: HashMap<Claim, u8> = HashMap::with_capacity(flat.len() / 2);
        for pair in flat.chunks_exact(2) {
            if let [claim, what] = pair
                && let Some(claim) = Claim::read(claim)
            {
                there.insert(claim, what.bytes().next().unwrap_or_default());
            }
        }
        let missed = self.note_missed(namespace, &there);
        if missed {
            let is_missed = |claim| !there.contains_key(&claim);
            self.tell_again(session, namespace, session.generation, is_missed)
                .await?;
        }
        self.sooner.notify_one();
        Ok(())
    }

    /// Seats whose end was missed are made again, what nobody knows is taken back. Whether there is something here
    /// that the store does not have.
    fn note_missed(&self, namespace: &Namespace, there: &HashMap<Claim, u8>) -> bool {
        let mut state = self.state.lock();
        let space = state.space(namespace);
        let in_line = |claim| matches!(there.get(claim), Some(b'w' | b'j'));
        let waits =
            |seat: &Seat| !seat.asking && seat.outcome.is_none() && seat.kept_back.is_none();
        let seats = space.seats.iter();
        let missing = seats.filter(|(claim, seat)| waits(seat) && !in_line(claim));
        let missing: Vec<Claim> = missing.map(|(claim, _)| *claim).collect();
        for claim in missing {
            state.lead_astray(namespace, claim);
        }
        let space = state.space(namespace);
        let leases = space.leases.values().map(|held| held.record.claim);
        let sessions = space.sessions.values().map(|it| it.record.claim);
        let known: HashSet<Claim> = leases.chain(sessions).collect();
        let missed = known.iter().any(|claim| !there.contains_key(claim));
        let is_known = |claim: &Claim| {
            known.contains(claim)
                || space.seats.contains_key(claim)
                || space.opening.contains(&claim.0)
        };
        // What is unknown now may be told by an answer that is on its way, but not for longer than a call takes.
        let now = self.clock.mono();
        let answered = Micros::from(self.store.timeout() * 2);
        let before = std::mem::take(&mut space.strange);
        let strange = there.keys().filter(|claim| !is_known(claim));
        let strange: HashMap<Claim, Time> = strange
            .map(|claim| (*claim, before.get(claim).copied().unwrap_or(now)))
            .collect();
        let (unknown, strange): (Vec<_>, Vec<_>) = strange
            .into_iter()
            .partition(|(_, since)| now - *since >= answered);
        if !strange.is_empty() {
            space.strange = strange.into_iter().collect();
            state.set_due(namespace, now + answered, Due::Look);
        }
        state.tidy(namespace);
        drop(state);
        for (claim, _) in unknown {
            self.let_go(namespace, claim, UNKNOWN);
        }
        missed
    }
}
