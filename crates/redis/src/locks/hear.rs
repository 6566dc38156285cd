//! What the store tells of what this daemon has the care of, in replies and in the mailbox.

use super::RedisLocks;
use super::call::lost;
use super::state::{Due, Hosted, Seat, State, lease_id, over};
use super::wire::{
    self, BROKEN, CLOSED, Claim, FORCED, NOT_RESTORED, News, RELEASED, Record, SUPERSEDED,
    SessionRecord, View,
};
use crate::failure::unreadable;
use std::sync::atomic::Ordering;
use trellis_core::locks::{
    AcquiredLocks, GrantedLock, LockGrant, LockMode, LockOutcome, LostReason, SessionNews, Token,
};
use trellis_core::{Error, ErrorCode, Micros, Name, Namespace, Result, Scope, Time};

/// A grant is told to a session that has at least so long to live: one at its end holds nothing any more, and its
/// stream could not tell the grant from its loss.
const LASTS: Micros = Micros::from_millis(20);

impl RedisLocks {
    /// Takes note of a message in the mailbox.
    pub(super) fn receive(&self, bytes: &[u8]) {
        let Some((namespace, news)) = wire::message(bytes) else {
            return;
        };
        if namespace.is_empty() {
            if news.iter().any(|one| matches!(one, News::Begun)) {
                self.begin();
            }
            return;
        }
        let Ok(namespace) = Namespace::new(namespace, "namespace") else {
            return;
        };
        let assured = self.is_assured(self.clock.mono());
        if !assured {
            // A daemon that has been stopped may hear of grants that are another's by now: it asks the store.
            self.doubt(&namespace);
        }
        let believed = |one: &News| assured || !matches!(one, News::Granted(..));
        self.hear(&namespace, news.into_iter().filter(believed).collect());
    }

    /// Takes note of news.
    pub(super) fn hear(&self, namespace: &Namespace, news: Vec<News>) {
        if news.is_empty() {
            return;
        }
        let now = self.clock.mono();
        let mut state = self.state.lock();
        for one in news {
            self.hear_one(&mut state, namespace, one, now);
        }
        state.tidy(namespace);
        let sooner = state.take_sooner();
        drop(state);
        if sooner {
            self.sooner.notify_one();
        }
    }

    fn hear_one(&self, state: &mut State, namespace: &Namespace, news: News, now: Time) {
        match news {
            News::Granted(claim, view) => self.hear_granted(state, namespace, (claim, view), now),
            News::Refused(claim, why) => {
                if let Some(seat) = seat(state, namespace, claim) {
                    seat.end(Err(turned_away(why)));
                }
            }
            News::TimedOut(claim, ready, position) => {
                if let Some(seat) = seat(state, namespace, claim) {
                    let retry_after = Micros(ready);
                    seat.end_with(LockOutcome::TimedOut {
                        retry_after,
                        position,
                    });
                }
            }
            News::Gone(claim) => {
                if let Some(seat) = seat(state, namespace, claim) {
                    if now >= seat.deadline {
                        seat.end(Err(unknown_end()));
                    } else {
                        state.lead_astray(namespace, claim);
                    }
                }
            }
            News::Ended(number, how, reason, actor) => {
                self.hear_ended(state, namespace, number, (how, &reason, &actor));
            }
            News::SessionOver(number, attachment, why) => {
                let space = state.spaces.get(namespace);
                let session = space.and_then(|space| space.sessions.get(&number));
                if session.is_some_and(|session| session.record.attachment == attachment) {
                    state.end_attachment(namespace, number, turned_away(why), why != CLOSED);
                }
            }
            News::Kept(number, kept) => hear_kept(state, namespace, (number, kept), now),
            News::Moved(number) => {
                state.drop_lease(namespace, number);
            }
            News::Yours((number, record, _)) => {
                // It may have been renewed until shortly before its host died.
                let end = now + Micros(record.ttl);
                state.host_lease(namespace, number, record, end);
                state.space(namespace).renewed.insert(number);
            }
            News::YourSession(number, record) => {
                let session = hosted(record, now);
                state.host_session(namespace, number, session);
                state.space(namespace).renewed.insert(number);
            }
            News::Changed(name) => {
                let space = state.spaces.get(namespace);
                let name = Name::new(name, "name").ok();
                if let Some(watched) = name.and_then(|name| space?.watches.get(&name)) {
                    watched.changes.send_replace(());
                }
            }
            News::Begun => self.begin(),
            News::Other => {}
        }
    }

    fn hear_granted(
        &self,
        state: &mut State,
        namespace: &Namespace,
        (claim, view): (Claim, View),
        now: Time,
    ) {
        if seat(state, namespace, claim).is_none() {
            // Whoever left has it taken back.
            return;
        }
        let acquired = self.host(state, namespace, view, now);
        let session = seat(state, namespace, claim).and_then(|seat| seat.session());
        let ends = session.and_then(|key| {
            let sessions = &state.spaces.get(namespace)?.sessions;
            Some(sessions.get(&key.id.number())?.deadline)
        });
        let is_at_its_end = ends.is_some_and(|end| end <= now + LASTS);
        let Some(seat) = seat(state, namespace, claim) else {
            return;
        };
        match acquired {
            Ok(acquired) if is_at_its_end => {
                seat.kept_back = Some(acquired);
                let at = ends.unwrap_or(now) + LASTS;
                state.set_due(namespace, at, Due::Grant(claim.0));
            }
            acquired => seat.end(acquired),
        }
    }

