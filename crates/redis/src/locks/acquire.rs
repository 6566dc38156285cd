//! Taking locks and waiting for them.

use super::RedisLocks;
use super::scripts::ACQUIRE;
use super::state::{Due, Seat, State};
use super::wire::{Acquired, CALLER_GONE, Claim};
use crate::packed::span;
use crate::packed::{Blob, Maybe, digest};
use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;
use trellis_core::locks::{
    AcquireLocks, Holder, LockMode, LockOutcome, LockPurpose, Progress, Wait, WaitingLocks,
};
use trellis_core::{Error, ErrorCode, Micros, Namespace, Result, Time};

/// An acquire that is made when it is first looked at; dropping it takes it back.
pub(super) struct RedisWaiting {
    locks: Arc<RedisLocks>,
    namespace: Namespace,
    claim: Claim,
    acquire: Arc<AcquireLocks>,
    notify: Arc<Notify>,
    stage: Stage,
}

enum Stage {
    New,
    /// The store is being asked.
    Asking(BoxFuture<'static, ()>),
    /// It has a seat.
    Seated,
    Ended,
}

impl RedisWaiting {
    pub fn new(locks: Arc<RedisLocks>, acquire: AcquireLocks) -> Self {
        Self {
            locks,
            namespace: acquire.namespace.clone(),
            claim: Claim(rand::random()),
            acquire: Arc::new(acquire),
            notify: Arc::new(Notify::new()),
            stage: Stage::New,
        }
    }

    /// Takes a seat, so that what is told before the answer is not missed.
    fn begin(&mut self) {
        let locks = &self.locks;
        let deadline = match self.acquire.wait {
            Wait::Try => Time::NEVER,
            Wait::For(max_wait) => locks.clock.mono() + max_wait,
        };
        let seat = Seat {
            acquire: self.acquire.clone(),
            ticket: 0,
            deadline,
            asking: true,
            astray: false,
            place: None,
            last_place: 0,
            kept_back: None,
            outcome: None,
            notify: self.notify.clone(),
            received: Arc::default(),
        };
        let mut state = locks.state.lock();
        state.space(&self.namespace).seats.insert(self.claim, seat);
        drop(state);
        let asking = locks
            .clone()
            .ask(self.namespace.clone(), self.claim, -1)
            .boxed();
        self.stage = Stage::Asking(asking);
    }

    /// What is to be told, if anything is.
    fn take(&mut self) -> Option<Progress> {
        let mut state = self.locks.state.lock();
        let space = state.spaces.get_mut(&self.namespace)?;
        let seat = space.seats.get_mut(&self.claim)?;
        if let Some(place) = seat.place.take() {
            return Some(Progress::Queued(place));
        }
        let outcome = seat.outcome.take()?;
        // A grant may overtake the answer to its call.
        seat.received.store(true, Ordering::Release);
        state.leave(&self.namespace, self.claim);
        drop(state);
        self.stage = Stage::Ended;
        if let Ok(acquired) = &outcome {
            self.locks.decided.count(&acquired.outcome);
        }
        Some(Progress::Ended(outcome))
    }
}

#[async_trait]
impl WaitingLocks for RedisWaiting {
    async fn next(&mut self) -> Progress {
        loop {
            if let Some(progress) = self.take() {
                return progress;
            }
            let notify = self.notify.clone();
            let told = notify.notified();
            match &mut self.stage {
                Stage::New => self.begin(),
                Stage::Asking(asking) => {
                    tokio::select! {
                        biased;
                        () = asking => self.stage = Stage::Seated,
                        () = told => {}
                    }
                }
                Stage::Seated => told.await,
                Stage::Ended => std::future::pending().await,
            }
        }
    }
}

impl Drop for RedisWaiting {
    fn drop(&mut self) {
        if matches!(self.stage, Stage::New | Stage::Ended) {
            return;
        }
        self.locks.state.lock().leave(&self.namespace, self.claim);
        // While the store is asked, the answer's heir takes back what comes of it.
        if matches!(self.stage, Stage::Seated) {
            self.locks.let_go(&self.namespace, self.claim, CALLER_GONE);
        }
    }
}

impl RedisLocks {
    /// Asks the store for what a seat wants; `again` as in `acquire.lua`. What comes of it is told to the seat.
    pub(super) async fn ask(self: Arc<Self>, namespace: Namespace, claim: Claim, again: i64) {
        let (acquire, received) = {
            let state = self.state.lock();
            let space = state.spaces.get(&namespace);
            let Some(seat) = space.and_then(|space| space.seats.get(&claim)) else {
                return;
            };
            (seat.acquire.clone(), seat.received.clone())
        };
        let heir = {
            let (namespace, received) = (namespace.clone(), received.clone());
            self.heir(&namespace.clone(), move |locks, done| {
                if done && !received.load(Ordering::Acquire) {
                    locks.let_go(&namespace, claim, CALLER_GONE);
                }
            })
        };
        let args = args(&acquire, claim, again);
        let answer = self.call_for(&ACQUIRE, &namespace, &args, heir).await;
        self.seat(&namespace, claim, answer, &received);
    }

