//! `Work`: a worker on one stream, which is sent jobs as its credit allows and says what it did with them.
//!
//! The stream is its own driver. It takes jobs from the port only when all that it took were sent, so that a worker that does not read
//! holds few; one whose lease has ended meanwhile is not sent. While it is driven it keeps the leases of what the worker has. What
//! a worker says is gathered, as far as it has come, into one call of the port. While too much is unanswered it does not read.

use super::JobRpc;
use super::held::{Held, is_over};
use super::said::{Answered, Message, Said};
use super::worker::{Worker, next_beat};
use crate::convert::{self, events::durability, jobs as wire};
use crate::drain::{draining, farewell};
use crate::error::{item_status, status};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use prost::Message as _;
use prost::bytes::Bytes;
use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Status, Streaming};
use trellis_core::jobs::{Assigned, Attempt, AttemptEnd};
use trellis_core::{Error, ErrorCode, Result, Time};
use trellis_proto::v1::job_service_work_request::Request;
use trellis_proto::v1::job_service_work_response::Response;
use trellis_proto::v1::{self, JobServiceWorkRequest, JobServiceWorkResponse};

/// The RPC that what workers say is counted under.
pub(super) const NAME: &str = "trellis.v1.JobService/Work";

/// The most messages that are taken together.
const MAX_TOGETHER: usize = 256;

type Item = std::result::Result<JobServiceWorkResponse, Status>;

enum Phase {
    /// The first message has not come.
    Opening,
    /// Jobs are taken, and messages read.
    Open(Box<Worker>),
    /// Neither; what is in hand is answered.
    Closing {
        /// The daemon ends the stream, and says so last.
        draining: bool,
    },
    /// Nothing more is sent.
    Ended,
}

/// What wakes a stream.
enum Event {
    Answered(Answered),
    Over(Vec<Attempt>),
    Request(Option<std::result::Result<JobServiceWorkRequest, Status>>),
    Received(Result<Vec<Assigned>>),
    Beat,
    Drained,
    /// The worker has had the time to finish.
    Drain,
}

/// One worker's stream.
pub(super) struct Work {
    rpc: Arc<JobRpc>,
    inbound: Streaming<JobServiceWorkRequest>,
    phase: Phase,
    /// `None` before `open`.
    held: Option<Held>,
    /// Taken, and not sent yet.
    assigned: VecDeque<Assigned>,
    /// When they were.
    taken: Time,
    answering: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// Those of the messages in hand, and the bytes of these.
    ids: HashSet<u64>,
    bytes: usize,
    outbox: VecDeque<(u64, Response)>,
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
    _permit: OwnedSemaphorePermit,
}

impl Work {
    pub fn new(
        rpc: Arc<JobRpc>,
        inbound: Streaming<JobServiceWorkRequest>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let drained = Box::pin(rpc.drain.clone().cancelled_owned());
        Self {
            rpc,
            inbound,
            phase: Phase::Opening,
            held: None,
            assigned: VecDeque::new(),
            taken: Time::default(),
            answering: FuturesUnordered::new(),
            ids: HashSet::new(),
            bytes: 0,
            outbox: VecDeque::new(),
            drained,
            _permit: permit,
        }
    }

    /// The next message to the worker; `None` at the end.
    pub async fn next(&mut self) -> Option<Item> {
        loop {
            if let Some((id, response)) = self.outbox.pop_front() {
                let response = Some(response);
                return Some(Ok(JobServiceWorkResponse { id, response }));
            }
            if let Phase::Ended = self.phase {
                return None;
            }
            if let Some(assigned) = self.assigned.pop_front() {
                self.assign(assigned);
                continue;
            }
            let event = self.event().await;
            if let Err(status) = self.handle(event).await {
                self.phase = Phase::Ended;
                return Some(Err(status));
            }
        }
    }

