//! What one partition knows: the fold, and what must not outlive the daemon.

use super::caching::Caching;
use super::charging::Charging;
use super::config::JobsConfig;
use super::ends::Ends;
use super::held::{Budget, Held};
use super::leases::Leases;
use super::lines::{Lines, Waiter};
use super::reading::Readers;
use super::room::Search;
use super::tally::Tally;
use super::watch::Watchers;
use super::{JobPorts, draining, not_found};
use crate::steady::SteadyClock;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use tokio::sync::{Notify, oneshot};
use trellis_core::jobs::{
    Attempt, Change, Job, JobFold, JobId, JobRecord, JobState, JobView, Part, Phase, QueueId,
    QueueState, Verdict,
};
use trellis_core::log::{Durability, Log, LogError, Partition};
use trellis_core::{Error, ErrorCode, Micros, Namespace, Result, Time};

/// Records, and their bytes, that wait to be written.
const MOST_WAITING: usize = 100_000;
const MOST_WAITING_BYTES: usize = 64 * 1024 * 1024;

/// How often bytes are looked for that are being moved.
const TRIES: usize = 8;

/// Who wants to know what a record amounted to.
pub(super) enum Tell {
    Nobody,
    Caller(oneshot::Sender<Result<Verdict>>),
    /// The worker of this place among those that are served in a round.
    Worker(usize),
}

/// A record that is to be written.
pub(super) struct Proposal {
    pub record: JobRecord,
    pub tell: Tell,
}

/// What all partitions have in common.
pub(super) struct Common {
    pub config: JobsConfig,
    pub clock: Arc<SteadyClock>,
    pub ports: JobPorts,
    pub budget: Arc<Budget>,
}

/// See the module.
pub(super) struct State {
    pub fold: JobFold,
    pub proposals: VecDeque<Proposal>,
    /// Bytes of jobs in them.
    pub waiting_bytes: usize,
    pub leases: Leases,
    pub lines: Lines,
    pub watchers: Watchers,
    pub readers: Readers,
    pub held: Held,
    pub charging: Charging,
    pub caching: Caching,
    /// Names waiters.
    pub waiters: u64,
    pub tally: Tally,
    pub ends: Option<Ends>,
    /// Room for what a record changes; empty between two.
    pub changes: Vec<Change>,
    /// Nothing more is taken in.
    pub closed: bool,
    /// Why nothing comes any more.
    pub ended: Option<Error>,
    pub search: Search,
}

/// See the module.
pub(super) struct Shard {
    pub partition: Partition,
    pub log: Arc<dyn Log>,
    pub config: JobsConfig,
    clock: Arc<SteadyClock>,
    /// How far the log's time is ahead of the clock.
    ahead: Micros,
    pub state: Mutex<State>,
    pub asked: Notify,
    /// What all partitions share.
    pub budget: Arc<Budget>,
}

impl Shard {
    pub fn new(
        (log, partition): (Arc<dyn Log>, Partition),
        common: &Common,
        fold: JobFold,
    ) -> Self {
        let Common {
            config,
            clock,
            ports,
            budget,
        } = common;
        let ahead = fold.time() - clock.now();
        let alone = log.durability() == Durability::Volatile;
        let mut state = State {
            fold,
            proposals: VecDeque::new(),
            waiting_bytes: 0,
            leases: Leases::default(),
            lines: Lines::default(),
            watchers: Watchers::default(),
            readers: Readers::default(),
            held: Held::new(Arc::clone(budget), alone),
            charging: Charging::new(ports.limits.clone()),
            caching: Caching::new(ports.cache.clone()),
            waiters: 0,
            tally: Tally::default(),
            ends: None,
            changes: Vec::new(),
            closed: false,
            ended: None,
            search: Search::default(),
        };
        let now = clock.now() + ahead;
        state.adopt(config.lease, now);
        Self {
            partition,
            log,
            config: *config,
            clock: Arc::clone(clock),
            ahead,
            state: Mutex::new(state),
            asked: Notify::new(),
            budget: Arc::clone(budget),
        }
    }

    /// The time of the log now.
    pub fn now(&self) -> Time {
        self.clock.now() + self.ahead
    }

    // What is asked for.

    /// Has a record written; begins with the call. Tells what it amounted to once it was read back.
    pub fn propose(&self, record: JobRecord) -> oneshot::Receiver<Result<Verdict>> {
        let (tell, told) = oneshot::channel();
        let mut state = self.state.lock();
        match state.admit(&record, &self.config) {
            Ok(()) => {
                state.await_bytes(bytes_of(&record));
                let tell = Tell::Caller(tell);
                state.proposals.push_back(Proposal { record, tell });
                drop(state);
                self.asked.notify_one();
            }
            Err(error) => {
                drop(state);
                // Room may be made for the next one.
                self.asked.notify_one();
                // The receiver is in our hands.
                let _ = tell.send(Err(error));
            }
        }
        told
    }

