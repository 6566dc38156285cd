//! What a shard writes next: what time demands, what was proposed, the ends of leases that are over, and jobs for those who wait.

use super::lines::{Got, Waiter};
use super::shard::{Proposal, Shard, State, Tell, bytes_of};
use trellis_core::jobs::{Attempt, AttemptEnd, Job, JobRecord, QueueId};
use trellis_core::{Error, Micros, Time};

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

/// See the module.
#[derive(Default)]
pub(super) struct Round {
    pub proposals: Vec<Proposal>,
    served: Vec<Served>,
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

    /// A worker has none.
    pub fn failed(&mut self, place: usize, error: &Error) {
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
            state.waiting_bytes -= bytes_of(&proposal.record);
            round.put(proposal);
        }
        for Attempt { job, lease } in state.leases.over(now, MOST_RECORDS) {
            let how = AttemptEnd::Lost;
            round.push(JobRecord::Ended { job, lease, how });
        }
        if !state.closed {
            state.deal(&mut round);
        }
        if !ticks && !round.is_full() {
            for waiter in state.lines.take_at_once() {
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
        Next::Wait(due.chain(state.leases.next_end()).min())
    }

    /// Tells those who were served what they got. Who got nothing waits on; what nobody takes goes back.
    pub fn answer(&self, round: Round) {
        let now = self.now();
        let mut state = self.state.lock();
        for served in round.served.into_iter().rev() {
            let Served { waiter, got, error } = served;
            if got.is_empty() && error.is_none() && !waiter.at_once {
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
    fn deal(&mut self, round: &mut Round) {
        let queues: Vec<QueueId> = self.lines.queues().cloned().collect();
        for queue in queues {
            let mut next = self.fold.next(&queue).peekable();
            while !round.is_full()
                && next.peek().is_some()
                && let Some(waiter) = self.lines.pop(&queue)
            {
                let place = round.served.len();
                let (mut jobs, mut bytes) = (0, 0_usize);
                while jobs < waiter.max_jobs
                    && let Some(job) = next.next_if(|job| {
                        let more = self.fold.job(*job).map_or(0, Job::bytes);
                        bytes = bytes.saturating_add(more);
                        jobs == 0 || bytes <= waiter.max_bytes
                    })
                {
                    jobs += 1;
                    let worker = waiter.worker.clone();
                    round.put(Proposal {
                        record: JobRecord::Leased { job, worker },
                        tell: Tell::Worker(place),
                    });
                }
                round.served.push(Served {
                    waiter,
                    got: Vec::new(),
                    error: None,
                });
            }
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

fn answer(waiter: Waiter, got: Got) {
    // Whoever has gone does not need to know.
    let _ = waiter.tell.send(got);
}
