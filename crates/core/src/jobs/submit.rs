//! What becomes of a submission: decided by its place in the log, and by what stands before it.

use super::fold::{Change, JobFold, Submission, Verdict, place};
use super::ids::JobId;
use super::index::turn_key;
use super::job::{Asked, Job, Outcome, Phase};
use super::queue::Queue;
use super::spec::{JobSpec, OnConflict};
use crate::log::Offset;

impl JobFold {
    /// Takes a job in, unless what stands before it is in the way. An id that is known, or so old that it may have been, says nothing.
    pub(super) fn submit(
        &mut self,
        offset: Offset,
        id: JobId,
        spec: &JobSpec,
        changes: &mut Vec<Change>,
    ) -> Verdict {
        if self.jobs.contains_key(&id) || id.made() < self.head.watermark {
            return Verdict::Void;
        }
        let queue = self.index.find_or_make(&spec.queue);
        let decision = self.decide(&self.index.queues[queue], spec);
        match decision {
            Submission::Replaced(old) => {
                self.finish((old, None), Outcome::Replaced, changes);
            }
            Submission::New => {}
            _ => {
                self.index.sweep(queue);
                return Verdict::Submitted(decision);
            }
        }
        let mut job = Job {
            number: offset.0,
            submitted: self.head.time,
            payload: place(offset, &spec.payload.data),
            is_reference: spec.payload.is_reference,
            left: None,
            stream: None,
            joined: false,
            taken: None,
            priority: spec.priority,
            attempts: 0,
            phase: match spec.run_at.filter(|at| *at > self.head.time) {
                Some(at) => Phase::Delayed(at),
                None => Phase::Ready,
            },
            error: None,
            tag: None,
            queue,
            asked: Asked::new(&spec.options, &spec.queue.namespace),
        };
        if let Some(snapshot) = &mut self.snapshot {
            let key = turn_key(&job);
            snapshot.keep_job(id, None);
            snapshot.keep_turns(&key, self.index.turns.get(&key));
        }
        if job.phase == Phase::Ready {
            self.index.take_turn(&mut job);
            self.index.join(&mut job);
        }
        self.index.enlist(id, &job);
        changes.push(Change {
            job: id,
            state: Some(job.state()),
            over: None,
        });
        self.jobs.insert(id, job);
        self.taken_in_batch(spec);
        Verdict::Submitted(decision)
    }

    fn decide(&self, queue: &Queue, spec: &JobSpec) -> Submission {
        if let Some(request) = &spec.options.request
            && let Some(first) = queue.requests.get(&request.id)
        {
            let known = self.jobs.get(first);
            let known = known.and_then(|job| job.options().request.as_ref());
            return match known {
                Some(known) if known.digest == request.digest => Submission::Repeat(*first),
                _ => Submission::RequestReused,
            };
        }
        if let Some(refused) = self.decide_in_batch(spec) {
            return refused;
        }
        let mut room = queue.spec.max_jobs.unwrap_or(u64::MAX);
        let mut decision = Submission::New;
        if let Some(unique) = &spec.options.unique
            && let Some(old) = queue.unique.get(&unique.key)
        {
            match unique.on_conflict {
                OnConflict::Reject => return Submission::Rejected(*old),
                OnConflict::Return => return Submission::Existing(*old),
                OnConflict::Replace => {
                    room = room.saturating_add(1);
                    decision = Submission::Replaced(*old);
                }
            }
        }
        if queue.open() >= room {
            return Submission::QueueFull;
        }
        decision
    }
}
