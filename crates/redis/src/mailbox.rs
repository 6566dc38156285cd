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
pub(crate) const BACKLOG: usize = 4096;

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
    pass_on(shared, MailboxEvent::Gap);
    let mut check = tokio::time::interval(shared.config.heartbeat_interval);
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Ok(message) => pass_on(shared, event(message)),
                Err(broadcast::error::RecvError::Lagged(_)) => pass_on(shared, MailboxEvent::Gap),
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

fn pass_on(shared: &Shared, event: MailboxEvent) {
    // Without readers there is nobody to tell; a later reader begins by looking at the store.
    let _ = shared.mailbox.send(event);
}
