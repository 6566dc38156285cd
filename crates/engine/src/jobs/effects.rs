//! What a record that was read back does beside the fold: who is told, whose lease begins or ends, which bytes are held.

use super::shard::State;
use trellis_core::jobs::{
    Attempt, AttemptEnd, Change, Entry, Job, JobRecord, JobState, Part, Submission, Verdict,
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
        let mut changes = Vec::new();
        let verdict = self.fold.apply(offset, entry, &mut changes);
        for change in &changes {
            self.changed(change, now, lease);
        }
        if verdict != Verdict::Void {
            self.tally.count(&entry.record, verdict);
            self.hold(entry, verdict);
        }
        verdict
    }

    fn changed(&mut self, change: &Change, now: Time, lease: Micros) {
        let job = change.job;
        self.tally.note(change, self.fold.job(job), now);
        if change.over.is_some() {
            self.leases.remove(job);
        }
        match change.state {
            Some(JobState::Running) => {
                let current = self.fold.job(job).and_then(Job::lease);
                if let Some(id) = current.map(|lease| lease.id) {
                    self.leases.insert(Attempt { job, lease: id }, lease, now);
                }
            }
            Some(state) if state.is_ended() => {
                if let Some(ended) = self.fold.job(job) {
                    self.tell_end(job, ended);
                }
                if state == JobState::Succeeded {
                    self.held.remove(job, Part::Payload);
                }
                self.watchers.ended(job);
            }
            Some(_) => {}
            None => {
                self.held.remove(job, Part::Payload);
                self.held.remove(job, Part::Left);
                self.watchers.ended(job);
            }
        }
    }

    fn hold(&mut self, entry: &Entry, verdict: Verdict) {
        match &entry.record {
            JobRecord::Submitted { id, spec }
                if matches!(
                    verdict,
                    Verdict::Submitted(Submission::New | Submission::Replaced(_))
                ) =>
            {
                self.held.put(*id, Part::Payload, &spec.payload.data);
            }
            JobRecord::Progressed {
                job,
                checkpoint: data,
                ..
            }
            | JobRecord::Ended {
                job,
                how: AttemptEnd::Succeeded(data),
                ..
            } => self.held.put(*job, Part::Left, data),
            _ => {}
        }
    }
}
