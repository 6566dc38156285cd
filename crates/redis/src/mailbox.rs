//! The daemon's mailbox: hints from other daemons, at most once.
//!
//! A message may be lost (the connection broke, the reader lagged); every loss that could have happened is
//! told as a [`MailboxEvent::Gap`], upon which the reader looks at the store again.

use crate::backoff::Backoff;
use crate::connection::Connection;
use crate::shared::Shared;
use bytes::Bytes;
use fred::interfaces::{EventInterface, PubsubInterface};
use fred::types::{Message, Value};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// How many events a reader may lag behind.
const BACKLOG: usize = 4096;

/// How a message of locks goes on behind the head of its array: its kind.
const LOCKS: &[u8] = b"\xa5locks";

/// Passes events on to their readers. Messages of locks, which come with each hand-off, wake nobody else.
pub(crate) struct Post {
    pub(crate) locks: broadcast::Sender<MailboxEvent>,
    pub(crate) others: broadcast::Sender<MailboxEvent>,
}

impl Default for Post {
    fn default() -> Self {
        Self {
            locks: broadcast::Sender::new(BACKLOG),
            others: broadcast::Sender::new(BACKLOG),
        }
    }
}

impl Post {
    // Without readers there is nobody to tell; a later reader begins by looking at the store.
    fn pass_on(&self, event: MailboxEvent) {
        match &event {
            MailboxEvent::Gap => {
                let _ = self.locks.send(MailboxEvent::Gap);
                let _ = self.others.send(event);
            }
            MailboxEvent::Message(bytes) if is_of_locks(bytes) => {
                let _ = self.locks.send(event);
            }
            MailboxEvent::Message(_) => {
                let _ = self.others.send(event);
            }
        }
    }
}

fn is_of_locks(bytes: &[u8]) -> bool {
    bytes.get(1..).is_some_and(|rest| rest.starts_with(LOCKS))
}

/// Something that happened to the mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailboxEvent {
    /// A message.
    Message(Bytes),
    /// Messages may have been lost before this point: also after every subscription, the first included.
    Gap,
}

/// A reader of the mailbox.
#[derive(Debug)]
pub struct Mailbox(pub(crate) broadcast::Receiver<MailboxEvent>);

impl Mailbox {
    /// The next event; `None` when the store is gone.
    pub async fn next(&mut self) -> Option<MailboxEvent> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(MailboxEvent::Gap),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// Keeps the mailbox subscribed until it is told to stop.
pub(crate) async fn listen(shared: &Shared, stop: &CancellationToken) {
    let mut backoff = Backoff::default();
    let listening = async {
        loop {
            shared.board.until_calls_are(false).await;
            if let Ok((connection, mut end)) = Connection::open(&shared.driver).await {
                tokio::select! {
                    () = end.wait() => {}
                    () = shared.board.until_calls_are(true) => {}
                    () = receive(shared, &connection, &mut backoff) => {}
                }
            }
            tokio::time::sleep(backoff.failed()).await;
        }
    };
    tokio::select! {
        () = listening => {}
        () = stop.cancelled() => {}
    }
}

/// Subscribes and passes messages on until the connection is of no use.
async fn receive(shared: &Shared, connection: &Connection, backoff: &mut Backoff) {
    let mut messages = connection.client().message_rx();
    let channel = shared.keys.mailbox(&shared.identity.daemon);
    if connection.client().subscribe(channel).await.is_err() || !alive(shared, connection).await {
        return;
    }
    // The ping was answered after the subscription, which therefore stands.
    backoff.succeeded();
    shared.post.pass_on(MailboxEvent::Gap);
    let mut check = tokio::time::interval(shared.config.heartbeat_interval);
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Ok(message) => shared.post.pass_on(event(message)),
                Err(broadcast::error::RecvError::Lagged(_)) => shared.post.pass_on(MailboxEvent::Gap),
                Err(broadcast::error::RecvError::Closed) => return,
            },
            _ = check.tick() => if !alive(shared, connection).await {
                return;
            },
        }
    }
}

async fn alive(shared: &Shared, connection: &Connection) -> bool {
    connection
        .ask("PING", Vec::new(), shared.config.store_timeout)
        .await
        .is_ok()
}

fn event(message: Message) -> MailboxEvent {
    match message.value {
        Value::Bytes(bytes) => MailboxEvent::Message(bytes),
        Value::String(text) => MailboxEvent::Message(text.into_inner()),
        other => MailboxEvent::Message(other.into_string().unwrap_or_default().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_locks_go_to_their_readers_and_gaps_to_all() {
        let post = Post::default();
        let (mut locks, mut others) = (post.locks.subscribe(), post.others.subscribe());
        let message = |kind| MailboxEvent::Message(rmp_serde::to_vec(&(kind, 1)).unwrap().into());
        for event in [message("locks"), message("lock"), MailboxEvent::Gap] {
            post.pass_on(event);
        }
        let told = |reader: &mut broadcast::Receiver<_>| {
            std::iter::from_fn(|| reader.try_recv().ok()).collect::<Vec<_>>()
        };
        assert_eq!(told(&mut locks), [message("locks"), MailboxEvent::Gap]);
        assert_eq!(told(&mut others), [message("lock"), MailboxEvent::Gap]);
    }
}
