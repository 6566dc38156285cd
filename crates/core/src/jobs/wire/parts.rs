//! Parts of checkpoints as bytes.

use super::super::job::{Ending, JobState, Lease, Outcome, Phase, Place};
use super::super::record::JobRecord;
use super::super::slice::{HeadSlice, JobSlice, QueueSlice, Slice, TurnSlice};
use super::super::spec::PRIORITIES;
use crate::log::Offset;
use crate::wire::{Put, Take};
use crate::{FairKey, Name, Time};

impl Put {
    pub(super) fn checkpoint(&mut self, record: &JobRecord) {
        match record {
            JobRecord::CheckpointBegin { number } => {
                self.byte(11);
                self.number(*number);
            }
            JobRecord::Slice(slice) => {
                self.byte(12);
                self.slice(slice);
            }
            JobRecord::CheckpointEnd { number, slices } => {
                self.byte(13);
                self.number(*number);
                self.number(*slices);
            }
            _ => {}
        }
    }

    pub(super) fn place(&mut self, place: Place) {
        self.number(place.offset.0);
        self.number(u64::from(place.bytes));
    }

    pub(super) fn purged(&mut self, record: &JobRecord) {
        match record {
            JobRecord::Purged { queue, states } => {
                self.byte(21);
                self.queue(queue);
                self.states(states);
            }
            JobRecord::Forgotten(job) => {
                self.byte(22);
                self.job(*job);
            }
            _ => {}
        }
    }

    fn states(&mut self, states: &[JobState]) {
        self.number(states.len() as u64);
        for state in states {
            self.byte(*state as u8);
        }
    }

    fn phase(&mut self, phase: &Phase) {
        match phase {
            Phase::Delayed(until) => {
                self.byte(1);
                self.number(until.0);
            }
            Phase::Ready => self.byte(2),
            Phase::Running(lease) => {
                self.byte(3);
                self.lease(lease.id);
                self.number(lease.since.0);
                self.text(lease.worker.as_str());
            }
            Phase::Ended(ending) => {
                self.byte(if ending.batch_number == 0 { 4 } else { 5 });
                self.byte(match ending.outcome {
                    Outcome::Succeeded => 1,
                    Outcome::Failed => 2,
                    Outcome::Dead => 3,
                    Outcome::Cancelled => 4,
                    Outcome::Expired => 5,
                    Outcome::Replaced => 6,
                });
                self.number(ending.at.0);
                self.number(ending.kept_until.0);
                self.flag(ending.lease.is_some());
                self.lease(ending.lease.unwrap_or_default());
                if ending.batch_number > 0 {
                    self.number(u64::from(ending.batch_number));
                }
            }
        }
    }

    fn job_slice(&mut self, job: &JobSlice) {
        self.job(job.id);
        self.queue(&job.queue);
        self.number(job.number);
        self.number(job.submitted.0);
        self.place(job.payload);
        self.flag(job.is_reference);
        self.flag(job.left.is_some());
        self.place(job.left.unwrap_or_default());
        self.byte(job.priority);
        self.number(u64::from(job.attempts));
        self.phase(&job.phase);
        self.flag(job.error.is_some());
        self.long_text(job.error.as_deref().unwrap_or_default());
        self.optional(job.tag);
        self.options(&job.options);
        self.stream(job.stream.as_ref());
        self.flag(job.joined);
        self.flag(job.taken.is_some());
        if let Some(taken) = &job.taken {
            self.taken(taken);
        }
    }

    pub(super) fn slice(&mut self, slice: &Slice) {
        match slice {
            Slice::Head(head) => {
                self.byte(1);
                self.number(u64::from(head.partitions));
                self.number(head.time.0);
                self.number(head.watermark.0);
            }
            Slice::Queues(queues) => {
                self.byte(2);
                self.number(queues.len() as u64);
                for it in queues {
                    self.queue(&it.id);
                    self.queue_spec(&it.spec);
                    for tag in it.started {
                        self.number(tag);
                    }
                }
            }
            Slice::Turns(turns) => {
                self.byte(3);
                self.number(turns.len() as u64);
                for it in turns {
                    self.queue(&it.queue);
                    self.byte(it.priority);
                    let key = it.fair_key.as_ref().map(FairKey::as_str);
                    // No key is empty.
                    self.text(key.unwrap_or_default());
                    self.number(it.last);
                }
            }
            Slice::Settlements(due) => {
                self.byte(6);
                self.number(due.len() as u64);
                for it in due {
                    self.settlement(it);
                }
            }
            Slice::Batches(batches) => {
                self.byte(7);
                self.number(batches.len() as u64);
                for it in batches {
                    self.batch(it);
                }
            }
            Slice::Jobs(jobs) => {
                self.byte(5);
                self.number(jobs.len() as u64);
                for job in jobs {
                    self.job_slice(job);
                }
            }
        }
    }
}

