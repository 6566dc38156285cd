//! What a shard writes next: what time demands, what was proposed, the ends of leases that are over, and jobs for those who wait.

use super::calls::{Call, Called};
use super::charging::Asked;
use super::lines::{Got, Waiter};
use super::shard::{Proposal, Shard, State, Tell, bytes_of};
use std::cell::RefCell;
use trellis_core::jobs::{
    Attempt, AttemptEnd, ChargedBuckets, Job, JobId, JobRecord, LeaseId, QueueId,
};
use trellis_core::limits::ReservationId;
use trellis_core::{Error, Micros, Namespace, Time};

/// Records of a round, about.
const MOST_RECORDS: usize = 2_048;

/// Bytes of jobs in a round, about.
const MOST_BYTES: usize = 2 * 1024 * 1024;

/// A worker that is being served.
pub(super) struct Served {
    waiter: Waiter,
    got: Vec<Attempt>,
    error: Option<Error>,
}

/// What was taken of limits, and no lease was logged for.
type Spare = (Namespace, ReservationId);

/// See the module.
#[derive(Default)]
pub(super) struct Round {
    pub proposals: Vec<Proposal>,
    served: Vec<Served>,
    /// Attempts of which it is logged that they were settled.
    settled: Vec<LeaseId>,
    spare: Vec<Spare>,
    /// Jobs of which it is logged that their results were found.
    found: Vec<JobId>,
    bytes: usize,
}

/// What there is to do.
pub(super) enum Next {
    Write(Round),
    /// Nothing, until somebody asks or this time has come.
    Wait(Option<Time>),
    /// Nothing any more.
    End,
}

impl Round {
    pub fn push(&mut self, record: JobRecord) {
        let tell = Tell::Nobody;
        self.put(Proposal { record, tell });
    }

    fn put(&mut self, proposal: Proposal) {
        if let JobRecord::Settled(leases) = &proposal.record {
            self.settled.extend_from_slice(leases);
        }
        if let JobRecord::Found { job, .. } = &proposal.record {
            self.found.push(*job);
        }
        self.bytes += bytes_of(&proposal.record);
        self.proposals.push(proposal);
    }

    fn is_full(&self) -> bool {
        self.proposals.len() >= MOST_RECORDS || self.bytes >= MOST_BYTES
    }

    /// A worker has a job.
    pub fn got(&mut self, place: usize, attempt: Attempt) {
        if let Some(served) = self.served.get_mut(place) {
            served.got.push(attempt);
        }
    }

    /// A job was not leased: what was taken for it is given back.
    pub fn spare(&mut self, place: usize, reservation: ReservationId) {
        if let Some(served) = self.served.get(place) {
            let namespace = served.waiter.reserve.queue.namespace.clone();
            self.spare.push((namespace, reservation));
        }
    }

    /// A record does not stand.
    pub fn fail(&mut self, tell: Tell, error: &Error) {
        match tell {
            Tell::Caller(tell) => {
                // Whoever has gone does not need to know.
                let _ = tell.send(Err(error.clone()));
            }
            Tell::Worker(place) => self.failed(place, error),
            Tell::Nobody => {}
        }
    }

    /// A worker has none.
    fn failed(&mut self, place: usize, error: &Error) {
        if let Some(served) = self.served.get_mut(place) {
            served.error = Some(error.clone());
        }
    }
}

impl Shard {
    /// See the module.
    pub fn next(&self) -> Next {
        let now = self.now();
        let mut round = Round::default();
        let mut state = self.state.lock();
        let tick = state.fold.tick(now);
        let ticks = tick.is_some();
        if let Some(tick) = tick {
            round.push(tick);
        }
        while !round.is_full()
            && let Some(proposal) = state.proposals.pop_front()
        {
            state.await_no_bytes(bytes_of(&proposal.record));
            round.put(proposal);
        }
        state.make_room(&mut round, self.config.max_jobs, now);
        for Attempt { job, lease } in state.leases.over(now, MOST_RECORDS) {
            let how = AttemptEnd::Lost;
            round.push(JobRecord::Ended { job, lease, how });
        }
        let State { fold, charging, .. } = &mut *state;
        charging.keep_up(fold, now);
        if let Some(settled) = charging.take_settled() {
            round.push(settled);
        }
        if state.closed {
            state.charging.close(now);
        } else {
            state.deal(&mut round, now);
        }
        if !ticks && !round.is_full() {
            let State {
                lines, charging, ..
            } = &mut *state;
            for waiter in lines.take_at_once(|queue| charging.is_asked(queue)) {
                answer(waiter, Ok(Vec::new()));
            }
        }
        if !round.proposals.is_empty() {
            return Next::Write(round);
        }
        if state.closed {
            return Next::End;
        }
        let due = state.fold.next_due().into_iter();
        let due = due.chain(state.charging.next_time(&state.fold));
        let due = due.chain(state.next_search(self.config.max_jobs));
        Next::Wait(due.chain(state.leases.next_look()).min())
    }

