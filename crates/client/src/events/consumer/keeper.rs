//! The task behind a consumer and its deliveries: it keeps their stream, extends their leases, and sends what they say.
//!
//! What was said is kept until it is answered, and sent again on the next stream: an acknowledgement of what is done
//! succeeds. An event counts against the prefetch until the answer to what was said of it, so that the queue of messages
//! never fills. The task ends when consumer and deliveries are gone and everything is answered, or after a last patience.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use trellis_proto::v1 as proto;
use trellis_proto::v1::event_service_consume_request::Request;
use trellis_proto::v1::event_service_consume_response::Response;
use trellis_proto::v1::event_settlement::Settlement;

use super::super::event::StoredEvent;
use super::Consume;
use super::delivery::Delivery;
use super::link::Link;
use super::mail::{Command, Mail, Owner, Reply};
use crate::again::Again;
use crate::convert;
use crate::error::{Error, ErrorReason, Result};

/// How often leases are looked at: the shortest has 1 s and is extended after a third of it.
const TICK: Duration = Duration::from_millis(200);

/// How long what was said is sent on when everybody is gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of events that may be on their way.
const BYTES: i64 = 4 * 1024 * 1024;

/// An event that the member has.
struct Held {
    bytes: i64,
    lost: watch::Sender<bool>,
    /// When the lease ends, counted from when it was known to last.
    until: Instant,
    extend_at: Instant,
    /// No extension is unanswered, and the lease is not lost.
    may_extend: bool,
}

/// What was said and is not answered.
struct Said {
    lease: String,
    settlement: Settlement,
    reply: Option<Reply>,
}

/// An extension that is not answered: of which lease, and when it was sent.
type Extension = (String, Instant);

/// Why a stream is not used any more.
enum End {
    Broken(Error),
    /// Everything is answered and everybody is gone.
    Done,
}

pub(super) struct Keeper {
    consume: Consume,
    mail: Arc<Mail>,
    owner: Weak<Owner>,
    deliveries: mpsc::Sender<Result<Delivery>>,
    held: HashMap<String, Held>,
    said: BTreeMap<u64, Said>,
    extensions: HashMap<u64, Extension>,
    /// The consumer is there.
    wanted: bool,
    /// Since when neither it nor a delivery is.
    gone: Option<Instant>,
    /// Events and bytes to be granted.
    free: (i64, i64),
    ids: u64,
}

impl Keeper {
    pub(super) fn new(
        consume: Consume,
        mail: Arc<Mail>,
        owner: Weak<Owner>,
        deliveries: mpsc::Sender<Result<Delivery>>,
    ) -> Self {
        Self {
            consume,
            mail,
            owner,
            deliveries,
            held: HashMap::new(),
            said: BTreeMap::new(),
            extensions: HashMap::new(),
            wanted: true,
            gone: None,
            free: (0, 0),
            ids: 0,
        }
    }

    /// Runs to the end, or to an error after which no stream works.
    pub(super) async fn run(mut self) {
        let mut again = Again::default();
        while !self.is_done() {
            let End::Broken(error) = self.keep(&mut again).await else {
                break;
            };
            if let Err(error) = self.pause(&mut again, error).await {
                self.fail(&error);
                break;
            }
        }
        self.mail.close();
    }

    /// Waits before the next stream; what is asked for meanwhile is kept for it.
    async fn pause(&mut self, again: &mut Again, error: Error) -> Result<()> {
        let mail = self.mail.clone();
        let mut pause = pin!(again.after(error));
        let mut tick = interval(TICK);
        loop {
            tokio::select! {
                passed = &mut pause => return passed,
                command = mail.next() => { self.note(command); }
                now = tick.tick() => self.expire(now),
            }
        }
    }

