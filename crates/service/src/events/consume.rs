//! `Consume`: a member of a group on one stream, which is sent what its credit allows and says what it did with it.
//!
//! The stream is its own driver. It takes deliveries from the port only when all that it took were sent, so that a member that
//! does not read holds few; one whose lease has ended meanwhile is not sent. What a member says is
//! gathered, as far as it has come, into one call of the port. While too much is unanswered it does not read.

use super::EventRpc;
use super::credit::Credit;
use crate::convert::events as wire;
use crate::drain::farewell;
use crate::error::{item_status, status};
use crate::items::unanswered;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use prost::bytes::Bytes;
use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Status, Streaming};
use trellis_core::events::group::LeaseKey;
use trellis_core::events::{Delivered, GroupId, Room, Settlement};
use trellis_core::{Error, ErrorCode, Micros, Result, Time};
use trellis_proto::v1::event_service_consume_request::Request;
use trellis_proto::v1::event_service_consume_response::Response;
use trellis_proto::v1::{self, EventServiceConsumeRequest, EventServiceConsumeResponse};

/// The RPC that settlements are counted under.
pub(super) const NAME: &str = "trellis.v1.EventService/Consume";

/// The most that is taken from the port at once.
const TAKEN: Room = Room {
    events: 256,
    bytes: 256 * 1024,
};

/// Events that an `open` without credit grants.
const DEFAULT_EVENTS: i64 = 1;

/// The most messages that are taken together.
const MAX_TOGETHER: usize = 256;

/// How long one call of the port waits for events; then the next one does.
const WAIT: Micros = Micros::from_secs(60);

type Item = std::result::Result<EventServiceConsumeResponse, Status>;

enum Phase {
    /// The first message has not come.
    Opening,
    /// Events are taken, and messages read.
    Open(Box<Member>),
    /// Neither; what is in hand is answered.
    Closing {
        /// The daemon ends the stream, and says so last.
        draining: bool,
    },
    /// Nothing more is sent.
    Ended,
}

/// An open stream's part in its group.
struct Member {
    group: GroupId,
    credit: Credit,
    /// Never dropped while the member is there: what it had taken would wait for the end of its lease.
    receiving: Option<BoxFuture<'static, Result<Vec<Delivered>>>>,
}

/// What was said of deliveries, in one call of the port.
struct Settled {
    ids: Vec<u64>,
    started: Time,
    results: Result<Vec<Result<Option<Micros>>>>,
}

/// What wakes a stream.
enum Event {
    Settled(Settled),
    Request(Option<std::result::Result<EventServiceConsumeRequest, Status>>),
    Received(Result<Vec<Delivered>>),
    Drained,
}

/// One member's stream.
pub(super) struct Consume {
    rpc: Arc<EventRpc>,
    inbound: Streaming<EventServiceConsumeRequest>,
    phase: Phase,
    /// Taken, and not sent yet.
    deliveries: VecDeque<Delivered>,
    /// When they were.
    taken: Time,
    settling: FuturesUnordered<BoxFuture<'static, Settled>>,
    /// Those of the settlements in hand.
    ids: HashSet<u64>,
    outbox: VecDeque<(u64, Response)>,
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
    _permit: OwnedSemaphorePermit,
}

impl Consume {
    pub fn new(
        rpc: Arc<EventRpc>,
        inbound: Streaming<EventServiceConsumeRequest>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let drained = Box::pin(rpc.drain.clone().cancelled_owned());
        Self {
            rpc,
            inbound,
            phase: Phase::Opening,
            deliveries: VecDeque::new(),
            taken: Time::default(),
            settling: FuturesUnordered::new(),
            ids: HashSet::new(),
            outbox: VecDeque::new(),
            drained,
            _permit: permit,
        }
    }