    /// Tells a seat what its call has come to.
    fn seat(
        &self,
        namespace: &Namespace,
        claim: Claim,
        answer: Result<Acquired>,
        received: &AtomicBool,
    ) {
        let mut state = self.state.lock();
        let space = state.spaces.get_mut(namespace);
        let seat = space.and_then(|space| space.seats.get_mut(&claim));
        let may_be_done = match (&answer, &seat) {
            // It was made again for a caller that has left meanwhile.
            (Ok(_), None) => true,
            (Err(error), _) => error.code == ErrorCode::OutcomeUnknown,
            (Ok(_), Some(_)) => false,
        };
        let is_astray = match seat {
            Some(seat) => {
                seat.asking = false;
                self.settle(&mut state, namespace, claim, answer)
            }
            None => false,
        };
        let sooner = state.take_sooner();
        drop(state);
        if may_be_done && !is_astray && !received.load(Ordering::Acquire) {
            self.let_go(namespace, claim, CALLER_GONE);
        }
        if sooner {
            self.sooner.notify_one();
        }
    }

    /// What a call has come to; whether it is to be made again.
    fn settle(
        &self,
        state: &mut State,
        namespace: &Namespace,
        claim: Claim,
        answer: Result<Acquired>,
    ) -> bool {
        let now = self.clock.mono();
        if let Ok(Acquired::Granted(number, record, left)) = answer {
            let acquired = self.host(state, namespace, (number, *record, left), now);
            if let Some(seat) = state.space(namespace).seats.get_mut(&claim) {
                seat.end(acquired);
            }
            return false;
        }
        let Some(seat) = state.space(namespace).seats.get_mut(&claim) else {
            return false;
        };
        let deadline = seat.deadline;
        // Once nobody times waits any more there are none.
        let may_wait = is_wait(seat) && now < deadline && !self.ended.load(Ordering::Acquire);
        match answer {
            Ok(Acquired::Waiting(place, ticket)) => {
                seat.ticket = ticket;
                if seat.last_place == 0 && seat.outcome.is_none() {
                    seat.place = Some(place);
                    seat.notify.notify_one();
                }
                seat.last_place = place;
                if self.ended.load(Ordering::Acquire) {
                    let message = "the daemon shuts down";
                    seat.end(Err(Error::new(ErrorCode::Draining, message)));
                }
                state.set_due(namespace, deadline, Due::Wait(claim.0));
            }
            Ok(Acquired::Held(wait, position)) => seat.end_with(LockOutcome::Held {
                retry_after: Micros(wait),
                position,
            }),
            Ok(Acquired::TimedOut(wait, position)) => seat.end_with(LockOutcome::TimedOut {
                retry_after: Micros(wait),
                position,
            }),
            Ok(Acquired::Granted(..) | Acquired::Lost) => seat.end_with(LockOutcome::Lost),
            Err(error) if is_away(error.code) && may_wait => {
                // Waits for the store as well; its place is the one that it had.
                state.set_due(namespace, deadline, Due::Wait(claim.0));
                state.lead_astray(namespace, claim);
                return true;
            }
            Err(error) => seat.end(Err(error)),
        }
        false
    }
}

fn is_wait(seat: &Seat) -> bool {
    matches!(seat.acquire.wait, Wait::For(_))
}

/// Whether an error means that the store was not there.
pub(super) fn is_away(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::StoreUnavailable | ErrorCode::OutcomeUnknown
    )
}

type Wanted<'a> = Vec<(&'a str, u8)>;
type Args<'a> = (
    Claim,
    Maybe<(u64, String, u64)>,
    u64,
    &'a str,
    Blob,
    Maybe<(&'static str, &'a str, String)>,
    Wanted<'a>,
    i64,
    i64,
);

/// An acquire as `acquire.lua` takes it.
fn args(acquire: &AcquireLocks, claim: Claim, again: i64) -> Args<'_> {
    let (session, ttl, owner) = match &acquire.holder {
        Holder::Lease { ttl, owner } => (None, span(*ttl), &**owner),
        Holder::Session(key) => {
            let secret = Claim(key.id.secret()).text();
            (Some((key.id.number(), secret, key.attachment)), 0, "")
        }
    };
    let locks = acquire.locks.targets().iter();
    let locks: Wanted<'_> = locks
        .map(|target| (target.name.as_str(), mode(target.mode)))
        .collect();
    let value = Blob(acquire.value.clone());
    let (wait, rpc) = match acquire.wait {
        Wait::Try => (-1, "try"),
        Wait::For(max_wait) => (i64::try_from(span(max_wait)).unwrap_or(i64::MAX), "acquire"),
    };
    let rpc = if session.is_some() { "session" } else { rpc };
    let number = session.as_ref().map(|(number, ..)| *number);
    let request = acquire.request_id.as_ref().map(|id| {
        let efficiency = acquire.purpose == LockPurpose::Efficiency;
        let body = digest(&(&locks, ttl, owner, number, &value, efficiency));
        (rpc, id.as_str(), body)
    });
    (
        claim,
        Maybe(session),
        ttl,
        owner,
        value,
        Maybe(request),
        locks,
        wait,
        again,
    )
}

fn mode(mode: LockMode) -> u8 {
    match mode {
        LockMode::Exclusive => 0,
        LockMode::Shared => 1,
    }
}
