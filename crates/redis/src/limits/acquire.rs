//! Acquiring: a decision at once, or a seat until the store tells the end.

use super::call::{Failure, RETRY_AFTER, failed_call};
use super::convert;
use super::failure::{Asked, failed, unavailable};
use super::scripts::{ACQUIRE, LEAVE};
use super::seats::Waiting;
use super::wire::{Data, Decision, QUEUED, Reply, State};
use super::{RedisLimits, wire};
use crate::Session;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use trellis_core::limits::{AcquireRequest, Acquired, Mode};
use trellis_core::{Error, ErrorCode, FairKey, Micros, Result};

/// A wait as long as this is as good as endless.
const LONGEST_WAIT: Duration = Duration::from_hours(24 * 366);

/// How often a joined call is looked at when nobody tells that it has ended.
const JOIN_INTERVAL: Duration = Duration::from_secs(1);

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
enum Attempt {
    Decided(Acquired),
    /// The call waits, under this seat, in this session.
    Queued(Waiting, Session),
    /// An equal call waits elsewhere.
    Joins,
}

impl RedisLimits {
    pub(super) async fn acquire_all(self: Arc<Self>, request: AcquireRequest) -> Result<Acquired> {
        let request = Arc::new(request);
        let started = Instant::now();
        let deadline = match request.mode {
            Mode::Try => None,
            Mode::Wait(wait) => Some(started + Duration::from(wait).min(LONGEST_WAIT)),
        };
        loop {
            match self.attempt(&request).await? {
                Attempt::Decided(acquired) => {
                    if !request.dry_run {
                        self.decided.count(&acquired.outcome);
                    }
                    return Ok(acquired);
                }
                Attempt::Queued(seat, session) => {
                    let deadline = deadline.unwrap_or(started);
                    if let Some(acquired) = self.wait(seat, session, deadline).await? {
                        self.decided.count(&acquired.outcome);
                        return Ok(acquired);
                    }
                }
                Attempt::Joins => self.join(deadline).await?,
            }
        }
    }

    /// Makes the call once.
    async fn attempt(&self, request: &Arc<AcquireRequest>) -> Result<Attempt> {
        let Some(session) = self.store.session() else {
            return Err(unavailable("not attached", RETRY_AFTER));
        };
        let number = self.tickets.fetch_add(1, Ordering::Relaxed);
        let ticket = format!("{}-{number}", session.incarnation);
        let waits = request.mode != Mode::Try && !request.dry_run;
        let seat = waits.then(|| self.seats.take(ticket.clone(), request.clone()));
        let reply = match self.ask_acquire(request, &ticket, session).await {
            Ok(reply) => reply,
            // What may have been carried out is taken back: the seat is dropped.
            Err(failure) => return Err(failed_call(failure)),
        };
        if let Reply::Done { payload, .. } = &reply
            && payload.0 == QUEUED
            && let Some(seat) = seat
        {
            return Ok(Attempt::Queued(seat, session));
        }
        if let Some(seat) = seat {
            seat.leave();
        }
        match reply {
            Reply::Done { payload, .. } => convert::acquired(payload).map(Attempt::Decided),
            Reply::Replay {
                now,
                at,
                payload,
                until,
            } => {
                let (elapsed, until) = (now - at.min(now), u64::try_from(until).ok());
                convert::replayed(payload, elapsed, until, now).map(Attempt::Decided)
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
        }
    }

    async fn ask_acquire(
        &self,
        request: &AcquireRequest,
        ticket: &str,
        session: Session,
    ) -> std::result::Result<Reply<Decision>, Failure> {
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
            ticket,
            account,
            request.fair.weight(),
            reservation_id(),
        );
        let namespace = request.namespace.as_str();
        self.ask(&ACQUIRE, namespace, &args, Some(session)).await
    }

    /// Waits for the end that the store tells; `None` when the store has forgotten the call, which is to be
    /// made again.
    async fn wait(
        &self,
        mut seat: Waiting,
        session: Session,
        deadline: Instant,
    ) -> Result<Option<Acquired>> {
        let mut sessions = self.store.sessions();
        loop {
            tokio::select! {
                biased;
                acquired = seat.end() => return acquired.map(Some),
                () = sleep_until(deadline) => return self.give_up(seat).await.map(Some),
                changed = sessions.changed() => {
                    let now = *sessions.borrow_and_update();
                    let over = now.is_some_and(|now| !session.continues_in(&now));
                    if over || changed.is_err() {
                        seat.leave();
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// The time of a waiting call is over: it leaves the line, unless it is granted at this very moment.
    async fn give_up(&self, mut seat: Waiting) -> Result<Acquired> {
        const TIMED_OUT: u8 = 1;
        type Left = Vec<(String, bool, u8, Data, Vec<State>)>;
        let namespace = seat.namespace().to_owned();
        let args = ([(&seat.ticket, TIMED_OUT)],);
        match self.ask::<Left>(&LEAVE, &namespace, &args, None).await {
            Ok(Reply::Done { mut payload, .. }) => match payload.pop() {
                Some((_, false, outcome, data, states)) => {
                    seat.leave();
                    convert::acquired(Decision(outcome, data, states))
                }
                _ => match timeout(self.store.timeout(), seat.end()).await {
                    Ok(acquired) => acquired,
                    Err(_) => Err(Error::new(
                        ErrorCode::OutcomeUnknown,
                        "the end of the waiting call was not told; a repeat with the same request_id is safe",
                    )),
                },
            },
            Ok(_) => Err(convert::unreadable("leaving a line cannot fail")),
            Err(failure) => Err(failed_call(failure)),
        }
    }

    /// Waits until an equal call that waits elsewhere may have ended.
    async fn join(&self, deadline: Option<Instant>) -> Result<()> {
        let news = self.joined.notified();
        let latest = Instant::now() + JOIN_INTERVAL;
        let until = deadline.map_or(latest, |deadline| deadline.min(latest));
        let _ = tokio::time::timeout_at(until, news).await;
        match deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Error::new(
                ErrorCode::TooManyWaiters,
                "the first call with this request id still waits; ask again for its answer",
            )
            .retry_after(Micros::from_millis(100))),
            _ => Ok(()),
        }
    }
}

/// The TTL as scripts take it.
pub(super) fn ttl(ttl: Option<Micros>) -> i64 {
    ttl.map_or(-1, |ttl| i64::try_from(ttl.0).unwrap_or(i64::MAX))
}

/// A name that nobody can guess: whoever knows it was given it.
fn reservation_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}
