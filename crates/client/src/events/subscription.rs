//! [`Subscription`]: every event of a topic from a place on, through broken streams.
//!
//! There is no task behind it: it reads its stream when it is asked for the next event. What it has received it hands
//! out, whatever becomes of the stream; the next stream begins behind that. So nothing is lost and nothing comes twice.

use std::collections::VecDeque;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use trellis_proto::v1 as proto;
use trellis_proto::v1::event_service_subscribe_request::Request;
use trellis_proto::v1::event_service_subscribe_response::Response;

use super::event::{Cursor, Start, StoredEvent};
use super::filter::Filter;
use super::topic::Topic;
use crate::again::Again;
use crate::convert;
use crate::error::{Error, Result};
use crate::scope::Scope;

/// What may be on its way, unless set otherwise.
const DEFAULT_EVENTS: u32 = 1_000;
const DEFAULT_BYTES: u32 = 4 * 1024 * 1024;

/// Messages on their way to the daemon: `open`, and grants, of which there are never more than two unread.
const QUEUE: usize = 8;

/// A subscription being asked for. Made by [`Topic::subscribe`].
#[derive(Clone, Debug)]
#[must_use = "a subscription does nothing until it is opened"]
pub struct Subscribe {
    topic: Topic,
    start: Start,
    filter: Filter,
    events: u32,
    bytes: u32,
    heartbeat: Option<Duration>,
}

impl Subscribe {
    pub(super) fn new(topic: Topic) -> Self {
        Self {
            topic,
            start: Start::default(),
            filter: Filter::default(),
            events: DEFAULT_EVENTS,
            bytes: DEFAULT_BYTES,
            heartbeat: None,
        }
    }

    /// Where to begin. Default [`Start::Latest`].
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Which events. Default all.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// How many events, of how many bytes, may be on their way and waiting here: up to 100,000 and 64 MiB. Default 1,000 and 4 MiB.
    pub fn ahead(mut self, events: u32, bytes: u32) -> Self {
        self.events = events.max(1);
        self.bytes = bytes.max(1);
        self
    }

    /// How often the daemon tells the position when there is no event: 1 s to 5 minutes. Default 15 s.
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = Some(heartbeat);
        self
    }

    /// Begins. When it returns, every event that comes is told.
    pub async fn open(self) -> Result<Subscription> {
        let mut subscription = Subscription {
            subscribe: self,
            link: None,
            seen: None,
            received: None,
            waiting: VecDeque::new(),
            used: (0, 0),
            again: Again::default(),
        };
        subscription.receive().await?;
        Ok(subscription)
    }

    fn request(&self, received: Option<&Cursor>) -> Result<proto::SubscriptionOpen> {
        let start = received.map(|cursor| Start::After(cursor.clone()));
        let heartbeat = self.heartbeat.map(|it| convert::to_proto(it, "heartbeat"));
        Ok(proto::SubscriptionOpen {
            namespace: self.topic.events.namespace_name(),
            topic: self.topic.name.clone(),
            start: Some(start.as_ref().unwrap_or(&self.start).to_proto()),
            filter: Some(self.filter.to_proto()),
            credit: Some(proto::EventCredit {
                events: self.events.into(),
                bytes: self.bytes.into(),
            }),
            heartbeat: heartbeat.transpose()?,
        })
    }
}

/// Why something may have been missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GapReason {
    /// It was dropped by the topic's retention.
    Retention,
    /// The log is another one than that which the cursor came from.
    History,
    /// The log has lost its newest part.
    LostTail,
}

/// Something may have been missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub reason: GapReason,
    /// Where it goes on.
    pub cursor: Cursor,
}

/// How far a subscription is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Everything before it was told or filtered out.
    pub cursor: Cursor,
    /// At most so many events stand behind it, as far as is known.
    pub behind: u64,
    /// Which guarantee holds.
    pub scope: Scope,
}

/// What a subscription tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all that is heard are events, which a box would make dearer"
)]
pub enum Heard {
    /// The next event.
    Event(StoredEvent),
    /// From here on events come as they are published. Told again after the subscription has fallen behind, or resumed.
    CaughtUp(Position),
    /// Something may have been missed here.
    Gap(Gap),
}

struct Link {
    requests: mpsc::Sender<proto::EventServiceSubscribeRequest>,
    told: Streaming<proto::EventServiceSubscribeResponse>,
}

/// A reader of a topic.
///
/// When its stream breaks, or the daemon drains or is started anew, it goes on behind the last event by itself, for as long as it takes.
pub struct Subscription {
    subscribe: Subscribe,
    link: Option<Link>,
    /// Behind what was handed out.
    seen: Option<Cursor>,
    /// Behind what was received.
    received: Option<Cursor>,
    waiting: VecDeque<Heard>,
    /// Events and bytes handed out, and not granted anew.
    used: (u32, u32),
    again: Again,
}

impl Subscription {
    /// The next event or news; waits for it. Dropping the future loses nothing.
    ///
    /// Fails only where trying again does not help.
    pub async fn next(&mut self) -> Result<Heard> {
        loop {
            if let Some(heard) = self.waiting.pop_front() {
                self.hand_out(&heard);
                return Ok(heard);
            }
            self.receive().await?;
        }
    }

