//! Sessions: opened and attached through this daemon, which times them from then on.

use super::RedisLocks;
use super::call::of_session;
use super::hear::{grant_of, hosted};
use super::scripts::{OPEN, SESSION};
use super::state::Feed;
use super::wire::{CALLER_GONE, Claim, Opened, View};
use crate::packed::span;
use async_trait::async_trait;
use std::sync::Arc;
use trellis_core::locks::{
    HeldLease, OnBreak, OpenSession, SessionFeed, SessionId, SessionKey, SessionNews, SessionState,
    SharedLocks,
};
use trellis_core::{Micros, Namespace, RequestId, Result, Scope};

const KEEP: u8 = 0;
const CLOSE: u8 = 1;
const BREAK: u8 = 2;
/// A session was not kept alive in time.
pub(super) const END: u8 = 3;

/// What a stream of a session is told.
struct RedisFeed(Arc<Feed>);

#[async_trait]
impl SessionFeed for RedisFeed {
    async fn next(&mut self) -> SessionNews {
        self.0.next().await
    }
}

/// What `session_op.lua` is given.
pub(super) type SessionArgs = (u8, u64, Claim, u64, u64);

/// `kept` counts for ending it only.
pub(super) fn session_args(what: u8, key: SessionKey, kept: u64) -> SessionArgs {
    let claim = Claim(key.id.secret());
    (what, key.id.number(), claim, key.attachment, kept)
}

impl RedisLocks {
    pub(super) async fn open_new(
        &self,
        open: OpenSession,
    ) -> Result<(SessionState, Box<dyn SessionFeed>)> {
        let claim = Claim(rand::random());
        let namespace = &open.namespace;
        let opening = Opening::new(self, namespace, claim);
        let on_break = u8::from(open.on_break == OnBreak::Release);
        let args = (claim, span(open.ttl), &*open.owner, on_break);
        // A session that nobody received is closed.
        let heir = {
            let namespace = namespace.clone();
            self.heir(&open.namespace, move |locks, done| {
                if done {
                    locks.let_go(&namespace, claim, CALLER_GONE);
                }
            })
        };
        let opened = self
            .call_for::<Opened>(&OPEN, namespace, &args, heir)
            .await
            .inspect_err(|error| {
                if error.code == trellis_core::ErrorCode::OutcomeUnknown {
                    self.let_go(namespace, claim, CALLER_GONE);
                }
            });
        let state = self.opened(namespace, opened?);
        drop(opening);
        state
    }

    pub(super) async fn attach_to(
        &self,
        namespace: &Namespace,
        session: SessionId,
    ) -> Result<(SessionState, Box<dyn SessionFeed>)> {
        let args = (Claim(session.secret()), session.number());
        let opened = self.call(&OPEN, namespace, &args).await;
        self.opened(namespace, opened.map_err(of_session)?)
    }

    /// Takes the care of a session with a stream.
    fn opened(
        &self,
        namespace: &Namespace,
        (number, record, left, leases): Opened,
    ) -> Result<(SessionState, Box<dyn SessionFeed>)> {
        let now = self.clock.mono();
        let feed = Arc::new(Feed::default());
        let mut session = hosted(record, now);
        session.feed = Some(feed.clone());
        let key = session.key(number);
        let ttl = Micros(session.record.ttl);
        let held: Result<Vec<HeldLease>> = leases
            .iter()
            .map(|(number, record, _)| self.held(*number, record, Micros(left)))
            .collect();
        let held = held?;
        let mut state = self.state.lock();
        state.host_session(namespace, number, session);
        for (number, record, _) in leases {
            state.host_lease(namespace, number, record, now);
        }
        drop(state);
        self.sooner.notify_one();
        let state = SessionState {
            key,
            ttl,
            remaining: Micros(left),
            held,
            generation: self.generation(),
            scope: Scope::Shared,
        };
        Ok((state, Box::new(RedisFeed(feed))))
    }

    fn held(
        &self,
        number: u64,
        record: &super::wire::Record,
        remaining: Micros,
    ) -> Result<HeldLease> {
        let mut grant = grant_of(number, record, remaining)?;
        grant.generation = self.generation();
        let id = record.request.0.as_ref();
        let request_id = id.map(|(_, id, _)| RequestId::new(id.clone(), "request_id"));
        Ok(HeldLease {
            grant,
            request_id: request_id.transpose()?,
        })
    }

