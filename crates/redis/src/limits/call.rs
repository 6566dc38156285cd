//! One call of a script.

use super::RedisLimits;
use super::convert::{unit_of, unreadable};
use super::failure::{Asked, failed};
use super::wire::{Env, Look, Maybe, Reply};
use crate::failure::{RETRY_AFTER, Repeat, without_answer};
use crate::packed::{MAX_WHOLE, bound};
use crate::{Call, CallError, Script, Session, Withheld};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use trellis_core::limits::{AcquireRequest, CalendarSpec};
use trellis_core::{Error, Namespace, Result, Time};

/// How a call has ended, errors apart.
#[derive(Debug)]
pub(super) enum Done<P> {
    /// Now, at this time of the store.
    Answered { now: u64, payload: P },
    /// Earlier: the first answer of the request id.
    Replayed {
        now: u64,
        at: u64,
        payload: P,
        until: Option<u64>,
    },
    /// The request id's first call still waits.
    Running,
}

impl<P> Done<P> {
    /// The payload, of a call that cannot be running elsewhere.
    pub fn payload(self) -> Result<P> {
        match self {
            Self::Answered { payload, .. } | Self::Replayed { payload, .. } => Ok(payload),
            Self::Running => Err(unreadable("only an acquire can be running")),
        }
    }

    /// The payload and the store's time.
    pub fn payload_at(self) -> Result<(P, u64)> {
        match self {
            Self::Answered { payload, now } | Self::Replayed { payload, now, .. } => {
                Ok((payload, now))
            }
            Self::Running => Err(unreadable("only an acquire can be running")),
        }
    }
}

/// How often a call is made while slices come back.
const MAX_RECALLS: usize = 64;

/// How long after their time slices are certainly closed.
const BEYOND: Duration = Duration::from_millis(1);
/// The acquire that a call is made for.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// It is refused in any other.
    pub session: Session,
    pub request: Arc<AcquireRequest>,
    pub ticket: String,
}

/// Calendars whose periods one call may ask for.
const MAX_PERIODS: usize = 64;

impl RedisLimits {
    /// Calls a script with `args` behind the environment, once or, where it asks for calendar periods, again.
    pub(super) async fn call<P: for<'de> Deserialize<'de>>(
        &self,
        script: &'static Script,
        namespace: &Namespace,
        args: &impl Serialize,
        asked: Asked<'_>,
    ) -> Result<Done<P>> {
        let reply = self.ask(script, namespace.as_str(), args).await;
        match reply.map_err(failed_call)? {
            Reply::Done { now, payload, .. } => Ok(Done::Answered { now, payload }),
            Reply::Replay {
                now,
                at,
                payload,
                until,
            } => Ok(Done::Replayed {
                now,
                at,
                payload,
                until: u64::try_from(until).ok(),
            }),
            Reply::Running => Ok(Done::Running),
            Reply::Failed {
                code,
                index,
                detail,
                ..
            } => {
                let max_buckets = self.config.machine.max_buckets;
                Err(failed(
                    &code,
                    index,
                    &detail,
                    Asked {
                        max_buckets,
                        ..asked
                    },
                ))
            }
            Reply::Period { .. } => Err(unreadable("it asks for too many calendar periods")),
            Reply::Recalling { .. } => Err(unreadable("slices do not come back")),
        }
    }

    /// As [`RedisLimits::call`]; what the reply tells besides is taken note of, even when the caller is gone.
    pub(super) async fn ask<P: for<'de> Deserialize<'de>>(
        &self,
        script: &'static Script,
        namespace: &str,
        args: &impl Serialize,
    ) -> std::result::Result<Reply<P>, Failure> {
        let heir = self.heir(namespace, None);
        let prepare = |call: Call| call.inherited_by(heir.clone());
        self.ask_prepared(script, namespace, args, prepare).await
    }

    /// As [`RedisLimits::ask`], refused outside of a session.
    pub(super) async fn ask_within<P: for<'de> Deserialize<'de>>(
        &self,
        session: Session,
        script: &'static Script,
        namespace: &str,
        args: &impl Serialize,
    ) -> std::result::Result<Reply<P>, Failure> {
        let heir = self.heir(namespace, None);
        let prepare = |call: Call| call.within(session).inherited_by(heir.clone());
        self.ask_prepared(script, namespace, args, prepare).await
    }

    /// As [`RedisLimits::ask_within`] for an acquire: what it does is taken back when the caller is gone.
    pub(super) async fn ask_for<P: for<'de> Deserialize<'de>>(
        &self,
        claim: &Claim,
        script: &'static Script,
        namespace: &str,
        args: &impl Serialize,
    ) -> std::result::Result<Reply<P>, Failure> {
        let heir = self.heir(namespace, Some(claim.clone()));
        let prepare = |call: Call| call.within(claim.session).inherited_by(heir.clone());
        self.ask_prepared(script, namespace, args, prepare).await
    }

    async fn ask_prepared<P: for<'de> Deserialize<'de>>(
        &self,
        script: &'static Script,
        namespace: &str,
        args: &impl Serialize,
        prepare: impl Fn(Call) -> Call,
    ) -> std::result::Result<Reply<P>, Failure> {
        self.told_again().await?;
        self.ask_once_told(script, namespace, args, prepare).await
    }