    /// The same as a stream, which ends after the first error.
    #[must_use]
    pub fn into_stream(self) -> BoxStream<'static, Result<Heard>> {
        let told = stream::unfold(Some(self), |subscription| async {
            let mut subscription = subscription?;
            match subscription.next().await {
                Ok(heard) => Some((Ok(heard), Some(subscription))),
                Err(error) => Some((Err(error), None)),
            }
        });
        told.boxed()
    }

    /// Where to go on later: behind all that was handed out or filtered out. `None` before the daemon has told a position.
    #[must_use]
    pub fn cursor(&self) -> Option<&Cursor> {
        if self.waiting.is_empty() {
            self.received.as_ref()
        } else {
            self.seen.as_ref()
        }
    }

    /// Receives one message, over a new stream if there is none.
    async fn receive(&mut self) -> Result<()> {
        loop {
            let told = match &mut self.link {
                Some(link) => link.told.message().await.map_err(Error::from),
                None => match self.connect().await {
                    Ok(link) => {
                        self.link = Some(link);
                        self.used = (0, 0);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            let ended = || Error::outcome_unknown("the stream has ended");
            match told.and_then(|told| told.ok_or_else(ended)) {
                Ok(told) => {
                    let Some(told) = told.response else { continue };
                    if self.note(told)? {
                        self.again.works();
                        return Ok(());
                    }
                }
                Err(error) => {
                    self.link = None;
                    self.again.after(error).await?;
                }
            }
        }
    }

    async fn connect(&self) -> Result<Link> {
        let (requests, outgoing) = mpsc::channel(QUEUE);
        let open = Request::Open(self.subscribe.request(self.received.as_ref())?);
        let shared = &self.subscribe.topic.events.shared;
        let closed = |_| Error::unreachable("the stream takes no request");
        requests.try_send(message(open)).map_err(closed)?;
        let mut stub = shared.events();
        let opening = stub.subscribe(ReceiverStream::new(outgoing));
        let told = shared.opened(opening).await?.into_inner();
        Ok(Link { requests, told })
    }

    /// Keeps what was told; false when it was nothing for the caller.
    fn note(&mut self, told: Response) -> Result<bool> {
        match told {
            Response::Events(page) => {
                for event in page.events {
                    let event = StoredEvent::try_from(event)?;
                    self.received = Some(event.cursor.clone());
                    self.waiting.push_back(Heard::Event(event));
                }
            }
            Response::CaughtUp(position) => {
                let position = position_of(position)?;
                self.received = Some(position.cursor.clone());
                self.waiting.push_back(Heard::CaughtUp(position));
            }
            Response::Gap(gap) => {
                let gap = gap_of(gap)?;
                self.received = Some(gap.cursor.clone());
                self.waiting.push_back(Heard::Gap(gap));
            }
            Response::Heartbeat(position) => {
                self.received = Some(position.cursor.into());
                return Ok(false);
            }
            Response::Draining(draining) => {
                if !draining.resume.is_empty() {
                    self.received = Some(draining.resume.into());
                }
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn hand_out(&mut self, heard: &Heard) {
        let cursor = match heard {
            Heard::Event(stored) => {
                let bytes = u32::try_from(stored.event.bytes()).unwrap_or(u32::MAX);
                self.used.0 += 1;
                self.used.1 = self.used.1.saturating_add(bytes);
                self.grant();
                &stored.cursor
            }
            Heard::CaughtUp(position) => &position.cursor,
            Heard::Gap(gap) => &gap.cursor,
        };
        self.seen = Some(cursor.clone());
    }

    /// Grants anew what was handed out, half of the credit at a time.
    fn grant(&mut self) {
        let (events, bytes) = self.used;
        if events < self.subscribe.events.div_ceil(2) && bytes < self.subscribe.bytes.div_ceil(2) {
            return;
        }
        let credit = proto::EventCredit {
            events: events.into(),
            bytes: bytes.into(),
        };
        if let Some(link) = &self.link
            && link
                .requests
                .try_send(message(Request::Credit(credit)))
                .is_err()
        {
            // Tried again with the next event; a new stream begins with all of its credit.
            return;
        }
        self.used = (0, 0);
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Subscription")
            .field("subscribe", &self.subscribe)
            .field("cursor", &self.cursor())
            .finish_non_exhaustive()
    }
}

fn message(request: Request) -> proto::EventServiceSubscribeRequest {
    let request = Some(request);
    proto::EventServiceSubscribeRequest { request }
}

fn position_of(position: proto::EventPosition) -> Result<Position> {
    Ok(Position {
        cursor: position.cursor.into(),
        behind: convert::count(position.behind, "behind")?,
        scope: position.scope.try_into()?,
    })
}

fn gap_of(gap: proto::EventGap) -> Result<Gap> {
    use proto::EventGapReason as Wire;
    let reason = match Wire::try_from(gap.reason) {
        Ok(Wire::Retention) => GapReason::Retention,
        Ok(Wire::History) => GapReason::History,
        Ok(Wire::LostTail) => GapReason::LostTail,
        Ok(Wire::Unspecified) | Err(_) => return Err(convert::unknown(gap.reason, "gap.reason")),
    };
    Ok(Gap {
        reason,
        cursor: gap.cursor.into(),
    })
}