    /// Renews a session, from memory where that is certain to be true.
    pub(super) async fn keep(&self, namespace: &Namespace, key: SessionKey) -> Result<Micros> {
        let now = self.clock.mono();
        if self.is_assured(now)
            && let Some(ttl) = self.keep_hosted(namespace, key, now)
        {
            return Ok(ttl);
        }
        let args = session_args(KEEP, key, 0);
        let (kept, leases): (u64, Vec<View>) = self
            .call(&SESSION, namespace, &args)
            .await
            .map_err(of_session)?;
        let now = self.clock.mono();
        let mut state = self.state.lock();
        let number = key.id.number();
        let sessions = &mut state.space(namespace).sessions;
        let session = sessions.get_mut(&number).map(|session| {
            session.record.kept = kept;
            Micros(session.record.ttl)
        });
        let Some(ttl) = session else {
            // It has ended here since, or is another's by the time that the answer came.
            state.tidy(namespace);
            drop(state);
            self.doubt(namespace);
            return Err(super::state::over());
        };
        for (lease, record, _) in leases {
            state.host_lease(namespace, lease, record, now);
        }
        state.renew_session(namespace, number, now + ttl);
        drop(state);
        self.sooner.notify_one();
        Ok(ttl)
    }

    fn keep_hosted(
        &self,
        namespace: &Namespace,
        key: SessionKey,
        now: trellis_core::Time,
    ) -> Option<Micros> {
        let number = key.id.number();
        let mut state = self.state.lock();
        let session = state.spaces.get(namespace)?.sessions.get(&number)?;
        let stands = session.key(number) == key && session.record.attached == 1;
        if !stands || session.ending || now >= session.deadline {
            return None;
        }
        let ttl = Micros(session.record.ttl);
        state.renew_session(namespace, number, now + ttl);
        state.space(namespace).renewed.insert(number);
        Some(ttl)
    }

    pub(super) async fn close(&self, namespace: &Namespace, key: SessionKey) -> Result<usize> {
        let args = session_args(CLOSE, key, 0);
        let known = self.session_of(namespace, key.id);
        let closed = self.call(&SESSION, namespace, &args).await;
        let closed = closed.map_err(of_session)?;
        if known.is_some_and(|(_, leases)| leases.len() > closed) {
            // What it had is in the store still, if somebody has taken it out of the session by hand.
            self.doubt(namespace);
        }
        Ok(closed)
    }

    /// A stream has broken. What the store cannot be told ends by the session's deadline.
    pub(super) fn broken(&self, namespace: &Namespace, key: SessionKey) {
        let number = key.id.number();
        let mut state = self.state.lock();
        let space = state.spaces.get_mut(namespace);
        let session = space.and_then(|space| space.sessions.get_mut(&number));
        let Some(session) = session.filter(|session| session.key(number) == key) else {
            return;
        };
        session.record.attached = 0;
        session.feed = None;
        drop(state);
        let broken = (namespace.clone(), session_args(BREAK, key, 0));
        self.breaking.lock().push(broken);
        self.sooner.notify_one();
    }

    /// Tells the store of streams that have broken.
    pub(super) async fn tell_broken(&self) {
        let broken = std::mem::take(&mut *self.breaking.lock());
        for (namespace, args) in broken {
            if let Err(error) = self.call::<u64>(&SESSION, &namespace, &args).await {
                tracing::debug!(%error, "the store could not be told of a broken stream");
            }
        }
    }
}

/// A session that is being opened: not one that nobody knows.
struct Opening<'a> {
    locks: &'a RedisLocks,
    namespace: &'a Namespace,
    claim: Claim,
}

impl<'a> Opening<'a> {
    fn new(locks: &'a RedisLocks, namespace: &'a Namespace, claim: Claim) -> Self {
        let mut state = locks.state.lock();
        state.space(namespace).opening.insert(claim.0);
        Self {
            locks,
            namespace,
            claim,
        }
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let mut state = self.locks.state.lock();
        state.space(self.namespace).opening.remove(&self.claim.0);
        state.tidy(self.namespace);
    }
}
