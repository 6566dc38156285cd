//! `Fetch`: one caller's keys and leases on one stream.
//!
//! Requests are carried out one after another, so that the parts of a value keep their order; waits go on
//! beside them. The stream is its own driver: it does the next thing when the transport asks for an
//! answer, and there is no task and no queue behind it but the answers of what was done last. So a
//! caller that does not read is not served: its leases are renewed no more and end by their TTL. Dropping the
//! stream leaves every line and gives every lease of it up.

mod begun;
mod held;
mod waits;
mod write;

use super::{CacheRpc, Outcome};
use crate::convert::{self, Context, cache as spelled};
use crate::drain::farewell;
use crate::error::{item_status, status};
use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt as _, StreamExt as _};
use held::Held;
use prost::bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use trellis_core::cache::{Begin, Begun, Lease, LeaseEnd, LeaseId, Wait, Waiting};
use trellis_core::{Error, ErrorCode, Namespace, Result, Scope};
use trellis_proto::v1::fetch_request::Request;
use trellis_proto::v1::fetch_response::Response;
use trellis_proto::v1::key_answer::Answer;
use trellis_proto::v1::{self, FetchRequest, FetchResponse, KeyAnswer};
use waits::{Ends, Place, Told, Waited};

type Item = std::result::Result<FetchResponse, Status>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Requests are read.
    Open,
    /// The caller sends no more; what is in hand is answered.
    Closing,
    /// The daemon ends the stream: waits end, what is being carried out is answered.
    Draining,
    /// Nothing more is sent.
    Ended,
}

/// A fetch whose keys have not all ended, or whose leases are held.
struct InHand {
    /// Its keys that wait.
    waiting: usize,
    cancel: CancellationToken,
}

/// What a fetch asked for.
struct Asked {
    id: u64,
    namespace: Arc<Namespace>,
    /// Where each key stands in the request.
    indexes: Vec<Vec<u32>>,
    until: Option<Instant>,
    detached: bool,
    /// Keys of the same fetch were begun before these.
    further: bool,
}

/// What has happened.
enum Event {
    /// And the keys that were to be begun, in the order of the indexes.
    Begun(Asked, Begin, Result<(Vec<Result<Begun>>, Scope)>),
    /// A request is answered; the lease that it ended.
    Answered(FetchResponse, Option<LeaseId>),
    Waited(Waited),
    Renewed(LeaseId, Result<std::result::Result<Lease, LeaseEnd>>),
}

/// One stream.
pub(super) struct Fetch {
    rpc: Arc<CacheRpc>,
    inbound: Streaming<FetchRequest>,
    phase: Phase,
    namespace: Option<Arc<Namespace>>,
    events: FuturesUnordered<BoxFuture<'static, Event>>,
    /// A request is being carried out.
    busy: bool,
    /// What is left of a fetch whose values were too much to be read at once: begun when the answers to those before
    /// are taken.
    rest: Option<(Asked, Begin)>,
    in_hand: HashMap<u64, InHand>,
    waiting: usize,
    held: Held,
    answers: VecDeque<FetchResponse>,
    _permit: OwnedSemaphorePermit,
}

impl Fetch {
    pub fn new(
        rpc: Arc<CacheRpc>,
        inbound: Streaming<FetchRequest>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let held = Held::new(Arc::clone(&rpc.cache));
        Self {
            rpc,
            inbound,
            phase: Phase::Open,
            namespace: None,
            events: FuturesUnordered::new(),
            busy: false,
            rest: None,
            in_hand: HashMap::new(),
            waiting: 0,
            held,
            answers: VecDeque::new(),
            _permit: permit,
        }
    }

