//! One call of a script, and what it is to its caller when it fails.

use super::RedisLocks;
use super::wire::{Env, News, Reply};
use crate::failure::{RETRY_AFTER, Repeat, unreadable, without_answer};
use crate::packed::{bound, pack, pack_named, span};
use crate::{Call, CallError, Heir, Script, Session};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use trellis_core::locks::{LeaseId, LostReason, SessionId};
use trellis_core::{Error, ErrorCode, Micros, Namespace, Result};

/// When a bound may leave room again.
const ROOM_AFTER: Micros = Micros::from_secs(1);

impl RedisLocks {
    /// Calls a script and takes note of what it tells besides, even when the caller is gone.
    pub(super) async fn call<P: for<'de> Deserialize<'de>>(
        &self,
        script: &'static Script,
        namespace: &Namespace,
        args: &impl Serialize,
    ) -> Result<P> {
        let heir = self.heir(namespace, |_, _| {});
        self.call_for(script, namespace, args, heir).await
    }

    /// As [`RedisLocks::call`], refused in another session.
    pub(super) async fn call_within<P: for<'de> Deserialize<'de>>(
        &self,
        session: Session,
        script: &'static Script,
        namespace: &Namespace,
        args: &impl Serialize,
    ) -> Result<P> {
        let heir = self.heir(namespace, |_, _| {});
        let call = self.prepared(script, namespace, args)?.inherited_by(heir);
        self.carry_out(namespace, call.within(session)).await
    }

    /// As [`RedisLocks::call`], with an heir made by [`RedisLocks::heir`].
    pub(super) async fn call_for<P: for<'de> Deserialize<'de>>(
        &self,
        script: &'static Script,
        namespace: &Namespace,
        args: &impl Serialize,
        heir: Heir,
    ) -> Result<P> {
        self.settled().await?;
        let call = self.prepared(script, namespace, args)?.inherited_by(heir);
        self.carry_out(namespace, call).await
    }

    async fn carry_out<P: for<'de> Deserialize<'de>>(
        &self,
        namespace: &Namespace,
        call: Call,
    ) -> Result<P> {
        let answer = self.store.call(call).await.map_err(|error| {
            if matches!(error, CallError::Unknown(_)) {
                // It may have told something.
                self.doubt(namespace);
            }
            without_answer(&error, RETRY_AFTER, Repeat::SameRequestId)
        })?;
        let (payload, news) = unpack(&answer)?;
        self.hear(namespace, news);
        Ok(payload)
    }

    /// Who is given the answer when the caller is gone: what it tells is taken note of, then `then` is run, with
    /// whether the call may have been carried out.
    pub(super) fn heir(
        &self,
        namespace: &Namespace,
        then: impl Fn(&Self, bool) + Send + Sync + 'static,
    ) -> Heir {
        let (me, namespace) = (self.me.clone(), namespace.clone());
        Heir::new(move |answer| {
            let Some(locks) = me.upgrade() else {
                return;
            };
            let done = match answer {
                Ok(answer) => match unpack::<IgnoredAny>(&answer) {
                    Ok((_, news)) => {
                        locks.hear(&namespace, news);
                        true
                    }
                    Err(_) => false,
                },
                Err(CallError::Unknown(_)) => {
                    locks.doubt(&namespace);
                    true
                }
                Err(CallError::Refused(_) | CallError::Away(_)) => false,
            };
            then(&locks, done);
        })
    }

    fn prepared(
        &self,
        script: &'static Script,
        namespace: &Namespace,
        args: &impl Serialize,
    ) -> Result<Call> {
        let keys = self.store.keys();
        Ok(Call::new(script)
            .key(keys.of("locks", &[namespace.as_str()]))
            .key(self.spaces_key())
            .key(self.grace_key())
            .bytes(pack_named(&self.env(namespace.as_str()))?)
            .bytes(pack(args)?))
    }

    pub(super) fn spaces_key(&self) -> String {
        self.store.keys().of("locks-namespaces", &[])
    }

    pub(super) fn grace_key(&self) -> String {
        self.store.keys().of("locks-grace", &[])
    }

