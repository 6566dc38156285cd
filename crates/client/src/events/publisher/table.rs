//! The events that are unanswered.
//!
//! ```text
//! insert -> sent -> published, or refused                    the caller is told
//!                -> refused for a drain, or outcome unknown  sent again: nothing was done, or it has an id
//!                -> the stream broke                         sent again if it has an id; else the caller is told
//!        -> its deadline is over                             the caller is told
//! ```
//! An entry, and with it its place, lives until the daemon has answered or the stream has ended.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use trellis_proto::v1 as proto;
use trellis_proto::v1::event_service_publish_stream_request::Request;

use super::super::state::Published;
use crate::error::{Error, ErrorReason, Result};

pub(super) type Requests = mpsc::Sender<proto::EventServicePublishStreamRequest>;

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) request: proto::EventServicePublishRequest,
    /// `None` once the caller was told that its deadline is over.
    pub(super) reply: Option<oneshot::Sender<Result<Published>>>,
    pub(super) deadline: Instant,
    /// It may have been accepted.
    pub(super) sent: bool,
    /// To be sent again on the stream that is open.
    pub(super) again: bool,
    /// Given back with the entry.
    pub(super) _place: OwnedSemaphorePermit,
}

impl Entry {
    fn tell(self, result: Result<Published>) {
        if let Some(reply) = self.reply {
            // A caller that is gone needs no answer.
            let _ = reply.send(result);
        }
    }

    fn is_named(&self) -> bool {
        let event = self.request.event.as_ref();
        event.is_some_and(|event| !event.id.is_empty())
    }

    fn send(&mut self, id: u64, requests: &Requests) -> bool {
        self.again = false;
        let sent = requests.try_send(message(id, Request::Publish(self.request.clone())));
        self.sent |= sent.is_ok();
        sent.is_ok()
    }
}

#[derive(Debug, Default)]
pub(super) struct Table {
    events: Mutex<Events>,
    /// Every handle is gone.
    closed: Notify,
}

#[derive(Debug, Default)]
struct Events {
    entries: BTreeMap<u64, Entry>,
    last_id: u64,
    /// Of the stream that is open and takes events.
    requests: Option<Requests>,
    /// A task looks after the entries.
    running: bool,
    closed: bool,
}

impl Table {
    /// Takes an event, and sends it if a stream is open. True when a task must be started.
    pub(super) fn insert(&self, mut entry: Entry) -> bool {
        let mut events = self.events.lock();
        events.last_id += 1;
        let id = events.last_id;
        if let Some(requests) = &events.requests
            && !entry.send(id, requests)
        {
            // The stream has ended; its reader is about to tell.
            events.requests = None;
        }
        events.entries.insert(id, entry);
        !std::mem::replace(&mut events.running, true)
    }

    /// Every handle is gone: the task ends with the last answer.
    pub(super) fn close(&self) {
        self.events.lock().closed = true;
        self.closed.notify_one();
    }

    pub(super) async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Nothing is unanswered and nothing comes any more.
    pub(super) fn is_done(&self) -> bool {
        let events = self.events.lock();
        events.closed && events.entries.is_empty()
    }

    /// Whether the task is to end, since nothing is unanswered. The next event starts another one.
    pub(super) fn rest(&self) -> bool {
        let mut events = self.events.lock();
        events.running = !events.entries.is_empty();
        !events.running
    }

    /// A stream is open: sends everything that is unanswered, in order.
    pub(super) fn open(&self, requests: Requests) {
        let mut events = self.events.lock();
        for (id, entry) in &mut events.entries {
            entry.send(*id, &requests);
        }
        events.requests = Some(requests);
    }

    /// The stream takes no more events; answers still come.
    pub(super) fn retire(&self) {
        self.events.lock().requests = None;
    }

    pub(super) fn published(&self, id: u64, published: Result<Published>) {
        let entry = self.events.lock().entries.remove(&id);
        if let Some(entry) = entry {
            entry.tell(published);
        }
    }

    pub(super) fn refused(&self, id: u64, error: Error) {
        let refused = {
            let mut events = self.events.lock();
            let Some(entry) = events.entries.get_mut(&id) else {
                return;
            };
            match error.reason() {
                Some(ErrorReason::Draining) => {
                    entry.sent = false;
                    None
                }
                Some(ErrorReason::OutcomeUnknown) if entry.is_named() => {
                    entry.again = true;
                    None
                }
                _ => events.entries.remove(&id),
            }
        };
        if let Some(entry) = refused {
            entry.tell(Err(error));
        }
    }

    /// Tells callers whose deadline is over, and sends again what is to be.
    pub(super) fn tick(&self, now: Instant) {
        let mut events = self.events.lock();
        let Events {
            entries, requests, ..
        } = &mut *events;
        // The later ones were given later deadlines.
        for (_, entry) in entries.iter_mut().take_while(|(_, it)| it.deadline <= now) {
            if let Some(reply) = entry.reply.take() {
                let _ = reply.send(Err(overdue(entry.sent)));
            }
        }
        if let Some(requests) = requests {
            for (id, entry) in entries.iter_mut().filter(|(_, entry)| entry.again) {
                entry.send(*id, requests);
            }
        }
    }

    /// The stream has ended: keeps what is to be sent again.
    pub(super) fn broke(&self, error: &Error) {
        let mut events = self.events.lock();
        events.requests = None;
        let kept = |entry: &Entry| entry.reply.is_some() && (entry.is_named() || !entry.sent);
        let lost = events.entries.extract_if(.., |_, entry| !kept(entry));
        for (_, entry) in lost {
            let why = format!("the stream broke before the answer: {}", error.message());
            entry.tell(Err(Error::outcome_unknown(why)));
        }
    }

    /// No stream will work: tells everybody.
    pub(super) fn fail(&self, error: &Error) {
        let entries = std::mem::take(&mut self.events.lock().entries);
        for entry in entries.into_values() {
            entry.tell(Err(error.clone()));
        }
    }
}

fn overdue(sent: bool) -> Error {
    if sent {
        Error::deadline()
    } else {
        Error::deadline_unsent("no stream before the deadline")
    }
}

pub(super) fn message(id: u64, request: Request) -> proto::EventServicePublishStreamRequest {
    let request = Some(request);
    proto::EventServicePublishStreamRequest { id, request }
}