    /// Tells those who were served what they got. Who got nothing waits on; what nobody takes goes back.
    pub fn answer(&self, round: Round) {
        let now = self.now();
        let mut state = self.state.lock();
        for lease in round.settled {
            state.charging.logged(lease);
        }
        for job in round.found {
            state.caching.missed(job);
        }
        for (namespace, reservation) in round.spare {
            state.charging.refund(namespace, reservation, now);
        }
        for served in round.served.into_iter().rev() {
            let Served { waiter, got, error } = served;
            if got.is_empty() && error.is_none() && !waiter.is_at_once() {
                state.lines.put_back(waiter);
                continue;
            }
            let span: Micros = waiter.lease;
            for attempt in &got {
                state.leases.set_span(*attempt, span, now);
            }
            let result = match error {
                Some(error) if got.is_empty() => Err(error),
                _ => Ok(got),
            };
            if let Err(Ok(got)) = waiter.tell.send(result) {
                state.give_back(got);
            }
        }
    }
}

impl State {
    /// Proposes jobs for those who wait for them.
    fn deal(&mut self, round: &mut Round, now: Time) {
        self.charging.open(now);
        let queues: Vec<QueueId> = self.lines.queues().cloned().collect();
        for queue in queues {
            self.deal_of(&queue, round, now);
        }
        if !round.is_full() {
            let State { fold, charging, .. } = self;
            charging.refund_rest(fold, now);
        }
    }

    fn deal_of(&mut self, queue: &QueueId, round: &mut Round, now: Time) {
        let (fold, lines) = (&self.fold, &mut self.lines);
        let charging = RefCell::new(&mut self.charging);
        let is_shut = |buckets: &ChargedBuckets| charging.borrow().is_shut(queue, buckets);
        let mut next = fold.next_unless(queue, is_shut).peekable();
        let mut idle = Vec::new();
        while !round.is_full()
            && next.peek().is_some()
            && let Some(waiter) = lines.pop(queue)
        {
            let (place, before) = (round.served.len(), round.proposals.len());
            let (mut room, mut bytes) = (waiter.reserve.max_jobs, 0_usize);
            while room > 0
                && let Some(job) = next.peek().copied()
            {
                let found = fold.job(job);
                let more = bytes.saturating_add(found.map_or(0, Job::bytes));
                if bytes > 0 && more > waiter.reserve.max_bytes {
                    break;
                }
                next.next();
                let asked = if found.is_some_and(needs_nothing) {
                    Asked::May(None)
                } else if self.caching.is_missing(fold, job) {
                    charging.borrow_mut().ask(fold, job, now)
                } else {
                    Asked::Underway
                };
                match asked {
                    Asked::May(reservation) => {
                        bytes = more;
                        let worker = waiter.reserve.worker.clone();
                        round.put(Proposal {
                            record: JobRecord::Leased {
                                job,
                                worker,
                                reservation,
                            },
                            tell: Tell::Worker(place),
                        });
                    }
                    Asked::Underway => {}
                    Asked::Shut => continue,
                    Asked::Never(error) => {
                        round.push(JobRecord::Refused { job, error });
                        continue;
                    }
                }
                room -= 1;
            }
            if round.proposals.len() == before {
                idle.push(waiter);
                continue;
            }
            round.served.push(Served {
                waiter,
                got: Vec::new(),
                error: None,
            });
        }
        drop(next);
        for waiter in idle.into_iter().rev() {
            lines.put_back(waiter);
        }
    }

    /// Calls that have begun.
    pub fn take_calls(&mut self) -> Vec<Call> {
        let mut calls = self.charging.take_calls();
        calls.extend(self.caching.take_calls());
        calls
    }

    /// A call of another port has come to something.
    pub fn called(&mut self, called: Called, now: Time) {
        let record = match called {
            Called::Acquired(job, acquired) => {
                let never = self.charging.acquired(&self.fold, job, acquired, now);
                never.map(|error| JobRecord::Refused { job, error })
            }
            Called::Stood(job, acquired) => {
                let never = self.charging.stood(&self.fold, job, acquired, now);
                never.map(|error| JobRecord::Refused { job, error })
            }
            Called::Settled(lease, namespace, settled) => {
                self.charging.settled(lease, &namespace, settled, now);
                None
            }
            Called::Nothing => None,
            Called::Looked(job, result) => {
                self.caching.looked();
                if result.is_none() {
                    self.caching.missed(job);
                }
                // Until that is read back the job does not start.
                result.map(|result| JobRecord::Found { job, result })
            }
            Called::Kept => {
                self.caching.kept();
                None
            }
        };
        if let Some(record) = record {
            self.await_bytes(bytes_of(&record));
            let tell = Tell::Nobody;
            self.proposals.push_back(Proposal { record, tell });
        }
    }

    /// Nobody was there to take these.
    pub fn give_back(&mut self, got: Vec<Attempt>) {
        for Attempt { job, lease } in got {
            let how = AttemptEnd::Released;
            self.proposals.push_back(Proposal {
                record: JobRecord::Ended { job, lease, how },
                tell: Tell::Nobody,
            });
        }
    }
}

/// Whether nobody is to be asked before a job starts, as of most.
fn needs_nothing(job: &Job) -> bool {
    let options = job.options();
    options.charges.is_empty() && options.cached.is_none()
}

fn answer(waiter: Waiter, got: Got) {
    // Whoever has gone does not need to know.
    let _ = waiter.tell.send(got);
}
