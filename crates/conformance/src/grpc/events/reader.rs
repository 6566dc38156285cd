//! One subscription. It grants one event at a time, and none before it is asked for: what was not asked for stays behind, as the
//! port has it.

use super::{EventServiceClient, call, convert, count, error, outgoing, scope};
use async_trait::async_trait;
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::transport::Channel;
use trellis_core::events::{Cursor, Heard, Position, Room, Start, Subscribe, Subscription, Topic};
use trellis_core::{Error, ErrorCode, Result, Scope};
use trellis_proto::v1;
use v1::event_service_subscribe_request::Request;
use v1::event_service_subscribe_response::Response;

/// More than the events of a case have.
const BYTES: i64 = 1024 * 1024;

pub(super) struct Reader {
    topic: Topic,
    requests: mpsc::Sender<v1::EventServiceSubscribeRequest>,
    told: Streaming<v1::EventServiceSubscribeResponse>,
    /// An event is granted and did not come.
    granted: bool,
    /// Bytes that came and are not granted anew.
    came: usize,
    /// Told before it was asked for, and the place behind it.
    first: Option<(Heard, Position)>,
    position: Option<Position>,
    scope: Scope,
}

impl Reader {
    pub(super) async fn open(
        mut stub: EventServiceClient<Channel>,
        subscribe: Subscribe,
    ) -> Result<Self> {
        let (requests, outgoing) = outgoing();
        // Where such a reader begins depends on when it does, and whether it may on what it is told first.
        let now = matches!(subscribe.start, Start::Latest | Start::Time(_));
        let mut open = convert::subscribe_out(&subscribe);
        open.credit = Some(v1::EventCredit {
            events: i64::from(now),
            bytes: BYTES,
        });
        let request = Some(Request::Open(open));
        let open = v1::EventServiceSubscribeRequest { request };
        requests.try_send(open).unwrap();
        let told = call(stub.subscribe(outgoing).await)?;
        let mut reader = Self {
            topic: subscribe.topic,
            requests,
            told,
            granted: now,
            came: 0,
            first: None,
            position: None,
            scope: Scope::Local,
        };
        if now {
            let heard = reader.hear().await?;
            reader.first = reader.position.take().map(|position| (heard, position));
        }
        Ok(reader)
    }

    /// The next thing that is told.
    async fn hear(&mut self) -> Result<Heard> {
        loop {
            let told = self.told.message().await.map_err(error)?;
            let ended = || Error::new(ErrorCode::Draining, "the stream has ended");
            match told.ok_or_else(ended)?.response.unwrap() {
                Response::Events(page) => {
                    self.granted = false;
                    let events = page.events.into_iter();
                    let events: Vec<_> = events
                        .map(|event| convert::stored(event, &self.topic))
                        .collect();
                    self.came += events.iter().map(|it| it.event.bytes()).sum::<usize>();
                    let last = events.last().unwrap();
                    self.position = Some(Position {
                        cursor: last.cursor,
                        behind: 0,
                    });
                    return Ok(Heard::Events(events));
                }
                Response::CaughtUp(position) => {
                    self.note(position);
                    return Ok(Heard::CaughtUp);
                }
                Response::Gap(gap) => {
                    self.position = Some(Position {
                        cursor: self.cursor(&gap.cursor),
                        behind: 0,
                    });
                    return Ok(Heard::Gap(convert::gap(gap.reason())));
                }
                Response::Heartbeat(position) => self.note(position),
                Response::Draining(draining) => {
                    return Err(Error::new(ErrorCode::Draining, draining.reason));
                }
            }
        }
    }

    fn cursor(&self, bytes: &[u8]) -> Cursor {
        Cursor::decode(bytes, &self.topic, "cursor").unwrap()
    }

    fn note(&mut self, position: v1::EventPosition) {
        self.position = Some(Position {
            cursor: self.cursor(&position.cursor),
            behind: count(position.behind) as u64,
        });
        self.scope = scope(position.scope);
    }
}

#[async_trait]
impl Subscription for Reader {
    async fn next(&mut self, _: Room) -> Result<Heard> {
        if let Some((heard, position)) = self.first.take() {
            self.position = Some(position);
            return Ok(heard);
        }
        if !std::mem::replace(&mut self.granted, true) {
            let came = std::mem::take(&mut self.came);
            let credit = v1::EventCredit {
                events: 1,
                bytes: i64::try_from(came).unwrap(),
            };
            let request = Some(Request::Credit(credit));
            let grant = v1::EventServiceSubscribeRequest { request };
            // Fails when the stream has ended, which is told next.
            let _ = self.requests.try_send(grant);
        }
        self.hear().await
    }

    fn position(&self) -> Position {
        self.position
            .expect("a position is told before it is asked for")
    }

    fn scope(&self) -> Scope {
        self.scope.clone()
    }
}
