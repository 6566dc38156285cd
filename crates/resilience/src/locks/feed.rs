//! What a session is told unasked, wherever it stands.

use super::FallbackLocks;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::Notify;
use trellis_core::Namespace;
use trellis_core::locks::{SessionFeed, SessionNews};

/// What a stream is told beside the news of where its session stands.
pub(super) enum Told {
    News(SessionNews),
    /// The session stands in the store, with these news, or not any more.
    There(Option<Box<dyn SessionFeed>>),
    /// It stands here as well.
    Here(Box<dyn SessionFeed>),
}

/// That, in order. Bounded by the leases of the session, each of which is told of once, and by outages.
#[derive(Default)]
pub(super) struct ToldAside {
    told: Mutex<VecDeque<Told>>,
    filled: Notify,
}

impl ToldAside {
    pub fn tell(&self, told: Told) {
        self.told.lock().push_back(told);
        self.filled.notify_one();
    }
}

/// All of it for one stream.
pub(super) struct FallbackFeed {
    pub locks: Arc<FallbackLocks>,
    pub namespace: Namespace,
    pub aside: Arc<ToldAside>,
    pub there: Option<Box<dyn SessionFeed>>,
    pub here: Option<Box<dyn SessionFeed>>,
}

/// The next news of a feed; of none there are none.
async fn next_of(feed: &mut Option<Box<dyn SessionFeed>>) -> SessionNews {
    match feed {
        Some(feed) => feed.next().await,
        None => std::future::pending().await,
    }
}

#[async_trait]
impl SessionFeed for FallbackFeed {
    async fn next(&mut self) -> SessionNews {
        loop {
            let told = self.aside.told.lock().pop_front();
            match told {
                Some(Told::News(news)) => return news,
                Some(Told::There(feed)) => self.there = feed,
                Some(Told::Here(feed)) => self.here = Some(feed),
                None => {
                    tokio::select! {
                        biased;
                        () = self.aside.filled.notified() => {}
                        news = next_of(&mut self.there) => {
                            return self.locks.as_known(&self.namespace, news);
                        }
                        news = next_of(&mut self.here) => match news {
                            // The session goes on in the store.
                            SessionNews::Ended(_) if self.there.is_some() => self.here = None,
                            news => return news,
                        },
                    }
                }
            }
        }
    }
}

impl FallbackLocks {
    /// News of the store, with leases by the ids that their holder knows.
    fn as_known(&self, namespace: &Namespace, news: SessionNews) -> SessionNews {
        let SessionNews::Lost { lease, reason } = news else {
            return news;
        };
        let lease = self.known_id(namespace, lease);
        self.granted.lock().remove(&(namespace.clone(), lease));
        SessionNews::Lost { lease, reason }
    }
}