    /// The stream's answers.
    pub fn answers(self) -> BoxStream<'static, Item> {
        let next = |mut fetch: Self| async move {
            let item = fetch.next().await?;
            Some((item, fetch))
        };
        futures::stream::unfold(self, next).boxed()
    }

    async fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Some(Ok(answer));
            }
            match self.phase {
                Phase::Ended => return None,
                Phase::Closing if self.is_done() => return None,
                Phase::Draining if self.is_done() => {
                    self.phase = Phase::Ended;
                    self.say_draining();
                    continue;
                }
                Phase::Open | Phase::Closing | Phase::Draining => {}
            }
            if let Err(error) = self.step().await {
                self.phase = Phase::Ended;
                return Some(Err(error));
            }
        }
    }

    /// Nothing is being carried out or waited for.
    fn is_done(&self) -> bool {
        self.events.is_empty() && self.rest.is_none()
    }

    /// Does the next thing: what is left of a fetch, what has happened, a renewal, the drain, the next request.
    async fn step(&mut self) -> std::result::Result<(), Status> {
        if let Some((asked, request)) = self.rest.take() {
            self.begin(asked, request);
        }
        let renewal = self.held.next_renewal();
        let renew_at = renewal.unwrap_or_else(Instant::now);
        let reads = self.phase == Phase::Open && !self.busy;
        let runs = self.phase != Phase::Draining;
        tokio::select! {
            () = tokio::time::sleep_until(renew_at), if renewal.is_some() => self.renew(),
            Some(event) = self.events.next(), if !self.events.is_empty() => self.note(event),
            () = self.rpc.drain.cancelled(), if runs => self.phase = Phase::Draining,
            request = self.inbound.next(), if reads => match request {
                None => self.close(),
                Some(Err(error)) => return Err(error),
                Some(Ok(request)) => self.accept(request).map_err(status)?,
            },
        }
        Ok(())
    }

    /// The caller sends no more, so it fills nothing: what it holds is given up. Its waits go on.
    fn close(&mut self) {
        self.phase = Phase::Closing;
        self.held.give_up_all();
    }

    fn say_draining(&mut self) {
        self.push(0, Response::Draining(farewell(Bytes::new())));
    }

    fn push(&mut self, id: u64, response: Response) {
        let response = Some(response);
        self.answers.push_back(FetchResponse { id, response });
    }

    /// Begins one request. An error ends the stream.
    fn accept(&mut self, request: FetchRequest) -> Result<()> {
        let FetchRequest { id, request } = request;
        let namespace = match (&self.namespace, request.as_ref()) {
            (None, Some(Request::Open(open))) => {
                let namespace = convert::namespace(open.namespace.clone())?;
                self.namespace = Some(Arc::new(namespace));
                return Ok(());
            }
            (None, _) => {
                let allowed = "the first message must be `open`";
                return Err(Error::invalid("request", allowed));
            }
            (Some(namespace), _) => Arc::clone(namespace),
        };
        let refused = match request {
            Some(Request::Cancel(_)) => {
                self.cancel(id);
                return Ok(());
            }
            Some(Request::Open(_)) => {
                Error::invalid("request", "`open` must be the first message only")
            }
            None => Error::invalid(
                "request",
                "must be one of fetch, append, fill, fail, cancel",
            ),
            Some(_) if self.in_hand.contains_key(&id) => {
                Error::invalid("id", "an earlier request with this id is in hand")
            }
            Some(Request::Fetch(fetch)) => match self.fetch(id, fetch, &namespace) {
                Ok(()) => return Ok(()),
                Err(error) => error.within("fetch"),
            },
            Some(other) => {
                self.write(id, other, namespace);
                return Ok(());
            }
        };
        self.push(id, Response::Error(item_status(refused)));
        Ok(())
    }

    fn fetch(&mut self, id: u64, fetch: v1::FetchKeys, namespace: &Arc<Namespace>) -> Result<()> {
        let rpc = Arc::clone(&self.rpc);
        let context = Context {
            config: &rpc.config,
            namespace,
            deadline: None,
        };
        rpc.check_batch("keys", fetch.keys.len())?;
        let in_use = self.waiting + self.held.count();
        let max = rpc.config.cache.max_stream_keys;
        if in_use + fetch.keys.len() > max {
            let message = format!("{in_use} keys of this stream wait or are leased, of {max}");
            return Err(Error::new(ErrorCode::TooManyWaiters, message));
        }
        let wait = spelled::wait(fetch.max_wait, &context)?;
        let options = spelled::options(fetch.options, &context)?;
        let namespace = Arc::new(context.namespace(fetch.namespace)?);
        let (keys, indexes) = waits::folded(fetch.keys)?;
        let request = Begin {
            namespace: (*namespace).clone(),
            keys,
            options,
            wait: if fetch.parts {
                Wait::Parts
            } else {
                Wait::Whole
            },
        };
        let asked = Asked {
            id,
            namespace,
            indexes,
            until: wait.map(|wait| Instant::now() + wait.into()),
            detached: fetch.detached,
            further: false,
        };
        let in_hand = InHand {
            waiting: asked.indexes.len(),
            cancel: CancellationToken::new(),
        };
        self.in_hand.insert(id, in_hand);
        self.waiting += asked.indexes.len();
        self.begin(asked, request);
        Ok(())
    }

    /// Carries out a request about a lease.
    fn write(&mut self, id: u64, request: Request, namespace: Arc<Namespace>) {
        self.busy = true;
        let rpc = Arc::clone(&self.rpc);
        let started = rpc.clock.mono();
        let call = async move {
            let (answer, ended) = write::carry_out(&rpc, request, &namespace).await;
            if let Some(place) = rpc.stream_place {
                rpc.stats
                    .record(place, rpc.clock.mono() - started, answer.is_err());
            }
            let answer = answer.unwrap_or_else(|error| Response::Error(item_status(error)));
            let response = Some(answer);
            Event::Answered(FetchResponse { id, response }, ended)
        };
        self.events.push(call.boxed());
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Answered(answer, ended) => {
                self.busy = false;
                self.answers.push_back(answer);
                if let Some(lease) = ended {
                    self.end_lease(lease);
                }
            }
            Event::Begun(asked, request, Ok((begun, scope))) => {
                self.all_begun(asked, request, begun, &scope);
            }
            Event::Begun(asked, _, Err(error)) => self.not_begun(&asked, &error),
            Event::Waited(waited) => self.waited(waited),
            Event::Renewed(lease, renewed) => {
                let Some((id, indexes, end)) = self.held.renewed(lease, renewed) else {
                    return;
                };
                self.key(id, &indexes, lost(lease, end), None);
                self.forget_if_done(id);
            }
        }
    }

    /// What a waiting key has learned.
    fn waited(&mut self, waited: Waited) {
        let Waited { place, told, next } = waited;
        match told {
            Told::Part(part) => self.key(place.id, &place.indexes, Answer::Part(part), None),
            Told::Restarted(reason) => {
                let reason = spelled::end(reason).into();
                let answer = Answer::Restarted(v1::Restarted { reason });
                self.key(place.id, &place.indexes, answer, None);
            }
            Told::Ended(outcome, told) => return self.landed(&place, outcome, told),
            Told::Failed(error) => {
                let answer = Answer::Error(item_status(error));
                return self.end_key(place.id, &place.indexes, answer, Some(&place.scope));
            }
        }
        if let Some((waiting, ends, told)) = next {
            self.wait(place, waiting, ends, told);
        }
    }

    fn wait(&mut self, place: Place, waiting: Box<dyn Waiting>, ends: Ends, told: usize) {
        let wait = waits::wait(place, waiting, ends, told);
        self.events.push(wait.map(Event::Waited).boxed());
    }

    /// How a key ends, `told` bytes of its value having been sent.
    fn landed(&mut self, place: &Place, outcome: Outcome, told: usize) {
        let answer = match outcome {
            Outcome::Hit(hit, refresh) => {
                let (parts, entry) = spelled::hit_parts(&hit, told);
                for part in parts {
                    self.key(place.id, &place.indexes, Answer::Part(part), None);
                }
                if let Some(lease) = refresh {
                    self.hold(place, lease);
                }
                Answer::Hit(v1::Hit {
                    entry: Some(entry),
                    refresh: refresh.map(spelled::lease),
                })
            }
            Outcome::Lease(lease) => {
                self.hold(place, lease);
                Answer::Lease(spelled::lease(lease))
            }
            Outcome::Failed(failure) => Answer::Failure(spelled::failure(&failure)),
            Outcome::Busy => Answer::TimedOut(v1::TimedOut {}),
        };
        self.end_key(place.id, &place.indexes, answer, Some(&place.scope));
    }

    fn hold(&mut self, place: &Place, lease: Lease) {
        if !place.detached {
            let owner = (place.id, place.indexes.clone());
            self.held.take(Arc::clone(&place.namespace), lease, owner);
        }
        if self.phase != Phase::Open {
            self.held.give_up_all();
        }
    }

    fn key(&mut self, id: u64, indexes: &[u32], answer: Answer, scope: Option<&Scope>) {
        let answer = KeyAnswer {
            indexes: indexes.to_vec(),
            answer: Some(answer),
            scope: scope.map(convert::scope),
        };
        self.push(id, Response::Key(answer));
    }

    /// A key's last answer.
    fn end_key(&mut self, id: u64, indexes: &[u32], answer: Answer, scope: Option<&Scope>) {
        self.key(id, indexes, answer, scope);
        self.waiting -= 1;
        if let Some(fetch) = self.in_hand.get_mut(&id) {
            fetch.waiting -= 1;
        }
        self.forget_if_done(id);
    }

    fn end_lease(&mut self, lease: LeaseId) {
        if let Some(id) = self.held.end(lease) {
            self.forget_if_done(id);
        }
    }

    fn forget_if_done(&mut self, id: u64) {
        let waits = self.in_hand.get(&id).is_some_and(|fetch| fetch.waiting > 0);
        if !waits && !self.held.has_any_of(id) {
            self.in_hand.remove(&id);
        }
    }

    /// Takes a fetch back.
    fn cancel(&mut self, id: u64) {
        if let Some(fetch) = self.in_hand.get(&id) {
            fetch.cancel.cancel();
        }
        self.held.give_up_of(id);
        self.forget_if_done(id);
    }

    fn renew(&mut self) {
        for (lease, namespace) in self.held.due() {
            let rpc = Arc::clone(&self.rpc);
            let call = async move {
                let renewed = rpc.cache.renew(&namespace, lease).await;
                Event::Renewed(lease, renewed.map(|(renewed, _)| renewed))
            };
            self.events.push(call.boxed());
        }
    }
}

fn lost(lease: LeaseId, end: LeaseEnd) -> Answer {
    Answer::Lost(v1::LeaseLost {
        lease: convert::count(lease.0),
        reason: spelled::end(end).into(),
    })
}