    /// Has a record written and waits for it.
    pub async fn write(&self, record: JobRecord) -> Result<Verdict> {
        heard(self.propose(record).await)
    }

    /// A worker waits in the line of its queue. Errors: `TooManyWaiters`.
    pub fn line_up(&self, waiter: impl FnOnce(u64) -> Waiter) -> Result<u64> {
        let mut state = self.state.lock();
        state.check_open()?;
        state.check_waiters(&self.config)?;
        state.waiters += 1;
        let number = state.waiters;
        state.lines.push(waiter(number));
        drop(state);
        self.asked.notify_one();
        Ok(number)
    }

    /// Nobody was there to take these.
    pub fn give_back(&self, got: Vec<Attempt>) {
        self.state.lock().give_back(got);
        self.asked.notify_one();
    }

    // What is there.

    /// A job. Errors: `JobNotFound`.
    pub fn view(&self, namespace: &Namespace, job: JobId) -> Result<JobView> {
        let state = self.state.lock();
        let found = state.find(namespace, job)?;
        Ok(state.view(job, found))
    }

    /// Bytes of a job, from memory or from the log; none if they are not there any more. Errors: those of the log.
    pub async fn bytes(&self, job: JobId, part: Part) -> Result<Bytes> {
        let mut last = LogError::Closed;
        for _ in 0..TRIES {
            let place = {
                let state = self.state.lock();
                if let Some(data) = state.held.get(job, part) {
                    return Ok(data);
                }
                let found = state.fold.job(job).ok_or_else(|| not_found("job", job))?;
                match part {
                    Part::Payload => Some(found.payload),
                    Part::Left => found.left,
                    Part::Chunk(number) => found.stream().and_then(|stream| stream.chunk(number)),
                }
            };
            let Some(place) = place.filter(|place| place.bytes > 0) else {
                return Ok(Bytes::new());
            };
            // It may be moved and trimmed meanwhile, and then stands elsewhere.
            match self.log.read(self.partition, place.offset, 1).await {
                Ok(read) => {
                    let mut records = read.records.into_iter();
                    let found = records.find(|found| found.offset == place.offset);
                    if let Some(found) = found {
                        return Ok(found.record.value);
                    }
                }
                Err(error @ LogError::OutOfRange(_)) => last = error,
                Err(error) => return Err(error.into()),
            }
        }
        let message = format!("the log does not show what job {job} needs: {last}");
        Err(Error::new(ErrorCode::StoreUnavailable, message))
    }

    // The end.

    /// Nothing new is taken in; the task ends behind what was.
    pub fn close(&self) {
        let waiters = {
            let mut state = self.state.lock();
            state.closed = true;
            state.watchers.clear();
            state.readers.wake_all();
            state.lines.drain()
        };
        for waiter in waiters {
            let _ = waiter.tell.send(Err(draining()));
        }
        self.asked.notify_one();
    }

    /// Nothing comes any more: everybody is told why.
    pub fn end_with(&self, error: &Error) {
        let mut state = self.state.lock();
        state.ended.get_or_insert_with(|| error.clone());
        state.watchers.clear();
        state.readers.wake_all();
        let (waiters, proposals) = (state.lines.drain(), std::mem::take(&mut state.proposals));
        let waiting = state.waiting_bytes;
        state.await_no_bytes(waiting);
        drop(state);
        for waiter in waiters {
            let _ = waiter.tell.send(Err(error.clone()));
        }
        for proposal in proposals {
            if let Tell::Caller(tell) = proposal.tell {
                let _ = tell.send(Err(error.clone()));
            }
        }
    }
}

impl State {
    /// What ran when a former life ended may still run.
    fn adopt(&mut self, lease: Micros, now: Time) {
        let mut running = Vec::new();
        for queue in self.fold.queues() {
            for (job, found) in self.fold.jobs_of(queue, None) {
                running.extend(found.lease().map(|lease| Attempt {
                    job,
                    lease: lease.id,
                }));
                self.tally.adopt(job, found);
            }
        }
        for attempt in running {
            self.leases.insert(attempt, lease, now);
            self.charging.hold(attempt, now);
        }
    }

    /// Bytes wait to be written.
    pub fn await_bytes(&mut self, bytes: usize) {
        self.waiting_bytes += bytes;
        self.held.promise(bytes);
    }

    /// They wait no longer.
    pub fn await_no_bytes(&mut self, bytes: usize) {
        self.waiting_bytes -= bytes;
        self.held.redeem(bytes);
    }

    pub fn check_open(&self) -> Result<()> {
        match &self.ended {
            Some(error) => Err(error.clone()),
            None if self.closed => Err(draining()),
            None => Ok(()),
        }
    }

