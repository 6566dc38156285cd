//! A publisher: has many events in hand on one stream, and after a broken one repeats in order those that have an id and were not
//! answered, before it goes on. One whose events have no ids repeats none.

use super::field::{Client, Field, TOPICS, digest, event, topic};
use super::history::{Answer, Name, Sent};
use crate::calls::{answered, status};
use crate::clock::pause;
use crate::random::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use trellis_proto::v1::event_service_publish_stream_request::Request;
use trellis_proto::v1::event_service_publish_stream_response::Response;
use trellis_proto::v1::{
    self, EventServicePublishRequest, EventServicePublishStreamRequest,
    EventServicePublishStreamResponse,
};

/// The most that one has in hand.
const WINDOW: u64 = 48;

/// Ordering keys of a topic.
const KEYS: u64 = 32;

pub struct Publisher<'a> {
    field: &'a Field,
    number: u64,
    random: Random,
    named: bool,
    sent: Vec<Sent>,
    /// What was sent, to repeat it.
    events: BTreeMap<usize, v1::Event>,
}

struct Stream {
    requests: mpsc::Sender<EventServicePublishStreamRequest>,
    answers: Streaming<EventServicePublishStreamResponse>,
    last: u64,
    /// Places of the events in hand.
    in_hand: BTreeMap<u64, usize>,
}

impl<'a> Publisher<'a> {
    pub fn new(field: &'a Field, number: u64) -> Self {
        field.publishing.fetch_add(1, Ordering::Relaxed);
        Self {
            field,
            number,
            random: Random::new(field.seed, 1_000 + number),
            named: number % 3 != 2,
            sent: Vec::new(),
            events: BTreeMap::new(),
        }
    }

    pub async fn run(mut self) -> Vec<Sent> {
        while !Field::is(&self.field.over) || !self.events.is_empty() {
            let (_, client) = self.field.client().await;
            if let Some(mut stream) = Stream::open(client).await {
                self.publish(&mut stream).await;
            }
            if !self.named {
                // Nobody will ever know.
                self.events.clear();
            }
        }
        self.field.publishing.fetch_sub(1, Ordering::Relaxed);
        self.sent
    }

    /// Until the stream breaks, or it is over.
    async fn publish(&mut self, stream: &mut Stream) -> Option<()> {
        let before: Vec<usize> = self.events.keys().copied().collect();
        for place in before {
            self.send(stream, place).await?;
        }
        loop {
            let over = Field::is(&self.field.over);
            let most = self.random.of(0..WINDOW);
            while !over && !self.field.lags() && (stream.in_hand.len() as u64) < most {
                let place = self.make();
                self.send(stream, place).await?;
            }
            if over && stream.in_hand.is_empty() {
                return None;
            }
            let left = self.random.of(0..stream.in_hand.len() as u64 + 1);
            while stream.in_hand.len() as u64 > left {
                self.hear(stream).await?;
            }
            if self.named && self.random.percent(1) {
                return None;
            }
            let rest = self.random.of(0..30);
            pause(Duration::from_millis(rest)).await;
        }
    }

    fn make(&mut self) -> usize {
        let place = self.sent.len();
        let random = &mut self.random;
        // Each publisher serves two topics.
        let topics = [self.number, self.number / 2 + 1];
        let topic = topics[usize::from(random.percent(40))];
        let key = random.percent(70).then(|| random.of(0..KEYS));
        let size = match random.of(0..1_000) {
            0..900 => random.of(0..400),
            900..995 => random.of(400..4_000),
            _ => random.of(4_000..64_000),
        };
        let name = Name {
            publisher: self.number,
            number: place as u64,
        };
        let event = event(name, self.named, key, size);
        self.sent.push(Sent {
            name,
            topic: usize::try_from(topic).unwrap_or(0) % TOPICS,
            named: self.named,
            digest: digest(&event),
            at: self.field.clock.now(),
            times: 0,
            answers: Vec::new(),
            refused: 0,
        });
        self.events.insert(place, event);
        place
    }

    async fn send(&mut self, stream: &mut Stream, place: usize) -> Option<()> {
        let sent = &mut self.sent[place];
        sent.times += 1;
        let publish = EventServicePublishRequest {
            topic: topic(sent.topic),
            event: self.events.get(&place).cloned(),
            ..EventServicePublishRequest::default()
        };
        stream.last += 1;
        stream.in_hand.insert(stream.last, place);
        let request = EventServicePublishStreamRequest {
            id: stream.last,
            request: Some(Request::Publish(publish)),
        };
        stream.requests.send(request).await.ok()
    }

    async fn hear(&mut self, stream: &mut Stream) -> Option<()> {
        let answer = answered(stream.answers.message()).await.ok()??;
        let place = stream.in_hand.remove(&answer.id)?;
        let sent = &mut self.sent[place];
        match answer.response? {
            Response::Published(answer) => {
                let published = answer.published?;
                if sent.answers.is_empty() {
                    self.field.published[sent.topic].fetch_add(1, Ordering::Relaxed);
                }
                sent.answers.push(Answer {
                    offset: published.offset,
                    at: self.field.clock.now(),
                    duplicate: published.duplicate,
                });
                if self.named && self.random.percent(3) {
                    // As one does that has not heard the answer.
                    return self.send(stream, place).await;
                }
                let again: BTreeSet<usize> = stream.in_hand.values().copied().collect();
                if !again.contains(&place) {
                    self.events.remove(&place);
                }
                Some(())
            }
            Response::Error(error) => {
                let reason = self.field.note(&status(&error));
                if reason != "OUTCOME_UNKNOWN" {
                    sent.refused += 1;
                }
                // What has an id is repeated on another stream.
                (!self.named).then_some(())
            }
            Response::Draining(_) => None,
        }
    }
}

impl Stream {
    async fn open(mut client: Client) -> Option<Self> {
        let (requests, queue) = mpsc::channel(64);
        let open = EventServicePublishStreamRequest {
            id: 0,
            request: Some(Request::Open(v1::StreamOpen::default())),
        };
        requests.send(open).await.ok()?;
        let answers = answered(client.publish_stream(ReceiverStream::new(queue))).await;
        Some(Self {
            requests,
            answers: answers.ok()?.into_inner(),
            last: 0,
            in_hand: BTreeMap::new(),
        })
    }
}