    /// Takes the care of a lease that was granted here; what its caller is told.
    pub(super) fn host(
        &self,
        state: &mut State,
        namespace: &Namespace,
        (number, record, left): View,
        now: Time,
    ) -> Result<AcquiredLocks> {
        let mut end = now + Micros(left);
        let mut grant = grant_of(number, &record, Micros(left))?;
        grant.generation = self.generation();
        for lock in &*grant.locks {
            self.store.saw_token(lock.token.get());
        }
        let space = state.space(namespace);
        if let Some(session) = space.sessions.get(&record.session) {
            end = session.deadline;
        } else if let Some(held) = space.leases.get(&number) {
            end = held.deadline;
        }
        grant.remaining = end - now;
        if self.is_here(&record.host) {
            state.host_lease(namespace, number, record, end);
        }
        let outcome = LockOutcome::Granted(grant);
        Ok(AcquiredLocks {
            outcome,
            scope: Scope::Shared,
        })
    }

    /// Whether a host is this daemon in its present life.
    pub(super) fn is_here(&self, host: &str) -> bool {
        let Some((daemon, life)) = host.rsplit_once('|') else {
            return false;
        };
        let session = self.store.session().or(self.standing());
        daemon == self.store.daemon()
            && session.is_some_and(|session| life == session.incarnation.to_string())
    }

    /// The history that grants belong to.
    pub(super) fn generation(&self) -> u64 {
        let session = self.store.session().or(self.standing());
        session.map_or(0, |session| session.generation)
    }

    fn hear_ended(
        &self,
        state: &mut State,
        namespace: &Namespace,
        number: u64,
        (how, reason, actor): (u8, &str, &str),
    ) {
        let Some(held) = state.drop_lease(namespace, number) else {
            return;
        };
        let reason = match how {
            RELEASED => None,
            FORCED => {
                self.decided.forced.fetch_add(1, Ordering::Relaxed);
                Some(LostReason::Forced {
                    reason: reason.into(),
                    actor: actor.into(),
                })
            }
            NOT_RESTORED => Some(LostReason::NotRestored),
            _ => {
                self.decided.expired.fetch_add(1, Ordering::Relaxed);
                Some(LostReason::Expired)
            }
        };
        let space = state.space(namespace);
        let session = space.sessions.get(&held.record.session);
        let feed = session.and_then(|session| session.feed.as_ref());
        if let (Some(feed), Some(reason)) = (feed, reason) {
            let lease = lease_id(number, &held.record);
            feed.tell(SessionNews::Lost { lease, reason });
        }
        state.tidy(namespace);
    }
}

/// A lease was renewed through another daemon.
fn hear_kept(state: &mut State, namespace: &Namespace, (number, kept): (u64, u64), now: Time) {
    let space = state.spaces.get_mut(namespace);
    let held = space.and_then(|space| space.leases.get_mut(&number));
    if let Some(held) = held.filter(|held| held.record.kept < kept) {
        held.record.kept = kept;
        let end = now + Micros(held.record.ttl);
        state.renew_lease(namespace, number, end);
    }
}

fn seat<'a>(state: &'a mut State, namespace: &Namespace, claim: Claim) -> Option<&'a mut Seat> {
    state.spaces.get_mut(namespace)?.seats.get_mut(&claim)
}

/// A session without a stream, as of its last renewal now.
pub(super) fn hosted(record: SessionRecord, now: Time) -> Hosted {
    Hosted {
        deadline: now + Micros(record.ttl),
        record,
        ending: false,
        leases: std::collections::BTreeSet::new(),
        feed: None,
    }
}

/// A lease as its holder is told of it; the generation is left to be filled in.
pub(super) fn grant_of(number: u64, record: &Record, remaining: Micros) -> Result<LockGrant> {
    let locks = record.locks.iter().map(|(name, mode, token)| {
        let token = i64::try_from(*token).unwrap_or(i64::MAX);
        Ok(GrantedLock {
            name: Name::new(name.clone(), "name")?,
            mode: mode_of(*mode),
            token: Token::new(token, "token")?,
        })
    });
    let locks: Result<Vec<GrantedLock>> = locks.collect();
    Ok(LockGrant {
        lease: lease_id(number, record),
        locks: locks.map_err(|error| unreadable(error.to_string()))?.into(),
        remaining,
        generation: 0,
    })
}

pub(super) fn mode_of(mode: u8) -> LockMode {
    match mode {
        0 => LockMode::Exclusive,
        _ => LockMode::Shared,
    }
}

/// Why a call of a session is turned away, and its stream ends.
fn turned_away(why: u8) -> Error {
    match why {
        SUPERSEDED => lost("another stream has attached to the session"),
        BROKEN => Error::new(ErrorCode::Cancelled, "the session's stream broke"),
        CLOSED => Error::new(ErrorCode::Cancelled, "the session was closed"),
        _ => over(),
    }
}

fn unknown_end() -> Error {
    let message = "nobody knows how the wait has ended: what it took, if it did, is given back";
    Error::new(ErrorCode::OutcomeUnknown, message)
}
