//! The command connection: opened, attached, published, given up, replaced.
//!
//! ```text
//! wait for the watchdog's consent -> open -> attach -> publish -> (an end) -> withdraw -> wait -> again
//! ```
//!
//! The gate: calls reach a connection only through the published [`Link`], and a link is made from a settled
//! attach of its very connection. As a connection is never replaced under its client, no call can precede
//! the attach. A call that an older connection still carries is refused by the guard, because the attach
//! has changed the daemon's stamp.

use crate::Session;
use crate::attach::{Attached, attach};
use crate::backoff::Backoff;
use crate::connection::{Connection, End};
use crate::facts::History;
use crate::health::{Condition, Finding};
use crate::shared::Shared;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_util::sync::CancellationToken;
use trellis_core::{Micros, Time};

/// A link that lasted so long was a good one; shorter ones count as failures, lest links follow each other
/// without a pause.
const SETTLED: Micros = Micros::from_secs(1);

/// An attached connection.
pub(crate) struct Link {
    pub(crate) connection: Connection,
    pub(crate) session: Session,
    pub(crate) history: History,
    pub(crate) attach_sent_at: Time,
    /// The session as scripts receive it: generation and stamp.
    pub(crate) generation: String,
    pub(crate) stamp: String,
    /// When the last answer came, in microseconds.
    answered_at: AtomicU64,
    /// The connection works, but its session is void.
    void: CancellationToken,
    /// The connection gives no answers.
    stuck: CancellationToken,
}

impl Link {
    fn new(connection: Connection, attached: Attached) -> Self {
        let session = attached.session;
        Self {
            connection,
            session,
            history: attached.history,
            attach_sent_at: attached.sent_at,
            generation: session.generation.to_string(),
            stamp: format!("{}.{}", session.incarnation, session.link),
            answered_at: AtomicU64::new(0),
            void: CancellationToken::new(),
            stuck: CancellationToken::new(),
        }
    }

    /// Notes that something was answered at this time.
    pub(crate) fn answered(&self, now: Time) {
        self.answered_at.fetch_max(now.0, Ordering::Relaxed);
    }

    /// Notes that a call sent at this time was not answered. Without any answer since, the link is stuck.
    pub(crate) fn unanswered(&self, sent_at: Time) {
        if self.answered_at.load(Ordering::Relaxed) < sent_at.0 {
            self.stuck.cancel();
        }
    }

    /// Notes that the session is void: it must be attached anew.
    pub(crate) fn void(&self) {
        self.void.cancel();
    }
}

/// Keeps a connection attached until it is told to stop.
pub(crate) async fn keep(shared: &Shared, stop: &CancellationToken) {
    let mut backoff = Backoff::default();
    let keeping = async {
        while !shared.left.load(Ordering::Relaxed) {
            shared.board.until_calls_are(false).await;
            let connected = connect(shared).await;
            if shared.left.load(Ordering::Relaxed) {
                return;
            }
            match connected {
                Ok((link, end)) => {
                    let since = shared.clock.now().mono;
                    serve(shared, link, end).await;
                    if shared.clock.now().mono - since < SETTLED {
                        tokio::time::sleep(backoff.failed()).await;
                    } else {
                        backoff.succeeded();
                    }
                }
                Err(finding) => {
                    shared.board.set_link(finding);
                    tokio::time::sleep(backoff.failed()).await;
                }
            }
        }
    };
    tokio::select! {
        // After a leave: the task's early end would be taken for a fault.
        () = keeping => stop.cancelled().await,
        () = stop.cancelled() => {}
    }
    shared.publish(None);
}

async fn connect(shared: &Shared) -> Result<(Arc<Link>, End), Finding> {
    let opened = Connection::open(&shared.driver).await;
    let (connection, end) = opened.map_err(|error| Finding::from_open(&error))?;
    let attached = attach(shared, &connection).await?;
    Ok((Arc::new(Link::new(connection, attached)), end))
}

/// Publishes a link until it ends, and withdraws it.
async fn serve(shared: &Shared, link: Arc<Link>, mut end: End) {
    shared.publish(Some(link.clone()));
    shared.board.set_link(Finding::up());
    let (finding, answers) = tokio::select! {
        () = end.wait() => (Finding::new(Condition::Down, "the connection was closed"), false),
        () = link.stuck.cancelled() => (Finding::new(Condition::Hung, "calls are not answered"), false),
        () = link.void.cancelled() => (Finding::new(Condition::Attaching, "the session is void"), true),
        () = shared.board.until_calls_are(true) => (Finding::new(Condition::Attaching, "given up"), false),
    };
    shared.publish(None);
    shared.board.set_link(finding);
    // A void session's calls in flight are answered: their connection lives until the last of them drops it.
    // All others end now, as unknown.
    if !answers {
        link.connection.abort();
        end.wait().await;
    }
}