    /// The next message to the member; `None` at the end.
    pub async fn next(&mut self) -> Option<Item> {
        loop {
            if let Some((id, response)) = self.outbox.pop_front() {
                let response = Some(response);
                return Some(Ok(EventServiceConsumeResponse { id, response }));
            }
            if let Phase::Ended = self.phase {
                return None;
            }
            if let Some(delivered) = self.deliveries.pop_front() {
                self.deliver(&delivered);
                continue;
            }
            let handled = match self.event().await {
                None => {
                    self.end();
                    Ok(())
                }
                Some(Event::Settled(settled)) => {
                    self.answer(settled);
                    Ok(())
                }
                Some(Event::Received(received)) => self.receive(received).map_err(status),
                Some(Event::Drained) => {
                    self.phase = Phase::Closing { draining: true };
                    Ok(())
                }
                Some(Event::Request(request)) => self.requests(request).await,
            };
            if let Err(status) = handled {
                self.phase = Phase::Ended;
                return Some(Err(status));
            }
        }
    }

    /// What happens next; `None` when nothing does any more.
    async fn event(&mut self) -> Option<Event> {
        let reads = self.ids.len() < self.rpc.config.events.max_stream_in_flight;
        let settling = !self.settling.is_empty();
        match &mut self.phase {
            Phase::Ended => None,
            Phase::Closing { .. } => self.settling.next().await.map(Event::Settled),
            Phase::Opening => Some(tokio::select! {
                biased;
                () = &mut self.drained => Event::Drained,
                request = self.inbound.next() => Event::Request(request),
            }),
            Phase::Open(member) => {
                member.ask(&self.rpc);
                let received = async {
                    match &mut member.receiving {
                        Some(receiving) => receiving.await,
                        None => std::future::pending().await,
                    }
                };
                Some(tokio::select! {
                    biased;
                    Some(settled) = self.settling.next(), if settling => Event::Settled(settled),
                    () = &mut self.drained => Event::Drained,
                    request = self.inbound.next(), if reads => Event::Request(request),
                    received = received => Event::Received(received),
                })
            }
        }
    }

    fn end(&mut self) {
        if let Phase::Closing { draining: true } = self.phase {
            let last = Response::Draining(farewell(Bytes::new()));
            self.outbox.push_back((0, last));
        }
        self.phase = Phase::Ended;
    }

    fn deliver(&mut self, delivered: &Delivered) {
        let Phase::Open(member) = &mut self.phase else {
            return;
        };
        let ago = self.rpc.clock.mono() - self.taken;
        if delivered.remaining <= ago {
            return;
        }
        member.credit.spend(1, delivered.event.event.bytes());
        let delivery = wire::delivery(delivered, ago, &member.group.topic);
        self.outbox.push_back((0, Response::Delivery(delivery)));
    }

    fn receive(&mut self, received: Result<Vec<Delivered>>) -> Result<()> {
        if let Phase::Open(member) = &mut self.phase {
            member.receiving = None;
        }
        if let Err(error) = &received
            && error.code == ErrorCode::Draining
        {
            self.phase = Phase::Closing { draining: true };
            return Ok(());
        }
        self.deliveries = received?.into();
        self.taken = self.rpc.clock.mono();
        Ok(())
    }

    /// Takes a message, and those that have come behind it; what they say of deliveries goes to the port together.
    async fn requests(
        &mut self,
        first: Option<std::result::Result<EventServiceConsumeRequest, Status>>,
    ) -> std::result::Result<(), Status> {
        let max_in_flight = self.rpc.config.events.max_stream_in_flight;
        let mut said = Said::new(self.rpc.clock.mono());
        let mut next = Some(first);
        let mut taken = Ok(());
        for left in (0..MAX_TOGETHER).rev() {
            taken = match next.take() {
                None => break,
                // The member has ended its side.
                Some(None) => {
                    self.phase = Phase::Closing { draining: false };
                    break;
                }
                Some(Some(Err(error))) => Err(error),
                Some(Some(Ok(request))) => self.accept(request, &mut said).await.map_err(status),
            };
            if taken.is_err() || left == 0 || self.ids.len() >= max_in_flight {
                break;
            }
            if let Poll::Ready(ready) = futures::poll!(self.inbound.next()) {
                next = Some(ready);
            }
        }
        if let Some(group) = said.group.take() {
            self.settling.push(said.settle(&self.rpc, group));
        }
        if taken.is_err() {
            // The stream ends here; what was said before goes on, once it has begun.
            let _ = futures::poll!(self.settling.next());
        }
        taken
    }

