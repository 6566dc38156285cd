//! Acquiring: a decision at once, or a seat until the store tells the end.

use super::call::{Claim, Failure, failed_call};
use super::convert;
use super::failure::{Asked, failed};
use super::scripts::{ACQUIRE, LEAVE};
use super::seats::{Abandoned, End, Unreceived, Waiting};
use super::wire::{Data, Decision, QUEUED, Reply, State};
use super::{RedisLimits, wire};
use crate::CallError;
use crate::failure::{RETRY_AFTER, unavailable};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use trellis_core::limits::{AcquireRequest, Acquired, Mode, Outcome};
use trellis_core::{Error, ErrorCode, FairKey, Micros, Result};

/// A wait as long as this is as good as endless.
const LONGEST_WAIT: Duration = Duration::from_hours(24 * 366);

/// Charges, mode, TTL (-1), request, priority, dry run, ticket, fair key, weight, reservation.
type Args<'a> = (
    &'a [wire::Charge<'a>],
    u8,
    i64,
    &'a wire::Request<'a>,
    u8,
    bool,
    &'a str,
    &'a str,
    u32,
    String,
);

/// What distinguishes one acquire from another; how long its caller waits does not.
#[derive(Serialize)]
struct Body<'a>(&'a [wire::Charge<'a>], bool, i64, u8, (&'a str, u32));

/// How one attempt has ended.
#[derive(Debug)]
pub(super) enum Attempt {
    /// Now, at this time of the store.
    Decided { acquired: Acquired, at: u64 },
    /// Earlier: this is the first answer of its request id.
    Replayed(Acquired),
    /// The call waits, in this seat.
    Queued(Waiting),
    /// An equal call waits elsewhere.
    Joins,
}

impl RedisLimits {
    pub(super) async fn acquire_all(
        self: Arc<Self>,
        request: Arc<AcquireRequest>,
    ) -> Result<Acquired> {
        let started = Instant::now();
        let deadline = match request.mode {
            Mode::Try => None,
            Mode::Wait(wait) => Some(started + Duration::from(wait).min(LONGEST_WAIT)),
        };
        loop {
            // Listens before it asks: the end of a joined call may be told before the answer is read.
            let news = self.joined.notified();
            let mut attempt = self.attempt_once_declared(&request).await?;
            while let Attempt::Queued(seat) = attempt {
                attempt = self.wait(seat, deadline.unwrap_or(started)).await?;
            }
            match attempt {
                Attempt::Decided { acquired, .. } => {
                    if !request.dry_run {
                        self.decided.count(&acquired.outcome);
                    }
                    return Ok(acquired);
                }
                Attempt::Replayed(acquired) => return Ok(acquired),
                Attempt::Joins | Attempt::Queued(_) => {
                    if let Some(timed_out) = self.join(&request, news, deadline).await? {
                        return Ok(timed_out);
                    }
                }
            }
        }
    }

    /// Makes the call once. Dropped before it is answered, what it may have done is taken back.
    pub(super) async fn attempt(&self, request: &Arc<AcquireRequest>) -> Result<Attempt> {
        let Some(session) = self.store.session() else {
            return Err(unavailable("not attached", RETRY_AFTER));
        };
        let number = self.tickets.fetch_add(1, Ordering::Relaxed);
        let ticket = format!("{}-{number}", session.incarnation);
        let waits = request.mode != Mode::Try && !request.dry_run;
        let mut seat = waits.then(|| self.seats.take(ticket.clone(), number, request.clone()));
        let claim = Claim {
            session,
            request: request.clone(),
            ticket,
        };
        let reply = match self.ask_acquire(&claim).await {
            Ok(reply) => reply,
            Err(failure) => {
                let unknown = matches!(failure, Failure::Call(CallError::Unknown(_)));
                match seat {
                    // It may have been put in line: the seat is left by being dropped.
                    Some(mut seat) if unknown => seat.stands_in_line(session),
                    Some(seat) => seat.leave(),
                    None => {}
                }
                return Err(failed_call(failure));
            }
        };
        if let Reply::Done { payload, .. } = &reply
            && payload.0 == QUEUED
            && let Some(mut seat) = seat.take()
        {
            seat.stands_in_line(session);
            if let Some(now) = self.store.session()
                && !session.continues_in(&now)
            {
                self.forgotten.notify_one();
            }
            return Ok(Attempt::Queued(seat));
        }
        if let Some(seat) = seat {
            seat.leave();
        }
        self.attempted(reply, request)
    }

