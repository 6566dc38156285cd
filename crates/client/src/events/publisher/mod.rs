//! [`Publisher`]: very many events over one stream.
//!
//! A caller takes a place, puts its event into the stream's queue and has a future of the answer; no task is started per
//! event. One task reads the answers and opens the stream again while events are unanswered; what becomes of them is told in `table`.

mod stream;
mod table;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use prost::Message as _;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};
use trellis_proto::v1 as proto;

use super::event::Event;
use super::state::Published;
use super::topic::Topic;
use crate::background::spawn;
use crate::error::{Error, Result};

use stream::Stream;
use table::{Entry, Table};

/// What the frame around a request adds to its message, and more.
const FRAME_BYTES: usize = 64;

/// Publishes to one topic over one stream, shared by all clones of the handle.
///
/// - Events stand in the order of the calls to [`Publisher::publish`], unless one is sent again: it then stands where it was
///   sent last.
/// - At most so many are unanswered at a time; further calls wait for a place, within the call timeout.
/// - When the stream breaks, or the daemon drains or is started anew, the publisher sends again what has an id, which is published once,
///   and what was certainly not accepted, until the call timeout. What else is unanswered fails with
///   [`ErrorKind::OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown).
#[derive(Clone, Debug)]
pub struct Publisher {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    topic: Topic,
    places: Arc<Semaphore>,
    max_in_flight: usize,
    table: Arc<Table>,
}

impl Publisher {
    /// Events unanswered at a time, unless set otherwise: the bound of a daemon by default.
    pub const DEFAULT_MAX_IN_FLIGHT: usize = 1_024;

    const LARGEST_MAX_IN_FLIGHT: usize = 65_536;

    pub(super) fn new(topic: Topic, max_in_flight: usize) -> Self {
        let inner = Inner {
            topic,
            places: Arc::new(Semaphore::new(max_in_flight)),
            max_in_flight,
            table: Arc::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The same with a stream of its own, and so many events unanswered at a time: 1 to 65,536.
    #[must_use]
    pub fn max_in_flight(&self, max: usize) -> Self {
        let max = max.clamp(1, Self::LARGEST_MAX_IN_FLIGHT);
        Self::new(self.inner.topic.clone(), max)
    }

    /// Sends an event, as soon as there is a place for it; the answer is the future that this returns.
    ///
    /// Fails when there is no place within the call timeout; nothing was sent then.
    pub async fn publish(&self, event: Event) -> Result<Publication> {
        let inner = &self.inner;
        let shared = &inner.topic.events.shared;
        let request = proto::EventServicePublishRequest {
            // That of the stream.
            namespace: String::new(),
            topic: inner.topic.name.clone(),
            event: Some(event.into()),
        };
        let most = shared.max_message_bytes();
        if request.encoded_len() + FRAME_BYTES > most {
            // Sent, it would end the stream, and every other event with it.
            return Err(Error::invalid_request(format!(
                "the event is larger than {most} bytes"
            )));
        }
        let now = Instant::now();
        let deadline = now.checked_add(shared.timeout(Duration::ZERO));
        let deadline = deadline.unwrap_or(now);
        let place = timeout_at(deadline, inner.places.clone().acquire_owned()).await;
        let full = |_| Error::deadline_unsent("no place in the publisher before the deadline");
        let closed = |_| Error::unreachable("the publisher is closed");
        let (reply, answer) = oneshot::channel();
        let entry = Entry {
            request,
            reply: Some(reply),
            deadline,
            sent: false,
            again: false,
            _place: place.map_err(full)?.map_err(closed)?,
        };
        if inner.table.insert(entry) {
            let stream = Stream::new(&inner.topic, inner.max_in_flight, inner.table.clone());
            spawn(stream.run());
        }
        Ok(Publication(answer))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.table.close();
    }
}

/// The answer to an event. Dropping it takes nothing back.
#[derive(Debug)]
#[must_use = "whether the event stands is told by its answer"]
pub struct Publication(oneshot::Receiver<Result<Published>>);

impl Future for Publication {
    type Output = Result<Published>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let gone = |_| Error::outcome_unknown("the publisher's runtime has ended");
        let answer = Pin::new(&mut self.0).poll(context);
        answer.map(|answer| answer.unwrap_or_else(|error| Err(gone(error))))
    }
}