    /// What happens next; `None` when nothing does any more.
    async fn event(&mut self) -> Option<Event> {
        let bounds = &self.rpc.config.jobs;
        let reads =
            self.ids.len() < bounds.max_stream_in_flight && self.bytes < bounds.max_stream_bytes;
        let answering = !self.answering.is_empty();
        let (Phase::Open(worker), Some(held)) = (&mut self.phase, &mut self.held) else {
            return match self.phase {
                Phase::Opening => Some(tokio::select! {
                    biased;
                    () = &mut self.drained => Event::Drained,
                    request = self.inbound.next() => Event::Request(request),
                }),
                _ => self.answering.next().await.map(Event::Answered),
            };
        };
        if worker.drain.is_some() && held.is_empty() && !answering {
            return Some(Event::Drain);
        }
        worker.ask(&self.rpc, held.busy());
        let drains = worker.drain.is_some();
        let received = async {
            match &mut worker.reserving {
                Some((_, reserving)) => reserving.await,
                None => std::future::pending().await,
            }
        };
        let drain = async {
            match &mut worker.drain {
                Some(drain) => drain.await,
                None => std::future::pending().await,
            }
        };
        Some(tokio::select! {
            biased;
            Some(answered) = self.answering.next(), if answering => Event::Answered(answered),
            over = held.next_over() => Event::Over(over),
            () = &mut self.drained, if !drains => Event::Drained,
            () = drain => Event::Drain,
            () = &mut worker.beat => Event::Beat,
            request = self.inbound.next(), if reads => Event::Request(request),
            received = received => Event::Received(received),
        })
    }

    async fn handle(&mut self, event: Option<Event>) -> std::result::Result<(), Status> {
        match event {
            None => self.end(),
            Some(Event::Answered(answered)) => self.answer(answered),
            Some(Event::Over(over)) => over.into_iter().for_each(|it| self.over(it)),
            Some(Event::Received(received)) => return self.receive(received).map_err(status),
            Some(Event::Beat) => self.beat(),
            Some(Event::Drained) => self.drain(),
            Some(Event::Drain) => self.phase = Phase::Closing { draining: true },
            Some(Event::Request(request)) => return self.requests(request).await,
        }
        Ok(())
    }

    fn end(&mut self) {
        if let Phase::Closing { draining: true } = self.phase {
            let last = Response::Draining(farewell(Bytes::new()));
            self.outbox.push_back((0, last));
            if let Some(held) = &mut self.held {
                held.keeps = true;
            }
        }
        self.phase = Phase::Ended;
    }

    /// Takes no more jobs, and gives the worker time.
    fn drain(&mut self) {
        let time = self.rpc.config.jobs.drain_time;
        let Phase::Open(worker) = &mut self.phase else {
            self.phase = Phase::Closing { draining: true };
            return;
        };
        worker.reserving = None;
        worker.drain = Some(Box::pin(sleep(time.into())));
        let drain = v1::JobDrain {
            reason: draining().message,
            remaining: Some(convert::duration(time)),
        };
        self.outbox.push_back((0, Response::Drain(drain)));
    }

    fn assign(&mut self, assigned: Assigned) {
        let Some(held) = &mut self.held else { return };
        let ago = self.rpc.clock.mono() - self.taken;
        if assigned.remaining <= ago {
            return;
        }
        held.take(Attempt {
            job: assigned.job,
            lease: assigned.lease,
        });
        let job = Response::Job(wire::assigned(assigned, ago));
        self.outbox.push_back((0, job));
    }

    fn receive(&mut self, received: Result<Vec<Assigned>>) -> Result<()> {
        if let Phase::Open(worker) = &mut self.phase {
            worker.reserving = None;
        }
        if let Err(error) = &received
            && error.code == ErrorCode::Draining
        {
            self.drain();
            return Ok(());
        }
        self.assigned = received?.into();
        self.taken = self.rpc.clock.mono();
        Ok(())
    }

    /// Keeps the leases of what the worker has.
    fn beat(&mut self) {
        let (Phase::Open(worker), Some(held)) = (&mut self.phase, &self.held) else {
            return;
        };
        let lease = worker.lease;
        worker.beat.as_mut().reset(next_beat(lease));
        let (jobs, namespace) = (Arc::clone(&self.rpc.jobs), held.namespace.clone());
        let attempts = held.attempts();
        let beating = async move {
            for attempt in attempts {
                // What is over is told as such.
                let _ = jobs.extend(&namespace, attempt, Some(lease)).await;
            }
            Answered::Beat
        };
        self.answering.push(beating.boxed());
    }

