//! Sessions over an outage: where each stands, in the store or in this daemon's own locks.
//!
//! Its caller knows a session by one id and renews all of it by one message, so all that it holds must be sure when that
//! message is acknowledged. While the store is there that is the store's session; for what is granted without the store
//! it has another one here. Once the store cannot acknowledge renewals any more, the session stands here alone: what it
//! held in the store is told to be lost first. When the store is back it gets another session there, and what it holds is
//! taken there.

use super::carried::{Carried, Place};
use super::feed::{FallbackFeed, Told, ToldAside};
use super::{FallbackLocks, Stands, is_away, is_of_the_store};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::watch;
use trellis_core::locks::{
    Holder, LostReason, OpenSession, SessionFeed, SessionId, SessionKey, SessionNews, SessionState,
    SharedLocks,
};
use trellis_core::{Error, ErrorCode, Micros, Namespace, Result, Scope};

type Side = Option<(SessionState, Box<dyn SessionFeed>)>;

impl FallbackLocks {
    /// Opens a session in the store; here while that is away, since it holds nothing yet.
    pub(super) async fn open(
        self: &Arc<Self>,
        open: OpenSession,
    ) -> Result<(SessionState, Box<dyn SessionFeed>)> {
        if !self.switch.is_open() {
            let primary: Arc<dyn SharedLocks> = Arc::clone(&self.primary);
            let opened = primary.open_session(open.clone()).await;
            if !is_away(&opened) {
                return self.attached(open, None, (Some(opened?), None));
            }
            self.trip();
        }
        let opened = Arc::clone(&self.local).open_session(open.clone()).await?;
        self.attached(open, None, (None, Some(opened)))
    }

    /// Attaches to a session wherever it stands.
    pub(super) async fn attach(
        self: &Arc<Self>,
        namespace: Namespace,
        session: SessionId,
    ) -> Result<(SessionState, Box<dyn SessionFeed>)> {
        let carried = self.sessions.find(&namespace, session);
        let (there, here) = match &carried {
            Some(carried) => {
                let place = carried.place.lock();
                (place.there.map(|key| key.id), place.here.map(|key| key.id))
            }
            None => (Some(session), None),
        };
        let primary: Arc<dyn SharedLocks> = Arc::clone(&self.primary);
        let there = match there {
            Some(there) => Some(primary.attach_session(namespace.clone(), there).await?),
            None => None,
        };
        let here = match here {
            Some(here) => {
                let local = Arc::clone(&self.local);
                let attached = local.attach_session(namespace.clone(), here).await;
                // Of a session that stands in the store, what was here may have ended.
                Some(attached).filter(|it| it.is_ok() || there.is_none())
            }
            None => None,
        };
        let here = here.transpose()?;
        let open = match (&carried, &there) {
            (Some(carried), _) => carried.place.lock().open.clone(),
            (None, Some((state, _))) => self.how_opened(&namespace, state),
            (None, None) => return Err(SessionId::unknown()),
        };
        self.attached(open, carried, (there, here))
    }

    fn how_opened(&self, namespace: &Namespace, state: &SessionState) -> OpenSession {
        let known = self.primary.session_of(namespace, state.key.id);
        known.map_or_else(
            || OpenSession {
                namespace: namespace.clone(),
                ttl: state.ttl,
                owner: "".into(),
                on_break: trellis_core::locks::OnBreak::Keep,
            },
            |(open, _)| open,
        )
    }

    /// Notes that a stream is attached to a session, and what it is told of it.
    fn attached(
        self: &Arc<Self>,
        open: OpenSession,
        carried: Option<Arc<Carried>>,
        (there, here): (Side, Side),
    ) -> Result<(SessionState, Box<dyn SessionFeed>)> {
        let namespace = open.namespace.clone();
        let ends = self.clock.mono() + open.ttl;
        let (mut state, feeds, keys) = self.merged(&namespace, (there, here))?;
        let aside = Arc::new(ToldAside::default());
        let place = |attachment| Place {
            attachment,
            open,
            there: keys.0,
            here: keys.1,
            aside: Arc::clone(&aside),
            has_stream: true,
            ends,
        };
        if let Some(carried) = carried {
            let mut former = carried.place.lock();
            let attachment = state.key.attachment.max(former.attachment + 1);
            state.key = SessionKey {
                id: carried.id,
                attachment,
            };
            *former = place(attachment);
            drop(former);
            carried.moved.send_replace(());
        } else {
            let carried = Carried {
                id: state.key.id,
                place: Mutex::new(place(state.key.attachment)),
                moved: watch::Sender::new(()),
            };
            self.sessions.insert(namespace.clone(), Arc::new(carried));
        }
        let feed = FallbackFeed {
            locks: Arc::clone(self),
            namespace,
            aside,
            there: feeds.0,
            here: feeds.1,
        };
        Ok((state, Box::new(feed)))
    }