    /// One stream, from its opening to its end.
    async fn keep(&mut self, again: &mut Again) -> End {
        let mut link = match self.connect().await {
            Ok(link) => link,
            Err(error) => return End::Broken(error),
        };
        let mail = self.mail.clone();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.is_done() {
            tokio::select! {
                biased;
                told = link.next() => match told {
                    Ok(told) => {
                        again.works();
                        if let Err(end) = self.told(told, &link) {
                            return End::Broken(end);
                        }
                    }
                    Err(error) => return End::Broken(error),
                },
                command = mail.next() => {
                    let leaves = matches!(command, Command::Leave);
                    if let Some(id) = self.note(command) {
                        self.send(id, &link);
                    } else if leaves {
                        // What is on its way still comes, and goes back; a next stream takes no events.
                        link.end();
                    }
                }
                now = tick.tick() => {
                    self.expire(now);
                    self.extend(now, &link);
                }
            }
        }
        End::Done
    }

    fn is_done(&self) -> bool {
        let patient = |since: Instant| since.elapsed() < PATIENCE && !self.said.is_empty();
        self.gone.is_some_and(|since| !patient(since))
    }

    async fn connect(&mut self) -> Result<Link> {
        let prefetch = i64::from(self.consume.prefetch);
        let held = i64::try_from(self.held.len()).unwrap_or(i64::MAX);
        let bytes: i64 = self.held.values().map(|held| held.bytes).sum();
        let group = &self.consume.group;
        let open = proto::ConsumerOpen {
            namespace: group.topic.events.namespace_name(),
            topic: group.topic.name.clone(),
            group: group.name.clone(),
            start: Some(self.consume.start.to_proto()),
            credit: Some(proto::EventCredit {
                events: if self.wanted {
                    (prefetch - held).max(0)
                } else {
                    0
                },
                // 0 would mean the default.
                bytes: (BYTES - bytes).max(1),
            }),
        };
        self.free = (0, 0);
        self.extensions.clear();
        // At most one message of what was said of each event, one extension, one grant, and `open`.
        let queue = 3 * self.consume.prefetch as usize + 1;
        let link = Link::open(group, open, queue).await?;
        for id in self.said.keys() {
            self.send(*id, &link);
        }
        let now = Instant::now();
        for held in self.held.values_mut() {
            held.extend_at = now;
            held.may_extend = !*held.lost.borrow();
        }
        Ok(link)
    }

    /// Keeps a command: the id of what is to be sent.
    fn note(&mut self, command: Command) -> Option<u64> {
        match command {
            Command::Settle {
                lease,
                settlement,
                reply,
            } => {
                let id = self.id();
                self.said.insert(
                    id,
                    Said {
                        lease,
                        settlement,
                        reply,
                    },
                );
                Some(id)
            }
            Command::Leave => {
                self.wanted = false;
                None
            }
            Command::Close => {
                self.gone = Some(Instant::now());
                None
            }
        }
    }

    fn id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    fn send(&self, id: u64, link: &Link) {
        if let Some(said) = self.said.get(&id) {
            link.send(id, settle(said.lease.clone(), said.settlement));
        }
    }

    fn told(&mut self, told: proto::EventServiceConsumeResponse, link: &Link) -> Result<()> {
        let id = told.id;
        match told.response {
            Some(Response::Delivery(delivery)) => self.delivered(delivery)?,
            Some(Response::Settled(settled)) => {
                self.extended(id, Ok(settled));
                self.answer(id, Ok(()));
            }
            Some(Response::Error(status)) => {
                let error = Error::from_item(&status);
                self.extended(id, Err(&error));
                // What a daemon that drains refuses is sent on the next stream.
                if error.reason() != Some(ErrorReason::Draining) {
                    self.answer(id, Err(error));
                }
            }
            Some(Response::Draining(draining)) => {
                return Err(Error::unreachable(draining.reason));
            }
            None => tracing::debug!(id, "a message of a kind that this version does not know"),
        }
        self.grant(link);
        Ok(())
    }

