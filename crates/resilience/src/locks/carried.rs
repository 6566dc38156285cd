//! Which sessions there are at this daemon, and where each stands.

use super::feed::{Told, ToldAside};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;
use trellis_core::locks::{OpenSession, SessionFeed, SessionId, SessionKey, SessionNews};
use trellis_core::{Error, ErrorCode, Namespace, Result, Time};

/// Sessions with a stream at this daemon, and those that stand here alone, by the ids that their callers know.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<(Namespace, SessionId), Arc<Carried>>>);

impl Sessions {
    pub fn find(&self, namespace: &Namespace, session: SessionId) -> Option<Arc<Carried>> {
        let sessions = self.0.lock();
        sessions.get(&(namespace.clone(), session)).cloned()
    }

    pub fn insert(&self, namespace: Namespace, carried: Arc<Carried>) {
        self.0.lock().insert((namespace, carried.id), carried);
    }

    pub fn remove(&self, namespace: &Namespace, session: SessionId) {
        self.0.lock().remove(&(namespace.clone(), session));
    }

    /// Forgets those that have ended without a stream; tells of the others those that stand here alone.
    pub fn alone(&self, now: Time) -> Vec<(Namespace, Arc<Carried>)> {
        let mut sessions = self.0.lock();
        sessions.retain(|_, carried| {
            let place = carried.place.lock();
            place.has_stream || now < place.ends
        });
        let alone = sessions.iter().filter(|(_, it)| it.there().is_none());
        alone
            .map(|((namespace, _), it)| (namespace.clone(), it.clone()))
            .collect()
    }
}

/// A session, and where it stands.
pub(super) struct Carried {
    /// As its caller knows it.
    pub id: SessionId,
    pub place: Mutex<Place>,
    /// Told when it stands elsewhere.
    pub moved: watch::Sender<()>,
}

pub(super) struct Place {
    /// As its caller knows it.
    pub attachment: u64,
    /// How it is opened again.
    pub open: OpenSession,
    pub there: Option<SessionKey>,
    pub here: Option<SessionKey>,
    pub aside: Arc<ToldAside>,
    pub has_stream: bool,
    /// When it ends unless it is kept alive, while it stands here alone.
    pub ends: Time,
}

impl Carried {
    /// Where in the store it stands.
    pub fn there(&self) -> Option<SessionKey> {
        self.place.lock().there
    }

    /// Where it stands, in the store and here, for a stream that is still attached.
    pub fn stands(&self, key: SessionKey) -> Result<(Option<SessionKey>, Option<SessionKey>)> {
        let place = self.place.lock();
        if place.attachment == key.attachment {
            return Ok((place.there, place.here));
        }
        let message = "another stream has attached to the session";
        Err(Error::new(ErrorCode::LeaseLost, message))
    }

    pub fn tell(&self, news: SessionNews) {
        self.place.lock().aside.tell(Told::News(news));
    }

    /// It stands in the store, or not any more.
    pub fn move_there(&self, there: Option<(SessionKey, Box<dyn SessionFeed>)>) {
        let (key, feed) = there.unzip();
        let mut place = self.place.lock();
        place.there = key;
        place.aside.tell(Told::There(feed));
        drop(place);
        self.moved.send_replace(());
    }
}