    /// Tells the worker that an attempt is over, unless it knows.
    fn over(&mut self, attempt: Attempt) {
        let Some(held) = self.held.as_mut() else {
            return;
        };
        if held.ended(attempt) {
            let (jobs, namespace) = (Arc::clone(&self.rpc.jobs), held.namespace.clone());
            let telling = async move {
                let view = jobs.job(&namespace, attempt.job).await;
                let now = view.ok().map(|view| view.state);
                Answered::Over(wire::cancel(attempt, now))
            };
            self.answering.push(telling.boxed());
        }
    }

    /// Takes a message, and those that have come behind it; ends that they say go to the port together.
    async fn requests(
        &mut self,
        first: Option<std::result::Result<JobServiceWorkRequest, Status>>,
    ) -> std::result::Result<(), Status> {
        let bounds = self.rpc.config.jobs;
        let mut said = Said::new(self.rpc.clock.mono());
        let mut next = Some(first);
        let mut taken = Ok(());
        for left in (0..MAX_TOGETHER).rev() {
            taken = match next.take() {
                None => break,
                // The worker has ended its side.
                Some(None) => {
                    self.phase = Phase::Closing { draining: false };
                    break;
                }
                Some(Some(Err(error))) => Err(error),
                Some(Some(Ok(request))) => self.accept(request, &mut said).await.map_err(status),
            };
            let full = self.ids.len() >= bounds.max_stream_in_flight
                || self.bytes >= bounds.max_stream_bytes;
            if taken.is_err() || left == 0 || full {
                break;
            }
            if let Poll::Ready(ready) = futures::poll!(self.inbound.next()) {
                next = Some(ready);
            }
        }
        if let Some(held) = &self.held
            && let Some(finishing) = said.finish(&self.rpc, &held.namespace)
        {
            self.answering.push(finishing);
        }
        if taken.is_err() {
            // The stream ends here; what was said before goes on, once it has begun.
            let _ = futures::poll!(self.answering.next());
        }
        taken
    }

    /// Takes a message. An error ends the stream.
    async fn accept(&mut self, request: JobServiceWorkRequest, said: &mut Said) -> Result<()> {
        let bytes = request.encoded_len();
        let JobServiceWorkRequest { id, request } = request;
        if let Phase::Opening = self.phase {
            let Some(Request::Open(open)) = request else {
                let allowed = "the first message must be `open`";
                return Err(Error::invalid("request", allowed));
            };
            let opened = self.open(id, open).await;
            return opened.map_err(|error| error.within("open"));
        }
        let message = Message {
            id,
            bytes,
            started: said.started,
        };
        if let Err(refused) = self.take(message, request, said) {
            let refused = Response::Error(item_status(refused));
            self.outbox.push_back((id, refused));
        }
        Ok(())
    }

    fn take(&mut self, message: Message, request: Option<Request>, said: &mut Said) -> Result<()> {
        let (Phase::Open(worker), Some(held)) = (&mut self.phase, &mut self.held) else {
            return Ok(());
        };
        let answering = match request {
            Some(Request::Credit(credit)) => {
                let credit = wire::credit(credit, &self.rpc.context())?;
                worker.grant(credit, held.busy());
                return Ok(());
            }
            Some(Request::Open(_)) => {
                let allowed = "`open` must be the first message only";
                return Err(Error::invalid("request", allowed));
            }
            None => {
                let allowed = "must be one of credit, finish, extend, progress, chunk";
                return Err(Error::invalid("request", allowed));
            }
            Some(_) if self.ids.contains(&message.id) => {
                let allowed = "an earlier message with this id is in hand";
                return Err(Error::invalid("id", allowed));
            }
            Some(Request::Finish(end)) => {
                let end = wire::end(end, &self.rpc.context());
                let end = end.map_err(|error| error.within("finish"))?;
                held.finishes(end.0);
                said.push(message.id, message.bytes, end);
                None
            }
            Some(Request::Extend(extend)) => {
                let extending = message.extend(&self.rpc, &held.namespace, &extend);
                Some(extending.map_err(|error| error.within("extend"))?)
            }
            Some(Request::Progress(progress)) => {
                let keeping = message.progress(&self.rpc, &held.namespace, progress);
                Some(keeping.map_err(|error| error.within("progress"))?)
            }
            Some(Request::Chunk(chunk)) => {
                let appending = message.append(&self.rpc, &held.namespace, chunk);
                Some(appending.map_err(|error| error.within("chunk"))?)
            }
        };
        self.ids.insert(message.id);
        self.bytes += message.bytes;
        self.answering.extend(answering);
        Ok(())
    }

