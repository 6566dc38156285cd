//! What keeps a worker's stream, starts its handlers, tells them to stop, and says what they made of their jobs.
//!
//! ```text
//! Pausing -> Opening -> Open -> (it breaks) Pausing
//! ```
//! Handlers go on meanwhile. On the new stream the worker names the leases that it has; of those that are over the daemon tells it. All
//! of this is one future, so that nothing outlives the call that runs the worker: the handlers' tasks end with it.

use std::collections::HashMap;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};
use trellis_proto::v1 as proto;
use trellis_proto::v1::job_attempt_end::End;
use trellis_proto::v1::job_service_work_request::Request;
use trellis_proto::v1::job_service_work_response::Response;

use super::super::payload::Payload;
use super::attempt::{Ask, Attempt, CancelReason};
use super::failure::{self, Failure};
use super::link::Link;
use super::said::AllSaid;
use super::{Handler, LARGEST_CONCURRENCY, Outcome, Worker};
use crate::again::Again;
use crate::convert;
use crate::error::{Error, Result};

/// How often it is looked at what is due.
const TICK: Duration = Duration::from_millis(200);

/// How long the daemon may take to acknowledge what was done, after the bounds of a shutdown.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a worker has its jobs when nothing is heard of it, until the daemon has said so.
const DEFAULT_LEASE: Duration = Duration::from_secs(30);

/// A job that a handler has.
struct Running {
    task: AbortHandle,
    tell: watch::Sender<Option<CancelReason>>,
    /// The attempt is over without the handler's doing.
    is_over: bool,
    /// When the handler is dropped.
    abort_at: Option<Instant>,
}

/// Where the stream is.
enum Line {
    Pausing(BoxFuture<'static, Result<Again>>),
    Opening(BoxFuture<'static, Result<(Link, proto::WorkerOpened)>>),
    Open(Box<Link>),
}

/// What it does next.
enum Step {
    Paused(Result<Again>),
    Opened(Result<(Link, proto::WorkerOpened)>),
    Told(Result<proto::JobServiceWorkResponse>),
}

impl Line {
    /// Safe to cancel.
    async fn step(&mut self) -> Step {
        match self {
            Self::Pausing(pause) => Step::Paused(pause.await),
            Self::Opening(opening) => Step::Opened(opening.await),
            Self::Open(link) => Step::Told(link.next().await),
        }
    }

    fn link(&self) -> Option<&Link> {
        match self {
            Self::Open(link) => Some(link),
            Self::Pausing(_) | Self::Opening(_) => None,
        }
    }
}

pub(super) struct Keeper {
    worker: Worker,
    handler: Handler,
    line: Line,
    again: Again,
    /// Since when there is no stream.
    apart: Option<Instant>,
    /// How long the worker has its jobs then.
    lease: Duration,
    tasks: JoinSet<Outcome>,
    leases: HashMap<Id, String>,
    /// By their leases.
    running: HashMap<String, Running>,
    /// Of these, whose attempts are over.
    over: usize,
    said: AllSaid,
    /// Cloned for handlers.
    says: mpsc::Sender<Ask>,
    heard: mpsc::Receiver<Ask>,
    /// What the daemon was told last.
    credit: Option<usize>,
    /// Since when it shuts down.
    stopping: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(worker: Worker, handler: Handler) -> Self {
        let (says, heard) = mpsc::channel(worker.concurrency);
        let again = Again::default();
        Self {
            lease: worker.lease.unwrap_or(DEFAULT_LEASE),
            line: Line::Pausing(async move { Ok(again) }.boxed()),
            worker,
            handler,
            again,
            apart: Some(Instant::now()),
            tasks: JoinSet::new(),
            leases: HashMap::new(),
            running: HashMap::new(),
            over: 0,
            said: AllSaid::default(),
            says,
            heard,
            credit: None,
            stopping: None,
        }
    }

    /// Runs to the end of a shutdown, or to an error after which no stream works.
    pub(super) async fn run(mut self) -> Result<()> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.is_done() {
            // Handlers that are done wait while the daemon does not answer.
            let hears = self.said.len() < 2 * self.worker.concurrency;
            tokio::select! {
                biased;
                () = &mut self.worker.shutdown, if self.stopping.is_none() => {
                    self.stopping = Some(Instant::now());
                }
                Some(ended) = self.tasks.join_next_with_id(), if hears => self.ended(ended),
                Some(ask) = self.heard.recv(), if hears => self.said.ask(ask, self.line.link()),
                step = self.line.step() => self.step(step)?,
                now = tick.tick() => self.tick(now)?,
            }
            self.grant();
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.stopping.is_some() && self.running.is_empty() && self.said.len() == 0
    }

    fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Paused(again) => {
                self.again = again?;
                self.connect()?;
            }
            Step::Opened(Ok((link, opened))) => {
                let lease = convert::optional_duration(opened.lease, "lease")?;
                self.lease = lease.unwrap_or(self.lease);
                self.apart = None;
                self.said.opened(&link);
                self.line = Line::Open(Box::new(link));
            }
            Step::Told(Ok(told)) => {
                self.again.works();
                self.told(told);
            }
            Step::Opened(Err(error)) | Step::Told(Err(error)) => self.broke(error),
        }
        Ok(())
    }