    fn delivered(&mut self, delivery: proto::EventDelivery) -> Result<()> {
        let event = StoredEvent::try_from(convert::required(delivery.event, "event")?)?;
        let now = Instant::now();
        let lease = convert::duration(delivery.lease_remaining, "lease_remaining")?;
        let (lost, watch) = watch::channel(false);
        let held = Held {
            bytes: i64::try_from(event.event.bytes()).unwrap_or(i64::MAX),
            lost,
            until: now + lease,
            extend_at: now + lease / 3,
            may_extend: true,
        };
        self.held.insert(delivery.lease_id.clone(), held);
        let attempt = u32::try_from(delivery.attempt).unwrap_or_default();
        let lease = delivery.lease_id;
        if let Some(owner) = self.owner.upgrade() {
            // Where the consumer is gone the delivery is dropped, and says so.
            let delivery = Delivery::new(event, attempt, lease, watch, owner);
            let _ = self.deliveries.try_send(Ok(delivery));
        } else {
            let delay = Some(prost_types::Duration::default());
            let settlement = Settlement::Nack(proto::EventNack { delay });
            self.mail.send(Command::Settle {
                lease,
                settlement,
                reply: None,
            });
        }
        Ok(())
    }

    /// The answer to what was said of an event, which this member has no more.
    fn answer(&mut self, id: u64, result: Result<()>) {
        let Some(said) = self.said.remove(&id) else {
            return;
        };
        if let Some(held) = self.held.remove(&said.lease) {
            self.free.0 += 1;
            self.free.1 += held.bytes;
        }
        if let Some(reply) = said.reply {
            let _ = reply.send(result);
        }
    }

    /// Grants anew what is free, a quarter of the prefetch at a time.
    fn grant(&mut self, link: &Link) {
        let (events, bytes) = self.free;
        if events < i64::from(self.consume.prefetch.div_ceil(4)) || !self.wanted {
            return;
        }
        self.free = (0, 0);
        let credit = proto::EventCredit { events, bytes };
        link.send(0, Request::Credit(credit));
    }

    /// Extends the leases whose time it is, but those of which something was said.
    fn extend(&mut self, now: Instant, link: &Link) {
        let due = |held: &Held| held.extend_at <= now && held.may_extend;
        let held = self.held.iter_mut().filter(|(_, held)| due(held));
        for (lease, held) in held {
            if self.said.values().any(|said| said.lease == *lease) {
                continue;
            }
            self.ids += 1;
            held.may_extend = false;
            let extend = Settlement::Extend(proto::EventExtend::default());
            link.send(self.ids, settle(lease.clone(), extend));
            self.extensions.insert(self.ids, (lease.clone(), now));
        }
    }

    fn extended(&mut self, id: u64, result: std::result::Result<proto::EventSettled, &Error>) {
        let Some((lease, sent)) = self.extensions.remove(&id) else {
            return;
        };
        let Some(held) = self.held.get_mut(&lease) else {
            return;
        };
        match result {
            Ok(settled) => {
                held.may_extend = true;
                let remaining = settled.lease_remaining.and_then(|it| it.try_into().ok());
                let remaining: Duration = remaining.unwrap_or_default();
                held.until = sent + remaining;
                held.extend_at = sent + remaining / 3;
            }
            Err(error) if error.reason() == Some(ErrorReason::LeaseLost) => {
                held.lost.send_replace(true);
            }
            Err(_) => held.may_extend = true,
        }
    }

    /// Tells deliveries whose lease is over.
    fn expire(&mut self, now: Instant) {
        for held in self.held.values().filter(|held| held.until <= now) {
            held.lost.send_replace(true);
        }
    }

    /// No stream will work: tells everybody.
    fn fail(&mut self, error: &Error) {
        for said in std::mem::take(&mut self.said).into_values() {
            if let Some(reply) = said.reply {
                let _ = reply.send(Err(error.clone()));
            }
        }
        for held in self.held.values() {
            held.lost.send_replace(true);
        }
        // There is a place for it beside what the prefetch allows.
        let _ = self.deliveries.try_send(Err(error.clone()));
    }
}

fn settle(lease_id: String, settlement: Settlement) -> Request {
    Request::Settle(proto::EventSettlement {
        lease_id,
        settlement: Some(settlement),
    })
}
