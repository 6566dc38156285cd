//! The stream of a publisher: opened while events are unanswered, and its answers read.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use trellis_proto::v1 as proto;
use trellis_proto::v1::event_service_publish_stream_request::Request;
use trellis_proto::v1::event_service_publish_stream_response::Response;

use super::super::topic::Topic;
use super::table::{Table, message};
use crate::again::Again;
use crate::convert;
use crate::error::{Error, Result};

/// How often deadlines are looked at, and events sent again whose outcome was unknown.
const TICK: Duration = Duration::from_millis(100);

type Answers = Streaming<proto::EventServicePublishStreamResponse>;

pub(super) struct Stream {
    topic: Topic,
    max_in_flight: usize,
    table: Arc<Table>,
}

impl Stream {
    pub(super) fn new(topic: &Topic, max_in_flight: usize, table: Arc<Table>) -> Self {
        let topic = topic.clone();
        Self {
            topic,
            max_in_flight,
            table,
        }
    }

    /// Runs until nothing is unanswered and no stream is open.
    pub(super) async fn run(self) {
        let mut again = Again::default();
        while !self.table.rest() {
            let Err(ended) = self.ticking(self.keep(&mut again)).await else {
                return;
            };
            self.table.broke(&ended);
            if let Err(error) = self.ticking(again.after(ended)).await {
                self.table.fail(&error);
            }
        }
    }

    /// Does something while deadlines are looked at.
    async fn ticking<T>(&self, work: impl Future<Output = T>) -> T {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                now = tick.tick() => self.table.tick(now),
            }
        }
    }

    /// One stream, from its opening to its end.
    async fn keep(&self, again: &mut Again) -> Result<()> {
        let answers = self.open().await?;
        self.read(answers, again).await
    }

    async fn open(&self) -> Result<Answers> {
        // An event has one message in the queue at most: the next is sent when that was answered. Beside them there is `open`.
        let (requests, queue) = mpsc::channel(self.max_in_flight + 1);
        let events = &self.topic.events;
        let open = proto::StreamOpen {
            namespace: events.namespace_name(),
        };
        let full = |_| Error::unreachable("the queue of a new stream takes nothing");
        requests
            .try_send(message(0, Request::Open(open)))
            .map_err(full)?;
        let mut stub = events.shared.events();
        let opening = stub.publish_stream(ReceiverStream::new(queue));
        let answers = events.shared.opened(opening).await?.into_inner();
        self.table.open(requests);
        Ok(answers)
    }

    /// Reads answers until the stream ends, which is an error, or nothing comes any more.
    async fn read(&self, mut answers: Answers, again: &mut Again) -> Result<()> {
        while !self.table.is_done() {
            tokio::select! {
                answer = answers.message() => match answer? {
                    Some(answer) => {
                        again.works();
                        self.answer(answer);
                    }
                    None => return Err(Error::outcome_unknown("the daemon ended the stream")),
                },
                () = self.table.closed() => {}
            }
        }
        self.table.retire();
        Ok(())
    }

    fn answer(&self, answer: proto::EventServicePublishStreamResponse) {
        match answer.response {
            Some(Response::Published(published)) => {
                let published = convert::required(published.published, "published");
                let published = published.and_then(TryInto::try_into);
                self.table.published(answer.id, published);
            }
            Some(Response::Error(status)) => {
                self.table.refused(answer.id, Error::from_item(&status));
            }
            Some(Response::Draining(draining)) => {
                tracing::debug!(reason = %draining.reason, "the daemon drains the stream");
                self.table.retire();
            }
            None => {
                let error = Error::invalid_answer("an answer is empty or of an unknown kind");
                self.table.published(answer.id, Err(error));
            }
        }
    }
}