impl Take<'_> {
    pub(super) fn checkpoint(&mut self, kind: u8) -> Option<JobRecord> {
        Some(match kind {
            11 => JobRecord::CheckpointBegin {
                number: self.number()?,
            },
            12 => JobRecord::Slice(Slice::take(self)?),
            13 => JobRecord::CheckpointEnd {
                number: self.number()?,
                slices: self.number()?,
            },
            _ => return None,
        })
    }

    pub(super) fn place(&mut self) -> Option<Place> {
        Some(Place {
            offset: Offset(self.number()?),
            bytes: self.small()?,
        })
    }

    /// By their places among all of them, which stay.
    pub(super) fn states(&mut self) -> Option<Vec<JobState>> {
        self.list(|rest| JobState::ALL.get(usize::from(rest.byte()?)).copied())
    }

    fn phase(&mut self) -> Option<Phase> {
        Some(match self.byte()? {
            1 => Phase::Delayed(Time(self.number()?)),
            2 => Phase::Ready,
            3 => Phase::Running(Lease {
                id: self.lease()?,
                since: Time(self.number()?),
                worker: Name::new(self.text()?, "worker").ok()?,
            }),
            kind @ 4..=5 => {
                let outcome = match self.byte()? {
                    1 => Outcome::Succeeded,
                    2 => Outcome::Failed,
                    3 => Outcome::Dead,
                    4 => Outcome::Cancelled,
                    5 => Outcome::Expired,
                    6 => Outcome::Replaced,
                    _ => return None,
                };
                let (at, kept_until) = (Time(self.number()?), Time(self.number()?));
                let (leased, lease) = (self.flag()?, self.lease()?);
                Phase::Ended(Box::new(Ending {
                    outcome,
                    at,
                    kept_until,
                    lease: leased.then_some(lease),
                    batch_number: if kind == 5 { self.small()? } else { 0 },
                }))
            }
            _ => return None,
        })
    }

    fn job_slice(&mut self) -> Option<JobSlice> {
        let (id, queue) = (self.job()?, self.queue()?);
        let (number, submitted) = (self.number()?, Time(self.number()?));
        let (payload, is_reference) = (self.place()?, self.flag()?);
        let (has_left, left) = (self.flag()?, self.place()?);
        let priority = self.byte().filter(|it| *it < PRIORITIES)?;
        let (attempts, phase) = (self.small()?, self.phase()?);
        let (has_error, error) = (self.flag()?, self.long_text()?);
        let mut tag = None;
        self.optional(&mut tag)?;
        Some(JobSlice {
            id,
            queue,
            number,
            submitted,
            payload,
            is_reference,
            left: has_left.then_some(left),
            priority,
            attempts,
            phase,
            error: has_error.then(|| error.into()),
            tag,
            options: self.options()?,
            stream: None,
            joined: false,
            taken: None,
        })
    }

    fn told_job_slice(&mut self) -> Option<JobSlice> {
        let mut job = self.job_slice()?;
        self.stream(&mut job.stream)?;
        job.joined = self.flag()?;
        if self.flag()? {
            job.taken = Some(self.taken()?);
        }
        Some(job)
    }

    fn queue_slice(&mut self) -> Option<QueueSlice> {
        let (id, spec) = (self.queue()?, self.queue_spec()?);
        let mut started = [0; PRIORITIES as usize];
        for tag in &mut started {
            *tag = self.number()?;
        }
        Some(QueueSlice { id, spec, started })
    }

    fn turn_slice(&mut self) -> Option<TurnSlice> {
        let queue = self.queue()?;
        let priority = self.byte().filter(|it| *it < PRIORITIES)?;
        let fair_key = match self.text()? {
            "" => None,
            key => Some(FairKey::new(key, "fair_key").ok()?),
        };
        Some(TurnSlice {
            queue,
            priority,
            fair_key,
            last: self.number()?,
        })
    }

    /// So many of the same, each of which takes bytes.
    pub(super) fn list<T>(
        &mut self,
        mut take: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let count = usize::try_from(self.number()?).ok()?;
        (0..count).map(|_| take(self)).collect()
    }
}

impl Slice {
    pub(super) fn take(rest: &mut Take<'_>) -> Option<Self> {
        Some(match rest.byte()? {
            1 => Self::Head(HeadSlice {
                partitions: rest.small()?,
                time: Time(rest.number()?),
                watermark: Time(rest.number()?),
            }),
            2 => Self::Queues(rest.list(Take::queue_slice)?),
            3 => Self::Turns(rest.list(Take::turn_slice)?),
            // As it was written before anything was told of jobs.
            4 => Self::Jobs(rest.list(Take::job_slice)?),
            5 => Self::Jobs(rest.list(Take::told_job_slice)?),
            6 => Self::Settlements(rest.list(Take::settlement)?),
            7 => Self::Batches(rest.list(Take::batch)?),
            _ => return None,
        })
    }
}