    fn broke(&mut self, error: Error) {
        let mut again = self.again;
        let pause = async move { again.after(error).await.map(|()| again) };
        self.line = Line::Pausing(pause.boxed());
        self.apart.get_or_insert_with(Instant::now);
    }

    fn connect(&mut self) -> Result<()> {
        let worker = &self.worker;
        let lease = worker.lease.map(|lease| convert::to_proto(lease, "lease"));
        let has = self.running.iter().filter(|(_, running)| !running.is_over);
        let leases = has.map(|(lease, _)| lease).chain(self.said.ending());
        let credit = self.wanted();
        let open = proto::WorkerOpen {
            namespace: worker.queue.jobs.namespace_name(),
            queue: worker.queue.name.clone(),
            worker: worker.name.clone(),
            credit: Some(wire_credit(credit)),
            lease: lease.transpose()?,
            lease_ids: leases.take(LARGEST_CONCURRENCY).cloned().collect(),
        };
        // What is said, twice as much, grants, and `open`. What does not fit waits for the next tick.
        let queue = 4 * worker.concurrency + 4;
        let opening = Link::open(worker.queue.jobs.clone(), open, queue);
        self.line = Line::Opening(opening.boxed());
        self.credit = Some(credit);
        Ok(())
    }

    /// How many jobs the daemon may let the worker have.
    fn wanted(&self) -> usize {
        if self.stopping.is_some() {
            return 0;
        }
        self.worker.concurrency - self.over.min(self.worker.concurrency)
    }

    /// Tells the daemon when that has changed.
    fn grant(&mut self) {
        let wanted = self.wanted();
        if let Some(link) = self.line.link()
            && self.credit != Some(wanted)
            && link.send(0, Request::Credit(wire_credit(wanted)))
        {
            self.credit = Some(wanted);
        }
    }

    fn told(&mut self, told: proto::JobServiceWorkResponse) {
        match told.response {
            Some(Response::Job(job)) => self.begin(job),
            Some(Response::Cancel(cancel)) => {
                self.stop(&cancel.lease_id, CancelReason::read(cancel.reason));
            }
            Some(Response::Finished(_) | Response::Progressed(_) | Response::Appended(_)) => {
                self.said.done(told.id);
            }
            Some(Response::Error(status)) => {
                let lost = self.said.refused(told.id, Error::from_item(&status));
                if let Some(lease) = lost {
                    self.stop(&lease, CancelReason::Lost);
                }
            }
            Some(Response::Draining(draining)) => self.broke(Error::unreachable(draining.reason)),
            Some(Response::Drain(drain)) => {
                tracing::debug!(reason = %drain.reason, "the daemon sends no more jobs");
            }
            Some(Response::Opened(_) | Response::Extended(_)) | None => {
                tracing::debug!(id = told.id, "a message that was not asked for");
            }
        }
    }

