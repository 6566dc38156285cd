//! Housekeeping: what is over is forgotten, what there is is counted, renewals and places are told.

use super::RedisLocks;
use super::scripts::{SWEEP, TELL_ENDS};
use std::time::Duration;
use tokio::time::sleep;
use trellis_core::Namespace;
use trellis_core::locks::LocksStatus;

/// How often each namespace is swept, by all daemons together.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// How often the store is told of renewals: what is shown to others lags by so much.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// Renewals told in one call.
const BATCH: usize = 1_024;

impl RedisLocks {
    /// Does all that is done again and again. Never returns.
    pub(super) async fn keep_all(&self) {
        tokio::join!(
            self.keep_house(),
            self.keep_telling_ends(),
            self.keep_telling_places(),
            self.keep_verifying(),
        );
    }

    /// Forgets what is over, in every namespace, and counts what there is. Never returns.
    async fn keep_house(&self) {
        loop {
            let members = self.membership.snapshot().len().max(1);
            let turns = SWEEP_EVERY * u32::try_from(members).unwrap_or(u32::MAX);
            sleep(turns.mul_f64(rand::random_range(0.5..1.5))).await;
            let namespaces = self.namespaces_there().await;
            self.counted
                .lock()
                .retain(|namespace, _| namespaces.contains(namespace));
            for namespace in namespaces {
                self.sweep(namespace).await;
            }
            // Whoever died while nobody looked.
            self.inherit().await;
        }
    }

    async fn sweep(&self, namespace: Namespace) {
        type Counts = (usize, usize, usize, usize, usize);
        let none: [u8; 0] = [];
        let counts = self.call::<Counts>(&SWEEP, &namespace, &none).await;
        let Ok((locks, leases, sessions, waiters, request_ids)) = counts else {
            return;
        };
        let status = LocksStatus {
            locks,
            leases,
            sessions,
            waiters,
            request_ids,
            ..LocksStatus::default()
        };
        self.counted.lock().insert(namespace, status);
    }

    /// Tells the store of renewals, for those who look. Never returns.
    async fn keep_telling_ends(&self) {
        loop {
            sleep(TELL_EVERY).await;
            for namespace in self.namespaces_here() {
                let ends = self.renewed(&namespace);
                for batch in ends.chunks(BATCH) {
                    if let Err(error) = self.call::<bool>(&TELL_ENDS, &namespace, &batch).await {
                        tracing::debug!(%error, "the store could not be told of renewals");
                    }
                }
            }
        }
    }

    /// What was renewed, and how long it lasts: number, time left, number, time left.
    fn renewed(&self, namespace: &Namespace) -> Vec<u64> {
        let now = self.clock.mono();
        let mut state = self.state.lock();
        let Some(space) = state.spaces.get_mut(namespace) else {
            return Vec::new();
        };
        let mut ends = Vec::new();
        for number in std::mem::take(&mut space.renewed) {
            let lease = space.leases.get(&number).map(|held| held.deadline);
            let session = space.sessions.get(&number).map(|it| it.deadline);
            if let Some(deadline) = lease.or(session) {
                ends.extend([number, (deadline - now).0]);
            }
        }
        ends
    }

    /// Tells waiting calls of sessions their places, where these have changed. Never returns.
    async fn keep_telling_places(&self) {
        loop {
            sleep(self.config.machine.position_every.into()).await;
            for namespace in self.namespaces_here() {
                self.tell_places(&namespace).await;
            }
        }
    }

    async fn tell_places(&self, namespace: &Namespace) {
        let (claims, tickets): (Vec<_>, Vec<u64>) = {
            let state = self.state.lock();
            let seats = state.spaces.get(namespace).map(|space| &space.seats);
            let seats = seats.into_iter().flatten();
            let waiting = seats.filter(|(_, seat)| {
                seat.ticket > 0 && seat.outcome.is_none() && seat.session().is_some()
            });
            waiting.map(|(claim, seat)| (*claim, seat.ticket)).unzip()
        };
        if tickets.is_empty() {
            return;
        }
        let Ok(places) = self.places(namespace, &tickets).await else {
            return;
        };
        let mut state = self.state.lock();
        let space = state.space(namespace);
        for (claim, place) in claims.iter().zip(places) {
            if let Some(seat) = space.seats.get_mut(claim)
                && place > 0
                && seat.last_place != place
            {
                seat.last_place = place;
                seat.place = Some(place);
                seat.notify.notify_one();
            }
        }
        state.tidy(namespace);
    }

    /// Tells the store how many watches are left of locks that were watched, and what is watched in another history.
    pub(super) async fn tell_unwatched(&self) {
        let unwatched = std::mem::take(&mut *self.unwatched.lock());
        for (namespace, name) in unwatched {
            if let Err(error) = self.tell_watches(&namespace, &[name]).await {
                tracing::debug!(%error, "the store could not be told that a watch is over");
            }
        }
    }

    /// Tells the store of all watches of a namespace, and those who watch that they are to look.
    pub(super) async fn watch_again(&self, namespace: &Namespace) -> trellis_core::Result<()> {
        let names: Vec<_> = {
            let state = self.state.lock();
            let watches = state.spaces.get(namespace).map(|space| &space.watches);
            let watches = watches.into_iter().flatten();
            watches
                .map(|(name, watched)| {
                    watched.changes.send_replace(());
                    name.clone()
                })
                .collect()
        };
        if names.is_empty() {
            return Ok(());
        }
        self.tell_watches(namespace, &names).await
    }
}