    /// What a session is in all, by the ids that its caller knows, except its own.
    #[expect(clippy::type_complexity, reason = "both sides of each part")]
    fn merged(
        &self,
        namespace: &Namespace,
        (there, here): (Side, Side),
    ) -> Result<(
        SessionState,
        (Option<Box<dyn SessionFeed>>, Option<Box<dyn SessionFeed>>),
        (Option<SessionKey>, Option<SessionKey>),
    )> {
        let (there, shared_feed) = there.unzip();
        let (here, own_feed) = here.unzip();
        let keys = (
            there.as_ref().map(|state| state.key),
            here.as_ref().map(|state| state.key),
        );
        let held_here = here.iter().flat_map(|state| state.held.clone());
        let stands_here = |held: &trellis_core::locks::HeldLease| {
            let key = (namespace.clone(), held.grant.lease);
            let granted = self.granted.lock();
            granted
                .get(&key)
                .is_some_and(|it| it.stands == Stands::Here)
        };
        let held_here: Vec<_> = held_here.filter(stands_here).collect();
        let state = match (there, here) {
            (Some(mut state), _) => {
                for held in &mut state.held {
                    held.grant.lease = self.known_id(namespace, held.grant.lease);
                }
                state.held.extend(held_here);
                state
            }
            (None, Some(state)) => SessionState {
                scope: self.switch.degraded_scope(),
                held: held_here,
                ..state
            },
            (None, None) => return Err(SessionId::unknown()),
        };
        Ok((state, (shared_feed, own_feed), keys))
    }

    /// The session here of one that is attached; it is opened if there is none.
    pub(super) async fn session_here(
        &self,
        carried: &Carried,
        key: SessionKey,
    ) -> Result<SessionKey> {
        if let (_, Some(here)) = carried.stands(key)? {
            return Ok(here);
        }
        let open = carried.place.lock().open.clone();
        let (state, feed) = Arc::clone(&self.local).open_session(open).await?;
        let mut place = carried.place.lock();
        // One that was opened at the same time stays; this one ends by itself.
        if place.here.is_none() {
            place.here = Some(state.key);
            place.ends = self.clock.mono() + state.ttl;
            place.aside.tell(Told::Here(feed));
        }
        Ok(place.here.unwrap_or(state.key))
    }

    /// Renews a session wherever it stands.
    pub(super) async fn keep(
        &self,
        namespace: &Namespace,
        carried: &Carried,
        key: SessionKey,
    ) -> Result<(Micros, Scope)> {
        loop {
            let (there, here) = carried.stands(key)?;
            let Some(there) = there else {
                let here = here.ok_or_else(SessionId::unknown)?;
                let (left, _) = self.local.keep_session(namespace.clone(), here).await?;
                let mut place = carried.place.lock();
                if place.there.is_some() {
                    // It has been taken there meanwhile.
                    continue;
                }
                place.ends = self.clock.mono() + left;
                return Ok((left, self.switch.degraded_scope()));
            };
            let kept = self.primary.keep_session(namespace.clone(), there).await;
            if !is_away(&kept) {
                let kept = kept?;
                carried.place.lock().ends = self.clock.mono() + kept.0;
                if let Some(here) = here {
                    // It ends with the session in the store, if not before.
                    let _ = self.local.keep_session(namespace.clone(), here).await;
                }
                return Ok(kept);
            }
            self.trip();
            if !self.leave_store(namespace, carried, (key, there)).await? {
                return kept;
            }
        }
    }

