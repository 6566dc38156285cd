//! What time and other daemons bring: reasons to ask the store what has changed.

use super::RedisPipelines;
use crate::{Mailbox, MailboxEvent, Session};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Keeps this daemon's knowledge of the store's pipelines.
pub struct RedisPipelinesTask {
    pipelines: Arc<RedisPipelines>,
}

impl RedisPipelinesTask {
    pub(super) fn new(pipelines: Arc<RedisPipelines>) -> Self {
        Self { pipelines }
    }

    /// Works until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.keep_up()).await;
    }

    async fn keep_up(&self) {
        let store = &self.pipelines.store;
        let (mut mailbox, mut sessions) = (store.mailbox(), store.sessions());
        // Twice in each interval of the heart: so, by default, a lost hint is made good within a second.
        let mut check = interval(store.heartbeat_interval() / 2);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.reason(&mut mailbox, &mut sessions, &mut check).await {
            if let Err(error) = self.pipelines.sync().await {
                tracing::debug!(%error, "what has changed in pipelines could not be read");
            }
        }
    }

    /// Waits for a reason to ask the store; false when it is gone.
    async fn reason(
        &self,
        mailbox: &mut Mailbox,
        sessions: &mut watch::Receiver<Option<Session>>,
        check: &mut Interval,
    ) -> bool {
        loop {
            tokio::select! {
                event = mailbox.next() => match event {
                    Some(MailboxEvent::Gap) => return true,
                    Some(MailboxEvent::Message(bytes)) => if self.is_news(&bytes) {
                        return true;
                    },
                    None => return false,
                },
                changed = sessions.changed() => {
                    sessions.borrow_and_update();
                    return changed.is_ok();
                }
                () = self.pipelines.anew.notified() => return true,
                _ = check.tick() => return true,
            }
        }
    }

    /// Whether a message tells of a change that is not known here.
    fn is_news(&self, bytes: &[u8]) -> bool {
        let told = rmp_serde::from_slice::<(String, u64)>(bytes);
        let known = self.pipelines.known.read().last_change;
        told.is_ok_and(|(kind, number)| kind == "pipelines" && number > known)
    }
}
