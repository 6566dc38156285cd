//! The connection on which values are read for copies, and on which the server tells of their changes.
//!
//! Default client tracking: the server notes each key that a plain read on this connection touches, and tells once when
//! it changes. Answers and word of changes come in one order, so the answer to a check shows that all word of earlier
//! changes is here. The driver drops the word of FLUSHALL, so each check reads the generation: without it, or with
//! another one, all copies are given up.

use super::Near;
use crate::backoff::Backoff;
use crate::connection::{Connection, End};
use crate::{CallError, Reply, Session, Store};
use fred::interfaces::TrackingInterface;
use fred::types::client::Invalidation;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use trellis_core::cache::NearReset;

/// Time between two checks. A lost connection is noticed within this and the store timeout, FLUSHALL within this.
const CHECK_EVERY: Duration = Duration::from_millis(250);

/// A connection whose reads are noted by the server.
pub(in crate::cache) struct Tracked {
    connection: Connection,
    /// It gives no answers.
    stuck: CancellationToken,
}

impl Tracked {
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Notes that a read was not answered in time.
    pub fn unanswered(&self) {
        self.stuck.cancel();
    }
}

/// How a tracked connection came to its end.
enum Over {
    Reset(NearReset),
    /// It cannot be tracked, in the server's words.
    Refused(String),
}

impl Near {
    /// Keeps a tracked connection while the store is attached. Never returns.
    pub async fn keep_tracked(&self, store: &Store) {
        let mut backoff = Backoff::default();
        let mut sessions = store.sessions();
        let mut refused = false;
        loop {
            let Some(session) = attached(&mut sessions).await else {
                return std::future::pending().await;
            };
            if let Ok((connection, end)) = store.connect().await {
                let over = self.serve((connection, end), (store, session), &mut sessions);
                match over.await {
                    Over::Reset(why) => {
                        self.reset(why);
                        tracing::debug!(?why, "near copies are given up");
                        backoff.succeeded();
                        refused = false;
                    }
                    Over::Refused(reason) if !refused => {
                        refused = true;
                        tracing::warn!(
                            reason,
                            "the server does not track: no near copies are kept"
                        );
                    }
                    Over::Refused(_) => {}
                }
            }
            tokio::time::sleep(backoff.failed()).await;
        }
    }

    /// Tracks on a connection until it is of no use.
    async fn serve(
        &self,
        (connection, mut end): (Connection, End),
        (store, session): (&Store, Session),
        sessions: &mut watch::Receiver<Option<Session>>,
    ) -> Over {
        let mut changes = connection.client().invalidation_rx();
        let tracking = vec!["TRACKING".into(), "ON".into()];
        match connection.ask("CLIENT", tracking, store.timeout()).await {
            Ok(_) => {}
            Err(CallError::Refused(refusal)) => return Over::Refused(refusal.message),
            Err(_) => return Over::Reset(NearReset::Disconnected),
        }
        match check(store, &connection, session).await {
            Ok(true) => {}
            Ok(false) => return Over::Reset(NearReset::Generation),
            Err(_) => return Over::Reset(NearReset::Disconnected),
        }
        let tracked = Arc::new(Tracked {
            connection,
            stuck: CancellationToken::new(),
        });
        self.tracked.send_replace(Some(Arc::clone(&tracked)));
        let told = self.take_changes(&tracked, &mut changes, (store, session));
        let why = tokio::select! {
            () = end.wait() => NearReset::Disconnected,
            () = tracked.stuck.cancelled() => NearReset::Disconnected,
            () = other_generation(sessions, session) => NearReset::Generation,
            why = told => why,
        };
        // Withdrawn first: whoever marks its read from here on does not read on it.
        self.tracked.send_replace(None);
        tracked.connection.abort();
        // Nobody waits for a check that is not made any more.
        self.checked
            .send_replace(self.checks.load(Ordering::SeqCst));
        Over::Reset(why)
    }

    /// Takes note of changes, and checks the connection from time to time and when asked to.
    async fn take_changes(
        &self,
        tracked: &Tracked,
        changes: &mut Receiver<Invalidation>,
        (store, session): (&Store, Session),
    ) -> NearReset {
        let mut ticks = tokio::time::interval(CHECK_EVERY);
        // One at most.
        let mut checking = FuturesUnordered::new();
        let check = || {
            let asked = self.checks.load(Ordering::SeqCst);
            check(store, &tracked.connection, session).map(move |same| (asked, same))
        };
        loop {
            let idle = checking.is_empty();
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(change) => self.note(&change),
                    Err(RecvError::Lagged(_)) => self.reset(NearReset::Lagged),
                    Err(RecvError::Closed) => return NearReset::Disconnected,
                },
                Some((asked, same)) = checking.next(), if !idle => {
                    match same {
                        Ok(true) => {}
                        Ok(false) => return NearReset::Generation,
                        Err(_) => return NearReset::Disconnected,
                    }
                    self.note_waiting(changes);
                    self.checked.send_replace(asked);
                }
                _ = ticks.tick(), if idle => checking.push(check()),
                () = self.sooner.notified(), if idle => checking.push(check()),
            }
        }
    }

    pub(super) fn note(&self, change: &Invalidation) {
        for key in &change.keys {
            self.invalidated(key.as_bytes());
        }
    }

    /// Takes note of what has come before the answer to a check.
    pub(super) fn note_waiting(&self, changes: &mut Receiver<Invalidation>) {
        loop {
            match changes.try_recv() {
                Ok(change) => self.note(&change),
                Err(TryRecvError::Lagged(_)) => self.reset(NearReset::Lagged),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }
}

/// Waits for a session; `None` when the store is gone.
async fn attached(sessions: &mut watch::Receiver<Option<Session>>) -> Option<Session> {
    let session = sessions.wait_for(Option::is_some).await.ok()?;
    *session
}

/// Returns when the store is attached to in another generation.
async fn other_generation(sessions: &mut watch::Receiver<Option<Session>>, session: Session) {
    let other = |now: &Option<Session>| now.is_some_and(|now| now.generation != session.generation);
    if sessions.wait_for(other).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Asks the server whether the generation is still this one. If not, the session is over, which its own connection
/// learns from this too.
async fn check(
    store: &Store,
    connection: &Connection,
    session: Session,
) -> Result<bool, CallError> {
    let args = vec![store.keys().guard().into(), "generation".into()];
    let reply: Reply = connection.ask("HGET", args, store.timeout()).await?;
    let same = reply.number() == Some(session.generation);
    if !same {
        store.void_session(session);
    }
    Ok(same)
}