    /// A session cannot be renewed in the store. If it holds nothing there, or something here, it goes on here. Whether that may
    /// be acknowledged at once: not while its caller is yet to be told that something is lost.
    async fn leave_store(
        &self,
        namespace: &Namespace,
        carried: &Carried,
        (key, there): (SessionKey, SessionKey),
    ) -> Result<bool> {
        let held_there = || {
            let known = self.primary.session_of(namespace, there.id);
            known.map(|(_, held)| held).unwrap_or_default()
        };
        let holds_here = || {
            let granted = self.granted.lock();
            granted.values().any(|it| {
                let of_it =
                    matches!(it.acquire.holder, Holder::Session(its) if its.id == carried.id);
                of_it && it.stands == Stands::Here
            })
        };
        if !self.switch.is_open() || !held_there().is_empty() && !holds_here() {
            return Ok(false);
        }
        self.session_here(carried, key).await?;
        // From now on no grant of the store is told to it any more.
        carried.move_there(None);
        let held = held_there();
        for lease in &held {
            let lease = self.known_id(namespace, *lease);
            self.granted.lock().remove(&(namespace.clone(), lease));
            let reason = LostReason::NotRestored;
            carried.tell(SessionNews::Lost { lease, reason });
        }
        Ok(held.is_empty())
    }

    /// Opens in the store the sessions that stand here alone. An error: the store is away again.
    pub(super) async fn promote_sessions(&self) -> Result<()> {
        for (namespace, carried) in self.sessions.alone(self.clock.mono()) {
            let open = carried.place.lock().open.clone();
            let primary: Arc<dyn SharedLocks> = Arc::clone(&self.primary);
            let (state, feed) = match primary.open_session(open).await {
                Ok(opened) => opened,
                Err(error) if is_of_the_store(&error) => return Err(error),
                Err(error) => {
                    self.give_up(&namespace, &carried, error).await;
                    continue;
                }
            };
            carried.move_there(Some((state.key, feed)));
            // What was acknowledged here until now, the store's session must outlast.
            let kept = self
                .primary
                .keep_session(namespace.clone(), state.key)
                .await;
            if let Err(error) = kept {
                if carried.there() == Some(state.key) {
                    carried.move_there(None);
                }
                return Err(error);
            }
            if !carried.place.lock().has_stream {
                self.primary.break_session(&namespace, state.key);
            }
        }
        Ok(())
    }

    /// The store does not take a session: it is over, and what it holds with it.
    async fn give_up(&self, namespace: &Namespace, carried: &Carried, error: Error) {
        tracing::warn!(%error, %namespace, "a session that stood here alone is lost");
        let here = carried.place.lock().here;
        self.sessions.remove(namespace, carried.id);
        if let Some(here) = here {
            let _ = self.local.close_session(namespace.clone(), here).await;
        }
        carried.tell(SessionNews::Ended(Error::new(
            ErrorCode::LeaseLost,
            LostReason::NotRestored.message(),
        )));
    }

    /// Ends a session wherever it stands; how many leases.
    pub(super) async fn close(
        &self,
        namespace: Namespace,
        carried: &Carried,
        key: SessionKey,
    ) -> Result<usize> {
        let (there, here) = carried.stands(key)?;
        let mut count = 0;
        if let Some(here) = here {
            let closed = self.local.close_session(namespace.clone(), here).await;
            count += closed.unwrap_or_default();
        }
        if let Some(there) = there {
            count += self.primary.close_session(namespace.clone(), there).await?;
        }
        self.sessions.remove(&namespace, carried.id);
        self.granted.lock().retain(|_, granted| {
            !matches!(granted.acquire.holder, Holder::Session(its) if its.id == carried.id)
        });
        Ok(count)
    }

    /// The stream of a session broke.
    pub(super) fn broken(&self, namespace: &Namespace, carried: &Carried, key: SessionKey) {
        let Ok((there, here)) = carried.stands(key) else {
            return;
        };
        if let Some(here) = here {
            self.local.break_session(namespace, here);
        }
        if let Some(there) = there {
            self.primary.break_session(namespace, there);
        }
        carried.place.lock().has_stream = false;
        // One that the store alone knows is found there.
        if here.is_none() {
            self.sessions.remove(namespace, carried.id);
        }
    }
}