    async fn open(&mut self, id: u64, open: v1::WorkerOpen) -> Result<()> {
        let opening = wire::open(open, &self.rpc.context())?;
        let bounds = self.rpc.config.jobs;
        let lease = opening.reserve.lease.unwrap_or(bounds.lease);
        let namespace = opening.reserve.queue.namespace.clone();
        let opened = v1::WorkerOpened {
            lease: Some(convert::duration(lease)),
            reattach_time: Some(convert::duration(bounds.reattach_time)),
            durability: durability(self.rpc.jobs.durability()).into(),
            scope: Some(self.rpc.scope()),
        };
        self.outbox.push_back((id, Response::Opened(opened)));
        let mut held = Held::new(Arc::clone(&self.rpc), namespace);
        for attempt in opening.attempts {
            let jobs = &self.rpc.jobs;
            match jobs.extend(&held.namespace, attempt, Some(lease)).await {
                Ok(_) => held.take(attempt),
                Err(error) if is_over(error.code) => {
                    let view = jobs.job(&held.namespace, attempt.job).await;
                    let now = view.ok().map(|view| view.state);
                    let cancel = Response::Cancel(wire::cancel(attempt, now));
                    self.outbox.push_back((0, cancel));
                }
                Err(error) => return Err(error),
            }
        }
        self.held = Some(held);
        let worker = Worker::new(opening.reserve, lease, opening.credit);
        self.phase = Phase::Open(Box::new(worker));
        Ok(())
    }

    fn answer(&mut self, answered: Answered) {
        match answered {
            Answered::Beat => {}
            Answered::Over(cancel) => self.outbox.push_back((0, Response::Cancel(cancel))),
            Answered::One(one) => {
                if let (Some(held), Some((attempt, remaining))) = (&mut self.held, one.extended) {
                    held.extended(attempt, remaining);
                }
                self.bytes -= one.bytes;
                self.reply(one.id, one.started, one.result);
            }
            Answered::Finished(finished) => {
                self.bytes -= finished.bytes;
                let started = finished.started;
                for (id, attempt, result) in finished.results() {
                    if let Some(held) = &mut self.held {
                        held.finished(attempt, &result);
                    }
                    let answer = result.map(|()| Response::Finished(v1::JobFinished {}));
                    self.reply(id, started, answer);
                }
            }
        }
    }

    fn reply(&mut self, id: u64, started: Time, result: Result<Response>) {
        self.ids.remove(&id);
        self.rpc.record(started, result.is_err());
        let response = result.unwrap_or_else(|error| Response::Error(item_status(error)));
        self.outbox.push_back((id, response));
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let Some(held) = &self.held else { return };
        // What was taken and not sent nobody has begun.
        let unsent = self.assigned.drain(..).map(|assigned| {
            let (job, lease) = (assigned.job, assigned.lease);
            (Attempt { job, lease }, AttemptEnd::Released)
        });
        let unsent: Vec<_> = unsent.collect();
        if !unsent.is_empty() {
            // It goes on, once it has begun.
            let _ = self.rpc.jobs.finish(&held.namespace, unsent).now_or_never();
        }
    }
}