    /// Asks a store that needs not be told of what it may have lost.
    pub(super) async fn ask_once_told<P: for<'de> Deserialize<'de>>(
        &self,
        script: &'static Script,
        namespace: &str,
        args: &impl Serialize,
        prepare: impl Fn(Call) -> Call,
    ) -> std::result::Result<Reply<P>, Failure> {
        let keys = self.store.keys();
        let args = pack(args)?;
        let mut periods = Vec::new();
        let mut recalls = 0;
        loop {
            // Begun before the call: what is told while it is answered is not missed.
            let returned = self.returned.notified();
            let env = pack(&self.env(namespace, &periods))?;
            let call = Call::new(script)
                .key(keys.of("limits", &[namespace]))
                .key(keys.of("limits-namespaces", &[]))
                .bytes(env)
                .bytes(args.clone());
            let answer = self.store.call(prepare(call)).await;
            if let Err(error) = &answer {
                self.note_failure(namespace, error);
            }
            let mut reply: Reply<P> = unpack(&answer?)?;
            match &mut reply {
                Reply::Period { now, unit, zone } if periods.len() < MAX_PERIODS => {
                    periods.push(period(*unit, zone, *now)?);
                    continue;
                }
                Reply::Recalling { now, until } if recalls < MAX_RECALLS => {
                    recalls += 1;
                    let wait = Duration::from_micros(until.saturating_sub(*now)) + BEYOND;
                    let _ = tokio::time::timeout(wait, returned).await;
                    continue;
                }
                _ => {}
            }
            self.take_note(namespace, &mut reply);
            return Ok(reply);
        }
    }

    /// Hands on what a reply tells besides its payload.
    pub(super) fn take_note<P>(&self, namespace: &str, reply: &mut Reply<P>) {
        if let Reply::Done {
            now, ended, looks, ..
        } = reply
        {
            for one in ended.drain(..) {
                self.seats.told(one, *now);
            }
            self.note_looks(namespace, std::mem::take(looks), *now);
        }
    }

    /// A call without an answer may have ended waiting calls, and told when to look: that is to be found out.
    pub(super) fn note_failure(&self, namespace: &str, error: &CallError) {
        if matches!(error, CallError::Unknown(_)) && self.seats.holds(namespace) {
            self.doubted.lock().insert(namespace.to_owned());
            self.sooner.notify_one();
        }
    }

    /// Takes note of when to look, told at a time of the store.
    pub(super) fn note_looks(&self, namespace: &str, told: Vec<Look>, store_now: u64) {
        if told.is_empty() {
            return;
        }
        let mut looks = self.looks.lock();
        for Look(bucket, at) in told {
            let at = self.local_time(at, store_now);
            looks.set(namespace, bucket, at, store_now);
        }
        drop(looks);
        self.sooner.notify_one();
    }

    fn env<'a>(&'a self, namespace: &'a str, periods: &'a [(u8, String, u64, u64)]) -> Env<'a> {
        let machine = &self.config.machine;
        Env {
            max_limits: bound(machine.max_limits),
            max_buckets: bound(machine.max_buckets),
            max_waiters: bound(machine.max_waiters),
            max_reservations: bound(machine.max_reservations),
            max_request_ids: bound(machine.max_request_ids),
            hold_after: machine.hold_after.0,
            request_window: machine.request_window.0,
            settle_window: machine.settle_window.0,
            default_ttl: machine.default_reservation_ttl.0,
            mailbox: &self.mailbox,
            withheld: Maybe(withheld(&self.membership.withheld())),
            periods,
            max_namespaces: bound(self.config.max_namespaces),
            namespace,
            lost: Maybe(self.store.lost_before()),
            after_loss: self.config.after_loss as u8,
            settle: self.store.death_after().0,
        }
    }
}

/// Why there is no reply.
#[derive(Debug)]
pub(super) enum Failure {
    Call(CallError),
    Unreadable(String),
}

/// What a call without a reply is to its caller.
pub(super) fn failed_call(failure: Failure) -> Error {
    match failure {
        Failure::Call(error) => without_answer(&error, RETRY_AFTER, Repeat::SameRequestId),
        Failure::Unreadable(what) => unreadable(what),
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

/// Spans in which shares are withheld, as scripts take them; `None` when there are none.
fn withheld(spans: &[Withheld]) -> Option<Vec<Vec<u64>>> {
    let one = |span: &Withheld| {
        let (part, of) = span.rest();
        let shares = span
            .shares
            .iter()
            .flat_map(|(index, count)| [*index, *count]);
        [span.from, span.til, part, of]
            .into_iter()
            .chain(shares)
            .collect()
    };
    (!spans.is_empty()).then(|| spans.iter().map(one).collect())
}

/// The calendar period that holds a time of the store.
fn period(unit: u8, zone: &str, now: u64) -> std::result::Result<(u8, String, u64, u64), Failure> {
    let calendar = unit_of(unit).and_then(|unit| CalendarSpec::new(1, unit, zone));
    let calendar = calendar.map_err(|error| Failure::Unreadable(error.message))?;
    let (start, end) = calendar.period_at(Time(now));
    Ok((unit, zone.to_owned(), start.0, end.0.min(MAX_WHOLE)))
}

/// The reply in an answer of the store.
pub(super) fn unpack<P: for<'de> Deserialize<'de>>(
    answer: &crate::Reply,
) -> std::result::Result<Reply<P>, Failure> {
    let crate::Reply::Bytes(bytes) = answer else {
        return Err(Failure::Unreadable("it is no msgpack".to_owned()));
    };
    rmp_serde::from_slice(bytes).map_err(|error| Failure::Unreadable(error.to_string()))
}

fn pack(value: &impl Serialize) -> std::result::Result<Bytes, Failure> {
    let bytes = rmp_serde::to_vec(value);
    bytes
        .map(Bytes::from)
        .map_err(|error| Failure::Unreadable(error.to_string()))
}