    fn attempted(&self, reply: Reply<Decision>, request: &AcquireRequest) -> Result<Attempt> {
        match reply {
            Reply::Done { now, payload, .. } => self.learn(request, payload, now),
            Reply::Replay {
                now,
                at,
                payload,
                until,
            } => {
                let (elapsed, until) = (now - at.min(now), u64::try_from(until).ok());
                convert::replayed(payload, elapsed, until, now).map(Attempt::Replayed)
            }
            Reply::Running => Ok(Attempt::Joins),
            Reply::Failed {
                code,
                index,
                detail,
            } => {
                let asked = Asked {
                    charges: &request.charges,
                    request_id: request.request_id.as_ref(),
                    max_buckets: self.config.machine.max_buckets,
                    ..Asked::default()
                };
                Err(failed(&code, index, &detail, asked))
            }
            Reply::Period { .. } => {
                Err(convert::unreadable("it asks for too many calendar periods"))
            }
            Reply::Recalling { .. } => Err(convert::unreadable("slices do not come back")),
        }
    }

    /// A decision of the store, which is remembered.
    fn learn(&self, request: &AcquireRequest, decision: Decision, at: u64) -> Result<Attempt> {
        let acquired = convert::acquired(decision)?;
        self.book.learn(request, &acquired, at);
        Ok(Attempt::Decided { acquired, at })
    }

    async fn ask_acquire(&self, claim: &Claim) -> std::result::Result<Reply<Decision>, Failure> {
        let request = &*claim.request;
        let charges = convert::charges(&request.charges);
        let waits = request.mode != Mode::Try;
        let ttl = ttl(request.reservation_ttl);
        let priority = request.priority as u8;
        let account = request.fair.key().map_or("", FairKey::as_str);
        let fair = (account, request.fair.weight());
        let body = Body(&charges, waits, ttl, priority, fair);
        let named = convert::request("acquire", request.request_id.as_ref(), &body);
        let args: Args<'_> = (
            &charges,
            u8::from(waits),
            ttl,
            &named,
            priority,
            request.dry_run,
            &claim.ticket,
            account,
            request.fair.weight(),
            reservation_id(),
        );
        let namespace = request.namespace.as_str();
        self.ask_for(claim, &ACQUIRE, namespace, &args).await
    }

    /// Waits for the end of a call in line. Whoever lets go of this leaves the line.
    async fn wait(&self, mut seat: Waiting, deadline: Instant) -> Result<Attempt> {
        tokio::select! {
            biased;
            end = seat.end() => self.ended(end, &seat).await,
            () = sleep_until(deadline) => self.give_up(seat).await,
        }
    }

    /// What an end means to the caller.
    async fn ended(&self, end: End, seat: &Waiting) -> Result<Attempt> {
        let request = seat.request();
        match end {
            End::Told(decision, at) => self.learn(&request, decision, at),
            End::MadeAgain(attempt) => attempt,
            // The store remembers what it was.
            End::Untold if request.request_id.is_some() => self.attempt(&request).await,
            End::Untold => Err(Error::new(
                ErrorCode::OutcomeUnknown,
                "the end of the waiting call was lost on the way from the shared store; with a request_id it \
                 could be asked for again",
            )),
        }
    }

    /// The time of a waiting call is over: it leaves the line, unless it is granted at this very moment.
    async fn give_up(&self, mut seat: Waiting) -> Result<Attempt> {
        const TIMED_OUT: u8 = 1;
        type Left = Vec<(String, bool, u8, Data, Vec<State>)>;
        let request = seat.request();
        let namespace = request.namespace.as_str();
        let args = ([(&seat.ticket, TIMED_OUT)],);
        let left = self.ask::<Left>(&LEAVE, namespace, &args).await;
        let Reply::Done {
            now, mut payload, ..
        } = left.map_err(failed_call)?
        else {
            return Err(convert::unreadable("leaving a line cannot fail"));
        };
        if let Some((_, false, outcome, data, states)) = payload.pop() {
            seat.leave();
            let acquired = convert::acquired(Decision(outcome, data, states))?;
            return Ok(Attempt::Decided { acquired, at: now });
        }
        let end = timeout(self.store.timeout(), seat.end()).await;
        self.ended(end.unwrap_or(End::Untold), &seat).await
    }
}

/// The TTL as scripts take it.
pub(super) fn ttl(ttl: Option<Micros>) -> i64 {
    ttl.map_or(-1, |ttl| i64::try_from(ttl.0).unwrap_or(i64::MAX))
}

impl RedisLimits {
    /// Takes a grant, made at a time of the store, back that its caller is not to have.
    pub(super) fn undo(&self, request: &Arc<AcquireRequest>, acquired: &Acquired, at: u64) {
        let reservation = match &acquired.outcome {
            Outcome::Granted(Some(granted)) => Some(granted.id.as_str().to_owned()),
            _ => None,
        };
        if let Some(id) = &reservation {
            self.book.forget(request.namespace.as_str(), id);
        }
        self.seats.abandon(Abandoned::Granted(Unreceived {
            request: request.clone(),
            reservation,
            at,
        }));
    }
}

/// A name that nobody can guess: whoever knows it was given it.
fn reservation_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}