    /// Starts the handler of a job.
    fn begin(&mut self, job: proto::AssignedJob) {
        if self.stopping.is_some() || self.running.len() >= self.worker.concurrency {
            // It was on its way when its place was taken.
            let back = Failure::give_back().end();
            self.said.end(job.lease_id, back, self.line.link());
            return;
        }
        let (tell, cancelled) = watch::channel(None);
        let attempt = Attempt {
            payload: Payload::read(job.payload),
            job_id: job.job_id,
            lease: job.lease_id.clone(),
            number: u32::try_from(job.attempt).unwrap_or_default(),
            checkpoint: job.checkpoint,
            options: job.options.unwrap_or_default(),
            cancelled,
            says: self.says.clone(),
            next_chunk: Mutex::new(0),
        };
        let handler = self.handler.clone();
        let task = self.tasks.spawn(async move { handler(attempt).await });
        self.leases.insert(task.id(), job.lease_id.clone());
        let running = Running {
            task,
            tell,
            is_over: false,
            abort_at: None,
        };
        self.running.insert(job.lease_id, running);
    }

    /// A handler is to stop.
    fn stop(&mut self, lease: &str, reason: CancelReason) {
        let Some(running) = self.running.get_mut(lease) else {
            return;
        };
        let is_over = reason != CancelReason::Shutdown;
        self.over += usize::from(is_over && !running.is_over);
        running.is_over |= is_over;
        if running.abort_at.is_none() {
            running.tell.send_replace(Some(reason));
            let now = Instant::now();
            running.abort_at = Some(later(now, self.worker.cancel_grace));
        }
    }

    fn stop_all(&mut self, reason: CancelReason) {
        let leases: Vec<_> = self.running.keys().cloned().collect();
        for lease in leases {
            self.stop(&lease, reason);
        }
    }

    /// A handler has returned, panicked, or been dropped.
    fn ended(&mut self, ended: std::result::Result<(Id, Outcome), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some(lease) = self.leases.remove(&id) else {
            return;
        };
        let Some(running) = self.running.remove(&lease) else {
            return;
        };
        if running.is_over {
            self.over -= 1;
            return;
        }
        let end = match ended {
            Ok((_, outcome)) => failure::end(outcome),
            Err(error) => unended(error),
        };
        self.said.end(lease, end, self.line.link());
    }

    fn tick(&mut self, now: Instant) -> Result<()> {
        if let Some(link) = self.line.link() {
            self.said.send_due(now, link);
        }
        // While a stream is being opened, the leases that it names stay what they are.
        if let (Line::Pausing(_), Some(apart)) = (&self.line, self.apart)
            && later(apart, self.lease) <= now
        {
            self.stop_all(CancelReason::Lost);
        }
        for running in self.running.values() {
            if running.abort_at.is_some_and(|at| at <= now) {
                running.task.abort();
            }
        }
        let Some(since) = self.stopping else {
            return Ok(());
        };
        let drained = later(since, self.worker.drain_time);
        if drained <= now {
            self.stop_all(CancelReason::Shutdown);
        }
        if later(later(drained, self.worker.cancel_grace), PATIENCE) <= now {
            let left = self.running.len() + self.said.len();
            let message = format!("{left} attempts were not ended when the worker had to");
            return Err(Error::outcome_unknown(message));
        }
        Ok(())
    }
}

/// The end of an attempt whose handler has not returned.
fn unended(error: JoinError) -> End {
    let Ok(panic) = error.try_into_panic() else {
        return Failure::give_back().end();
    };
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    let text = text.unwrap_or_else(|| "no message".to_owned());
    Failure::retry(format!("the handler panicked: {text}")).end()
}

/// A moment that does not come is far away.
fn later(moment: Instant, span: Duration) -> Instant {
    const FAR: Duration = Duration::from_hours(24 * 366);
    moment + span.min(FAR)
}

fn wire_credit(jobs: usize) -> proto::JobCredit {
    proto::JobCredit {
        jobs: i32::try_from(jobs).unwrap_or(i32::MAX),
    }
}
