//! What an owner proposes: everything that may happen to jobs.

use super::super::*;
use super::harness::{SECOND, charge, failed, reservation, turn, used, worker};
use super::world::{Checkpointing, World, data, queues};
use crate::log::Partition;
use crate::random::Random;
use crate::{ConcurrencyKey, EntryKey, Micros, RequestId, UniqueKey};

impl World {
    pub(super) fn propose(&mut self, at: usize) -> Vec<JobRecord> {
        let mut records = Vec::new();
        if let Some(tick) = self.owners[at].fold.tick(self.now) {
            records.push(tick);
        }
        for _ in 0..=self.random.below(4) {
            records.extend(self.one(at));
        }
        records.extend(self.checkpoint(at));
        if records.is_empty() {
            records.push(JobRecord::Tick);
        }
        records
    }

    fn one(&mut self, at: usize) -> Option<JobRecord> {
        let queue = queues()[self.random.below(2)].clone();
        let kind = self.random.below(24);
        let fold = &self.owners[at].fold;
        let jobs: Vec<(JobId, Job)> = fold
            .jobs_of(&queue, None)
            .map(|(id, job)| (id, job.clone()))
            .collect();
        let running: Vec<_> = jobs
            .iter()
            .filter(|(_, job)| job.lease().is_some())
            .collect();
        match kind {
            0..=5 => Some(self.submission(at, queue)),
            21 if self.random.percent(50) && !jobs.is_empty() => {
                let (job, _) = jobs[self.random.below(jobs.len())];
                let result = data(job);
                Some(JobRecord::Found { job, result })
            }
            21 => Some(self.batch(queue)),
            23 if self.random.percent(30) => Some(self.purged(queue)),
            22 => {
                let batches: Vec<BatchId> = fold.batches.keys().copied().collect();
                let batch = self.random.below(batches.len().max(1));
                batches.get(batch).copied().map(JobRecord::BatchCancelled)
            }
            6..=11 => self.start(at, &queue),
            12 if !self.attempts.is_empty() => {
                // A worker speaks, late or twice.
                let (job, lease) = self.attempts[self.random.below(self.attempts.len())];
                let how = AttemptEnd::Succeeded(data(job));
                Some(JobRecord::Ended { job, lease, how })
            }
            13..=16 if !running.is_empty() => {
                let (job, it) = running[self.random.below(running.len())];
                let lease = it.lease()?.id;
                if self.random.percent(40) {
                    return Some(self.said(*job, lease, it));
                }
                let how = self.how(*job);
                Some(JobRecord::Ended {
                    job: *job,
                    lease,
                    how,
                })
            }
            17 if !jobs.is_empty() => {
                let (job, _) = jobs[self.random.below(jobs.len())];
                Some(JobRecord::Cancelled(job))
            }
            18 => Some(self.queue_set(queue)),
            20 => {
                let due = fold.due_settlements().map(|(lease, _)| lease);
                let some: Vec<LeaseId> = due.take(1 + self.random.below(3)).collect();
                (!some.is_empty()).then_some(JobRecord::Settled(some))
            }
            19 if !jobs.is_empty() => {
                let (id, job) = &jobs[self.random.below(jobs.len())];
                Some(self.moved(*id, job))
            }
            _ => None,
        }
    }

    fn purged(&mut self, queue: QueueId) -> JobRecord {
        let states = match self.random.below(3) {
            0 => vec![JobState::Delayed],
            1 => vec![JobState::Ready, JobState::Delayed],
            _ => vec![JobState::Succeeded, JobState::Dead],
        };
        JobRecord::Purged { queue, states }
    }

    /// Bytes of a job are logged again.
    fn moved(&mut self, id: JobId, job: &Job) -> JobRecord {
        let chunk = job.stream().and_then(|stream| stream.chunks.first());
        let (part, from) = match chunk {
            Some((number, place)) if self.random.percent(70) => {
                (Part::Chunk(*number), place.offset)
            }
            _ => (Part::Payload, job.payload.offset),
        };
        JobRecord::Moved {
            job: id,
            part,
            from,
            data: data(id),
        }
    }

    /// The next job of a queue is leased, or never will be.
    fn start(&mut self, at: usize, queue: &QueueId) -> Option<JobRecord> {
        let fold = &self.owners[at].fold;
        let next = fold.next(queue).next()?;
        let worker = worker();
        let job = fold.job(next)?;
        let charged = !job.options().charges.is_empty();
        if charged && self.random.percent(5) {
            let error = "never".into();
            return Some(JobRecord::Refused { job: next, error });
        }
        Some(JobRecord::Leased {
            job: next,
            worker,
            reservation: charged.then(reservation),
        })
    }

    /// What an attempt tells while it runs.
    fn said(&mut self, job: JobId, lease: LeaseId, it: &Job) -> JobRecord {
        if it.taken().is_some() && self.random.percent(40) {
            let amount = i64::try_from(self.random.up_to(9)).unwrap();
            let used = vec![used(amount)];
            return JobRecord::Used { job, lease, used };
        }
        let count = it.stream().map_or(0, |stream| stream.chunks.len());
        if self.random.percent(60) {
            let index = u32::try_from(count + self.random.below(4)).unwrap();
            let index = index.saturating_sub(1);
            let data = data(job);
            return JobRecord::Chunk {
                job,
                lease,
                chunk: Chunk { index, data },
                most: ChunkBounds {
                    count: 3,
                    bytes: 1_000,
                },
            };
        }
        let report = self.random.percent(60).then(|| Report {
            done: self.random.up_to(9),
            ..Report::default()
        });
        let checkpoint = self.random.percent(60).then(|| data(job));
        let progress = Progress { report, checkpoint };
        JobRecord::Progressed {
            job,
            lease,
            progress,
        }
    }

