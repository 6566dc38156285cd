//! What a record that was read back does beside the fold: who is told, whose lease begins or ends, which bytes are held.

use super::charging::RENEWAL;
use super::shard::State;
use trellis_core::jobs::{
    Attempt, AttemptEnd, Change, Chunking, Entry, Job, JobRecord, JobState, Part, Submission,
    Verdict,
};
use trellis_core::log::Offset;
use trellis_core::{Micros, Time};

impl State {
    /// Applies a record that was read back, and carries out what it does.
    pub fn apply(
        &mut self,
        (offset, entry): (Offset, &Entry),
        (now, lease): (Time, Micros),
    ) -> Verdict {
        let mut changes = std::mem::take(&mut self.changes);
        let verdict = self.fold.apply(offset, entry, &mut changes);
        for change in &changes {
            self.changed(change, now, lease);
        }
        if verdict != Verdict::Void {
            self.tally.count(&entry.record, verdict);
            self.share(entry, &changes);
            self.heard(entry, verdict);
        }
        changes.clear();
        self.changes = changes;
        verdict
    }

    fn changed(&mut self, change: &Change, now: Time, lease: Micros) {
        let job = change.job;
        let found = self.fold.job(job);
        self.tally.note(change, found, now);
        if let Some(lease) = change.over {
            self.leases.remove(job);
            self.charging.release(Attempt { job, lease });
        }
        self.readers.wake(job);
        match change.state {
            Some(JobState::Running) => {
                // What was told before is void.
                self.held.remove_chunks(job);
                if let Some(id) = found.and_then(Job::lease).map(|lease| lease.id) {
                    let attempt = Attempt { job, lease: id };
                    self.leases.insert(attempt, lease, now);
                    if found.and_then(Job::taken).is_some() {
                        self.charging.hold(attempt, now + RENEWAL);
                    }
                }
            }
            Some(state) if state.is_ended() => {
                if let Some(ended) = found {
                    self.tell_end(job, ended);
                }
                if state == JobState::Succeeded {
                    self.held.remove(job, Part::Payload);
                }
                self.watchers.ended(job);
                self.caching.forget(job);
                self.charging.leave(job);
                if let Some(place) = found.and_then(|found| found.options().batch) {
                    self.readers.wake(place.batch.0);
                }
            }
            Some(_) => {}
            None => {
                self.held.remove(job, Part::Payload);
                self.held.remove(job, Part::Left);
                self.held.remove_chunks(job);
                self.caching.forget(job);
                self.charging.leave(job);
                self.watchers.ended(job);
            }
        }
    }

    /// A result is that of every job that succeeded by it, and goes into the cache if it was not found there.
    fn share(&mut self, entry: &Entry, changes: &[Change]) {
        let (JobRecord::Found { job, result }
        | JobRecord::Ended {
            job,
            how: AttemptEnd::Succeeded(result),
            ..
        }) = &entry.record
        else {
            return;
        };
        let succeeded = |change: &&Change| change.state == Some(JobState::Succeeded);
        for change in changes.iter().filter(succeeded) {
            self.held.put(change.job, Part::Left, result);
        }
        let by_attempt = matches!(entry.record, JobRecord::Ended { .. });
        if let Some(job) = self.fold.job(*job).filter(|_| by_attempt)
            && let Some(cached) = &job.options().cached
        {
            let namespace = &self.fold.queue_of(job).namespace;
            self.caching.keep(namespace, cached, result);
        }
    }

    /// Bytes that came are held, and readers told of what was told.
    fn heard(&mut self, entry: &Entry, verdict: Verdict) {
        match &entry.record {
            JobRecord::Submitted { id, spec }
                if matches!(
                    verdict,
                    Verdict::Submitted(Submission::New | Submission::Replaced(_))
                ) =>
            {
                self.held.put(*id, Part::Payload, &spec.payload.data);
                let joins = || self.fold.job(*id).is_some_and(Job::has_joined);
                if spec.options.cached.is_some() && !joins() {
                    self.caching.is_missing(&self.fold, *id);
                }
            }
            JobRecord::Progressed { job, progress, .. } => {
                if let Some(data) = &progress.checkpoint {
                    self.held.put(*job, Part::Left, data);
                }
                self.readers.wake(*job);
            }
            JobRecord::BatchCancelled(id) => self.readers.wake(id.0),
            JobRecord::Chunk { job, chunk, .. } => {
                if let Verdict::Chunk(Chunking::Taken(number)) = verdict {
                    self.held.put(*job, Part::Chunk(number), &chunk.data);
                    self.readers.wake(*job);
                }
            }
            _ => {}
        }
    }
}
