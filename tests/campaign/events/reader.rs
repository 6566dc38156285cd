//! Those who read a topic: the subscriber that goes on from its last cursor after every broken stream, and the one who reads
//! everything in the end.

use super::field::{Client, Field, earliest, group, stored, topic};
use super::history::{Dead, Stored, Topic};
use crate::calls::answered;
use crate::random::Random;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use trellis_proto::v1::event_service_subscribe_request::Request;
use trellis_proto::v1::event_service_subscribe_response::Response;
use trellis_proto::v1::{
    self, EventDeadReason, EventServiceListDeadLettersRequest, EventServiceReadRequest,
    EventServiceSubscribeRequest, SubscriptionOpen,
};

/// How often a subscriber that is told nothing looks whether it is over.
const TICK: Duration = Duration::from_millis(50);

pub struct Subscriber<'a> {
    field: &'a Field,
    topic: usize,
    random: Random,
    start: v1::EventStart,
    seen: Topic,
}

impl<'a> Subscriber<'a> {
    pub fn new(field: &'a Field, topic: usize) -> Self {
        Self {
            field,
            topic,
            random: Random::new(field.seed, 2_000 + topic as u64),
            start: earliest(),
            seen: Topic::default(),
        }
    }

    pub async fn run(mut self) -> Topic {
        while !Field::is(&self.field.done) {
            let (_, client) = self.field.client().await;
            self.follow(client).await;
        }
        self.seen
    }

    /// Until the stream breaks, or it is over.
    async fn follow(&mut self, mut client: Client) -> Option<()> {
        let (requests, queue) = mpsc::channel(64);
        let open = SubscriptionOpen {
            topic: topic(self.topic),
            start: Some(self.start.clone()),
            credit: Some(v1::EventCredit {
                events: self.random.of(1..300).cast_signed(),
                bytes: 256 * 1024,
            }),
            ..SubscriptionOpen::default()
        };
        let request = |request| EventServiceSubscribeRequest {
            request: Some(request),
        };
        requests.send(request(Request::Open(open))).await.ok()?;
        let told = answered(client.subscribe(ReceiverStream::new(queue))).await;
        let mut told = told.ok()?.into_inner();
        while !Field::is(&self.field.done) {
            let Ok(message) = tokio::time::timeout(TICK, told.message()).await else {
                continue;
            };
            if let Some(taken) = self.take(message.ok()??.response?) {
                let more = Request::Credit(taken);
                requests.send(request(more)).await.ok()?;
            }
            if self.random.percent(1) {
                return None;
            }
        }
        Some(())
    }

    /// Takes in what it is told. Tells what the events took of its credit.
    fn take(&mut self, response: Response) -> Option<v1::EventCredit> {
        match response {
            Response::Events(page) => {
                for event in &page.events {
                    self.seen.followed.push(stored(event));
                    self.field.followed[self.topic].store(event.offset, Ordering::Relaxed);
                    self.go_on(event.cursor.clone());
                }
                let bytes: usize = page.events.iter().map(prost::Message::encoded_len).sum();
                return Some(v1::EventCredit {
                    events: i64::try_from(page.events.len()).ok()?,
                    bytes: i64::try_from(bytes).ok()?,
                });
            }
            Response::Gap(gap) => {
                let reason = gap.reason().as_str_name();
                self.seen.gaps.push(format!("was told of {reason}"));
                self.go_on(gap.cursor);
            }
            Response::CaughtUp(at) | Response::Heartbeat(at) => self.go_on(at.cursor),
            Response::Draining(_) => {}
        }
        None
    }

    fn go_on(&mut self, cursor: prost::bytes::Bytes) {
        let start = v1::event_start::Start::Cursor(cursor);
        self.start.start = Some(start);
    }
}

/// All that stands in a topic.
pub async fn read(client: &mut Client, number: usize) -> Vec<Stored> {
    let (mut events, mut start) = (Vec::new(), earliest());
    loop {
        let request = EventServiceReadRequest {
            topic: topic(number),
            start: Some(start),
            max_events: 1_000,
            ..EventServiceReadRequest::default()
        };
        let answer = answered(client.read(request)).await;
        let answer = answer.expect("a topic can be read").into_inner();
        events.extend(answer.events.iter().map(stored));
        if answer.caught_up {
            return events;
        }
        let cursor = v1::event_start::Start::Cursor(answer.cursor);
        start = v1::EventStart {
            start: Some(cursor),
        };
    }
}

/// All dead letters of a group.
pub async fn dead_letters(client: &mut Client, number: usize) -> Vec<Dead> {
    let (mut dead, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = EventServiceListDeadLettersRequest {
            topic: topic(super::field::GROUPS[number].0),
            group: group(number),
            page_size: 1_000,
            page_token,
            ..EventServiceListDeadLettersRequest::default()
        };
        let answer = answered(client.list_dead_letters(request)).await;
        let answer = answer.expect("dead letters can be listed").into_inner();
        dead.extend(answer.dead_letters.iter().map(|letter| Dead {
            offset: letter.event.as_ref().map_or(-1, |event| event.offset),
            attempts: letter.attempts,
            rejected: letter.reason() == EventDeadReason::Rejected,
        }));
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return dead;
        }
    }
}