    fn batch(&mut self, queue: QueueId) -> JobRecord {
        let random = &mut self.random;
        let id = BatchId(JobId::new(self.now, Partition(0), random.next()));
        let most = u32::try_from(random.below(3)).unwrap();
        let spec = Box::new(BatchSpec {
            queue,
            count: 1 + u32::try_from(random.below(6)).unwrap(),
            max_concurrent: Some(most).filter(|most| *most > 0),
            on_failure: [OnFailure::Collect, OnFailure::FailFast][random.below(2)],
            request: random.percent(30).then(|| Request {
                id: RequestId::new("batch", "request_id").unwrap(),
                digest: random.up_to(1),
            }),
        });
        JobRecord::BatchCreated { id, spec }
    }

    fn how(&mut self, job: JobId) -> AttemptEnd {
        match self.random.below(7) {
            0 => failed(),
            1 => AttemptEnd::Throttled(SECOND),
            2 => AttemptEnd::Released,
            3 => AttemptEnd::Lost,
            4 => AttemptEnd::Failed {
                error: "hopeless".into(),
                retryable: false,
                retry_after: None,
            },
            _ => AttemptEnd::Succeeded(data(job)),
        }
    }

    fn queue_set(&mut self, queue: QueueId) -> JobRecord {
        let some = |random: &mut Random| {
            let most = u32::try_from(random.below(4)).unwrap();
            Some(most).filter(|most| *most > 0)
        };
        let spec = QueueSpec {
            paused: self.random.percent(10),
            concurrency: some(&mut self.random),
            key_concurrency: some(&mut self.random),
            max_jobs: some(&mut self.random).map(|most| u64::from(most) * 8),
            result_retention: SECOND,
            dead_retention: SECOND,
        };
        JobRecord::QueueSet { queue, spec }
    }

    fn submission(&mut self, at: usize, queue: QueueId) -> JobRecord {
        let batches: Vec<BatchId> = self.owners[at].fold.batches.keys().copied().collect();
        let id = JobId::new(self.now, Partition(0), self.random.next());
        let random = &mut self.random;
        let mut spec = JobSpec::new(queue, data(id));
        spec.priority = u8::try_from(random.below(3)).unwrap();
        if random.percent(20) {
            spec.run_at = Some(self.now + Micros(random.up_to(2 * SECOND.0)));
        }
        let options = &mut spec.options;
        options.retry.max_attempts = 1 + u32::try_from(random.below(3)).unwrap();
        if random.percent(20) {
            options.deadline = Some(self.now + Micros(random.up_to(9 * SECOND.0)));
        }
        if random.percent(20) {
            options.timeout = Some(SECOND);
        }
        let name = ["a", "b", "c"][random.below(3)];
        if random.percent(50) {
            options.turn = Some(turn(name, 1 + u32::try_from(random.below(3)).unwrap()));
        }
        if random.percent(25) {
            options.cached = Some(Cached {
                key: EntryKey::new(name, "cache_key").unwrap(),
                ttl: SECOND,
            });
        }
        if !batches.is_empty() && random.percent(60) {
            let batch = batches[random.below(batches.len())];
            let index = u32::try_from(random.below(6)).unwrap();
            options.batch = Some(InBatch { batch, index });
        } else if random.percent(30) {
            let key = ConcurrencyKey::new(name, "concurrency_key").unwrap();
            options.concurrency_key = Some(key);
        }
        if random.percent(40) {
            options.charges = vec![charge(["llm", "ocr"][random.below(2)])];
        }
        if random.percent(15) {
            options.request = Some(Request {
                id: RequestId::new(name, "request_id").unwrap(),
                digest: random.up_to(1),
            });
        }
        if random.percent(20) {
            let mut conflicts = [OnConflict::Reject, OnConflict::Return, OnConflict::Replace];
            if options.batch.is_some() {
                conflicts = [OnConflict::Replace; 3];
            }
            options.unique = Some(Unique {
                key: UniqueKey::new(name, "unique.key").unwrap(),
                on_conflict: conflicts[random.below(3)],
            });
        }
        let spec = Box::new(spec);
        JobRecord::Submitted { id, spec }
    }

    fn checkpoint(&mut self, at: usize) -> Option<JobRecord> {
        let begins = self.random.percent(15);
        let owner = &mut self.owners[at];
        let Some(checkpoint) = &mut owner.checkpoint else {
            let number = self.figures.owners as u64 * 1_000 + owner.next as u64;
            owner.checkpoint = begins.then_some(Checkpointing {
                number,
                ..Checkpointing::default()
            });
            return begins.then_some(JobRecord::CheckpointBegin { number });
        };
        checkpoint.begin?;
        if let Some(slice) = owner.fold.next_slice(3_000) {
            checkpoint.slices += 1;
            return Some(JobRecord::Slice(slice));
        }
        Some(JobRecord::CheckpointEnd {
            number: checkpoint.number,
            slices: checkpoint.slices,
        })
    }
}