    pub fn check_waiters(&mut self, config: &JobsConfig) -> Result<()> {
        let most = config.max_waiters;
        let full = |waiting: usize| waiting >= most;
        let others = self.lines.len() + self.readers.count();
        if full(others + self.watchers.count()) && full(others + self.watchers.len()) {
            let message =
                format!("{most} calls wait for jobs or watch them; raise jobs.max_waiters");
            return Err(Error::new(ErrorCode::TooManyWaiters, message));
        }
        Ok(())
    }

    /// Whether a record may be taken in. Errors: `Draining`, `TooManyBytes`, `TooManyJobs`, `TooManyQueues`.
    fn admit(&self, record: &JobRecord, config: &JobsConfig) -> Result<()> {
        self.check_open()?;
        let bytes = bytes_of(record);
        let waiting = self.proposals.len();
        if waiting >= MOST_WAITING || self.waiting_bytes + bytes > MOST_WAITING_BYTES {
            let message = format!("{waiting} changes of jobs wait to be written");
            let error = Error::new(ErrorCode::TooManyBytes, message);
            return Err(error.retry_after(Micros::from_millis(100)));
        }
        let queue = match record {
            JobRecord::Submitted { spec, .. } => {
                if self.fold.len() + waiting >= config.max_jobs {
                    let most = config.max_jobs;
                    let message = format!("{most} jobs are kept; raise jobs.max_jobs");
                    return Err(Error::new(ErrorCode::TooManyJobs, message));
                }
                &spec.queue
            }
            JobRecord::BatchCreated { spec, .. } => {
                self.check_batches(waiting, config.max_batches)?;
                &spec.queue
            }
            JobRecord::QueueSet { queue, .. } => queue,
            JobRecord::Progressed { .. } | JobRecord::Chunk { .. } => {
                return self.admit_bytes(bytes);
            }
            _ => return Ok(()),
        };
        self.check_queues(queue, config.max_queues)?;
        self.admit_bytes(bytes)
    }

    /// Whether there is room for a queue, beside those that are known and those that wait to be. Errors: `TooManyQueues`.
    fn check_queues(&self, queue: &QueueId, most: usize) -> Result<()> {
        let known = self.fold.queue_count();
        if self.fold.knows(queue) || known + self.proposals.len() < most {
            return Ok(());
        }
        if known < most {
            let waiting = self.proposals.iter();
            let waiting = waiting.filter_map(|proposal| queue_of(&proposal.record));
            let mut new: HashSet<_> = waiting.filter(|it| !self.fold.knows(it)).collect();
            new.insert(queue);
            if known + new.len() <= most {
                return Ok(());
            }
        }
        let message = format!("{most} queues are in use; raise jobs.max_queues");
        Err(Error::new(ErrorCode::TooManyQueues, message))
    }

    fn admit_bytes(&self, bytes: usize) -> Result<()> {
        if self.held.has_room(bytes) {
            return Ok(());
        }
        self.held.want_room(bytes);
        let message = "jobs in memory take as many bytes as they may; raise jobs.held_bytes, or keep jobs on disk";
        Err(Error::new(ErrorCode::TooManyBytes, message))
    }

    /// A job of a namespace. Errors: `JobNotFound`.
    pub fn find(&self, namespace: &Namespace, job: JobId) -> Result<&Job> {
        let found = self.fold.job(job);
        let own = found.filter(|found| self.fold.queue_of(found).namespace == *namespace);
        own.ok_or_else(|| not_found("job", job))
    }

    pub fn view(&self, id: JobId, job: &Job) -> JobView {
        JobView {
            id,
            queue: self.fold.queue_of(job).clone(),
            state: job.state(),
            attempts: job.attempts,
            priority: job.priority,
            submitted: job.submitted,
            ready_at: match job.phase {
                Phase::Delayed(until) => Some(until),
                _ => None,
            },
            lease: job.lease().cloned(),
            ended: job.ending().map(|ending| ending.at),
            error: job.error.clone(),
            options: job.options().clone(),
        }
    }

    pub fn queue(&self, queue: &QueueId) -> QueueState {
        QueueState {
            queue: queue.clone(),
            spec: self.fold.queue_spec(queue),
            counts: JobState::ALL.map(|state| self.fold.count(queue, state)),
        }
    }
}

/// The queue that a record may make known.
fn queue_of(record: &JobRecord) -> Option<&QueueId> {
    match record {
        JobRecord::Submitted { spec, .. } => Some(&spec.queue),
        JobRecord::BatchCreated { spec, .. } => Some(&spec.queue),
        JobRecord::QueueSet { queue, .. } => Some(queue),
        _ => None,
    }
}

/// Bytes of a job that a record carries.
pub(super) fn bytes_of(record: &JobRecord) -> usize {
    record.data().len()
}

/// What a call is told.
pub(super) fn heard<T>(
    told: std::result::Result<Result<T>, oneshot::error::RecvError>,
) -> Result<T> {
    told.unwrap_or_else(|_| Err(draining()))
}