    /// Takes a message. An error ends the stream.
    async fn accept(&mut self, request: EventServiceConsumeRequest, said: &mut Said) -> Result<()> {
        let EventServiceConsumeRequest { id, request } = request;
        let Phase::Open(member) = &mut self.phase else {
            let Some(Request::Open(open)) = request else {
                let allowed = "the first message must be `open`";
                return Err(Error::invalid("request", allowed));
            };
            let opened = self.open(open).await;
            return opened.map_err(|error| error.within("open"));
        };
        let refused = match request {
            Some(Request::Settle(_)) if self.ids.contains(&id) => {
                let allowed = "an earlier message with this id is in hand";
                Error::invalid("id", allowed)
            }
            Some(Request::Settle(settle)) => match wire::settlement(&settle) {
                Ok(settlement) => {
                    self.ids.insert(id);
                    said.ids.push(id);
                    said.settlements.push(settlement);
                    said.group.get_or_insert_with(|| member.group.clone());
                    return Ok(());
                }
                Err(error) => error.within("settle"),
            },
            Some(Request::Credit(credit)) => {
                match member.credit.grant(credit, &self.rpc.config.events) {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                }
            }
            Some(Request::Open(_)) => {
                Error::invalid("request", "`open` must be the first message only")
            }
            None => Error::invalid("request", "must be one of credit, settle"),
        };
        let refused = Response::Error(item_status(refused));
        self.outbox.push_back((id, refused));
        Ok(())
    }

    async fn open(&mut self, open: v1::ConsumerOpen) -> Result<()> {
        let context = self.rpc.context();
        let bounds = &self.rpc.config.events;
        let credit = Credit::open(open.credit, DEFAULT_EVENTS, bounds)?;
        let group = wire::group((open.namespace, open.topic, open.group), &context)?;
        let start = wire::start(open.start, &group.topic)?;
        let joined = self.rpc.events.join_group(group.clone(), start).await;
        joined.map_err(|error| error.within("start"))?;
        self.phase = Phase::Open(Box::new(Member {
            group,
            credit,
            receiving: None,
        }));
        Ok(())
    }

    fn answer(&mut self, settled: Settled) {
        let Settled {
            ids,
            started,
            results,
        } = settled;
        let (mut results, failed) = match results {
            Ok(results) => (results.into_iter(), None),
            Err(error) => (Vec::new().into_iter(), Some(error)),
        };
        for id in ids {
            self.ids.remove(&id);
            let missing = || Err(failed.clone().unwrap_or_else(unanswered));
            let result = results.next().unwrap_or_else(missing);
            self.rpc
                .record(self.rpc.consume_place, started, result.is_err());
            let response = match result {
                Ok(remaining) => Response::Settled(self.rpc.settled(remaining)),
                Err(error) => Response::Error(item_status(error)),
            };
            self.outbox.push_back((id, response));
        }
    }
}

impl Member {
    /// Asks for events, if there is credit for some and they are not asked for.
    fn ask(&mut self, rpc: &EventRpc) {
        if self.receiving.is_some() {
            return;
        }
        let Some(room) = self.credit.room(TAKEN) else {
            return;
        };
        let (events, group) = (Arc::clone(&rpc.events), self.group.clone());
        let receiving = async move { events.receive(group, room, WAIT).await };
        self.receiving = Some(receiving.boxed());
    }
}

/// What messages that came together say of deliveries.
struct Said {
    group: Option<GroupId>,
    ids: Vec<u64>,
    settlements: Vec<(LeaseKey, Settlement)>,
    started: Time,
}

impl Said {
    fn new(started: Time) -> Self {
        Self {
            group: None,
            ids: Vec::new(),
            settlements: Vec::new(),
            started,
        }
    }

    fn settle(self, rpc: &EventRpc, group: GroupId) -> BoxFuture<'static, Settled> {
        let events = Arc::clone(&rpc.events);
        let settling = async move {
            Settled {
                results: events.settle(group, self.settlements).await,
                ids: self.ids,
                started: self.started,
            }
        };
        settling.boxed()
    }
}