    fn env<'a>(&'a self, namespace: &'a str) -> Env<'a> {
        let machine = &self.config.machine;
        Env {
            max_locks: bound(machine.max_locks),
            max_leases: bound(machine.max_leases),
            max_waiters: bound(machine.max_waiters),
            max_watchers: bound(self.config.max_watchers),
            max_request_ids: bound(machine.max_request_ids),
            window: span(machine.request_window),
            max_namespaces: bound(self.config.max_namespaces),
            namespace,
            base: &self.base,
            mailbox: &self.mailbox,
            floor: self.store.highest_token(),
            lost: u8::from(self.store.lost_before().is_some()),
        }
    }
}

/// Payload and news of an answer of the store.
fn unpack<P: for<'de> Deserialize<'de>>(answer: &crate::Reply) -> Result<(P, Vec<News>)> {
    let crate::Reply::Bytes(bytes) = answer else {
        return Err(unreadable("it is no text"));
    };
    match rmp_serde::from_slice(bytes).map_err(|error| unreadable(error.to_string()))? {
        Reply::Ok(payload, news) => Ok((payload, news)),
        Reply::Error(code, number, text) => Err(failed(&code, number, &text)),
    }
}

/// The error of a lease or session that is not its holder's any more.
pub(super) fn lost(why: &str) -> Error {
    Error::new(ErrorCode::LeaseLost, why.to_owned())
}

/// The error that a script has told: the same code and words as from the machine in memory.
fn failed(code: &str, number: u64, text: &str) -> Error {
    let full = |code, message: String| Error::new(code, message).retry_after(ROOM_AFTER);
    match code {
        "TOO_MANY_NAMESPACES" => Error::new(
            ErrorCode::TooManyNamespaces,
            format!("{number} namespaces have locks; raise locks.max_namespaces"),
        ),
        "TOO_MANY_LOCKS" => {
            let message = format!("{number} locks are in use in this namespace");
            full(ErrorCode::TooManyLocks, message)
        }
        "TOO_MANY_LEASES" => {
            let message =
                format!("{number} leases, sessions and waiting calls are in this namespace");
            full(ErrorCode::TooManyLeases, message)
        }
        "TOO_MANY_WAITERS" => {
            let message = format!("{number} calls wait in this namespace");
            full(ErrorCode::TooManyWaiters, message)
        }
        "TOO_MANY_WATCHES" => {
            let message = format!("{number} locks are watched in this namespace");
            full(ErrorCode::TooManyStreams, message)
        }
        "TOO_MANY_REQUEST_IDS" => {
            let message = format!("{text} request ids are remembered");
            Error::new(ErrorCode::TooManyRequestIds, message).retry_after(Micros(number))
        }
        "REQUEST_ID_REUSED" => Error::new(
            ErrorCode::RequestIdReused,
            format!("request id {text:?} was used for another request; send a new one"),
        ),
        "LEASE_NOT_FOUND" => LeaseId::unknown(),
        "LEASE_RELEASED" => lost("it was released"),
        "LEASE_LOST" if number == u64::from(super::wire::FORCED) => {
            lost(&format!("ended by {text}"))
        }
        "LEASE_LOST" if number == u64::from(super::wire::NOT_RESTORED) => {
            lost(&LostReason::NotRestored.message())
        }
        "LEASE_LOST" => lost("it was not kept alive in time"),
        "SESSION_CLOSED" => lost("the session was closed"),
        "SUPERSEDED" => lost("another stream has attached to the session"),
        "BROKEN" => lost("the session's stream broke"),
        "OF_SESSION" => Error::invalid("lease_id", "is of a session, which keeps it alive"),
        "TOKEN_MISMATCH" => {
            let held = match number {
                0 => "is free".to_owned(),
                token => format!("is held under token {token}"),
            };
            let message = format!("{text:?} {held}: nothing was done");
            Error::new(ErrorCode::TokenMismatch, message)
        }
        other => unreadable(format!("it fails with {other}")),
    }
}

/// The error of a session, where that of a lease speaks of one.
pub(super) fn of_session(error: Error) -> Error {
    match error.code {
        ErrorCode::LeaseNotFound => SessionId::unknown(),
        _ => error,
    }
}
