//! What is due: leases and sessions that were not kept alive, waits whose time is over.

use super::RedisLocks;
use super::scripts::{END_WAITS, EXPIRE, SESSION};
use super::sessions::{END, session_args};
use super::state::{Due, Held, lease_id, over};
use super::wire::{Claim, TIME_OVER, UNKNOWN};
use crate::CallError;
use crate::failure::{Repeat, without_answer};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use trellis_core::locks::{LostReason, SessionKey, SessionNews};
use trellis_core::{Error, ErrorCode, Micros, Namespace, Time};

/// Things that end in one call: a pause of the store of a few milliseconds at most.
const BATCH: usize = 256;

/// What is due in a namespace.
#[derive(Default)]
pub(super) struct Over {
    pub leases: Vec<(u64, u64)>,
    pub sessions: Vec<(SessionKey, u64)>,
    pub waits: Vec<(Claim, u8)>,
}

impl RedisLocks {
    /// Takes what is due by now.
    pub(super) fn take_over(&self, now: Time) -> HashMap<Namespace, Over> {
        let mut state = self.state.lock();
        let mut all: HashMap<Namespace, Over> = HashMap::new();
        for (namespace, due) in state.take_due(now) {
            let Some(space) = state.spaces.get_mut(&namespace) else {
                continue;
            };
            match due {
                Due::Lease(number) => {
                    if let Some(held) = space.leases.get_mut(&number) {
                        held.ending = true;
                        let over = all.entry(namespace).or_default();
                        over.leases.push((number, held.record.kept));
                    }
                }
                Due::Session(number) => {
                    if let Some(session) = space.sessions.get_mut(&number) {
                        session.ending = true;
                        let over = (session.key(number), session.record.kept);
                        all.entry(namespace).or_default().sessions.push(over);
                    }
                }
                Due::Grant(claim) => {
                    if let Some(seat) = space.seats.get_mut(&Claim(claim))
                        && let Some(acquired) = seat.kept_back.take()
                    {
                        seat.end(Ok(acquired));
                    }
                }
                Due::Look => self.doubt(&namespace),
                Due::Wait(claim) => {
                    let claim = Claim(claim);
                    if space.seats.contains_key(&claim) {
                        let over = all.entry(namespace).or_default();
                        over.waits.push((claim, TIME_OVER));
                    }
                }
            }
        }
        all
    }

    /// Ends what is over in a namespace.
    pub(super) async fn end(&self, namespace: Namespace, over: Over) {
        for (key, kept) in over.sessions {
            self.end_session(&namespace, key, kept).await;
        }
        for batch in over.leases.chunks(BATCH) {
            self.end_leases(&namespace, batch).await;
        }
        for batch in over.waits.chunks(BATCH) {
            let ended = self.call::<bool>(&END_WAITS, &namespace, &batch).await;
            if let Err(error) = ended {
                self.give_up(&namespace, batch, &error);
            }
        }
    }

    async fn end_leases(&self, namespace: &Namespace, batch: &[(u64, u64)]) {
        let ended = self.call::<Vec<(u64, u64)>>(&EXPIRE, namespace, &batch);
        match ended.await {
            Ok(kept) => {
                let now = self.clock.mono();
                let mut state = self.state.lock();
                for (number, renewals) in kept {
                    let held = state.space(namespace).leases.get_mut(&number);
                    let Some(held) = held else { continue };
                    held.record.kept = renewals;
                    // It was renewed at some time before now.
                    let end = now + Micros(held.record.ttl);
                    state.renew_lease(namespace, number, end);
                }
                // Those that the store has neither ended nor kept are another's by now.
                let left = |held: &Held| held.ending;
                for (number, _) in batch {
                    if state.space(namespace).leases.get(number).is_some_and(left) {
                        state.drop_lease(namespace, *number);
                    }
                }
                state.tidy(namespace);
            }
            Err(error) => {
                tracing::debug!(%error, "the store could not be told that leases are over");
                let mut state = self.state.lock();
                for (number, _) in batch {
                    state.drop_lease(namespace, *number);
                    self.decided.expired.fetch_add(1, Ordering::Relaxed);
                }
                drop(state);
                // What the store has under this daemon's name and it does not know is ended.
                self.doubt(namespace);
            }
        }
    }

    async fn end_session(&self, namespace: &Namespace, key: SessionKey, kept: u64) {
        let args = session_args(END, key, kept);
        let ended = self.call::<u64>(&SESSION, namespace, &args).await;
        if let Err(error) = &ended {
            tracing::debug!(%error, "the store could not be told that a session is over");
            self.doubt(namespace);
        }
        // Whoever holds something in it stops, whether the store was told or not. Where it was, the news have come.
        let number = key.id.number();
        let mut state = self.state.lock();
        let space = state.spaces.get(namespace);
        let session = space.and_then(|space| space.sessions.get(&number));
        let Some(session) = session.filter(|it| it.ending && it.key(number) == key) else {
            return;
        };
        if let (Some(feed), Some(space)) = (&session.feed, space) {
            for lease in &session.leases {
                if let Some(held) = space.leases.get(lease) {
                    let lease = lease_id(*lease, &held.record);
                    let reason = LostReason::Expired;
                    feed.tell(SessionNews::Lost { lease, reason });
                }
            }
        }
        state.end_attachment(namespace, number, over(), true);
    }

    /// The store cannot be told that waits are over: whoever waits is told so, and what comes of it is taken back.
    fn give_up(&self, namespace: &Namespace, batch: &[(Claim, u8)], error: &Error) {
        let mut state = self.state.lock();
        for (claim, _) in batch {
            let space = state.spaces.get_mut(namespace);
            if let Some(seat) = space.and_then(|space| space.seats.get_mut(claim)) {
                seat.end(Err(error.clone()));
            }
        }
        drop(state);
        for (claim, _) in batch {
            self.let_go(namespace, *claim, UNKNOWN);
        }
    }

    /// Ends every wait: nobody times them any more.
    pub(super) fn stop_waiting(&self) {
        let mut state = self.state.lock();
        // Under the lock, so that no seat is taken unseen.
        self.ended.store(true, Ordering::Release);
        for seat in state
            .spaces
            .values_mut()
            .flat_map(|it| it.seats.values_mut())
        {
            let over = CallError::Away("this daemon's locks have ended");
            seat.end(Err(without_answer(
                &over,
                Micros::from_secs(1),
                Repeat::SameRequestId,
            )));
        }
    }

    /// Takes back what nobody is there to receive. What the store is away for is found when it is back.
    pub(super) async fn take_back(&self) {
        let all = std::mem::take(&mut *self.letting.lock());
        for (namespace, claims) in all {
            for batch in claims.chunks(BATCH) {
                let taken = self.call::<bool>(&END_WAITS, &namespace, &batch).await;
                if let Err(error) = taken
                    && error.code != ErrorCode::Internal
                {
                    self.doubt(&namespace);
                }
            }
        }
    }
}
