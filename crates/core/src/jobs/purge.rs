//! Jobs that are taken out many at once: those that wait are cancelled, those that have ended forgotten.

use super::fold::{Change, JobFold, Verdict, done};
use super::ids::JobId;
use super::job::{JobState, Outcome};
use super::spec::QueueId;
use crate::{Error, Result};

/// The most jobs that one record takes out.
pub const MAX_PURGED: u32 = 1_000;

/// Checks of which states jobs may be taken out: of those that wait, or of those that are over. Errors: `InvalidField`.
pub fn check_purged(states: &[JobState]) -> Result<()> {
    let waits = |state: &JobState| matches!(state, JobState::Delayed | JobState::Ready);
    let all_wait = states.iter().all(waits);
    let all_ended = states.iter().all(|state| state.is_ended());
    if !states.is_empty() && (all_wait || all_ended) {
        return Ok(());
    }
    let allowed = "must be states of jobs that wait, or of jobs that have ended, at least one";
    Err(Error::invalid("states", allowed))
}

impl JobFold {
    pub(super) fn purge(
        &mut self,
        queue: &QueueId,
        states: &[JobState],
        changes: &mut Vec<Change>,
    ) -> Verdict {
        let some = self.jobs_in(queue, states, None).map(|(id, _)| id);
        let some: Vec<JobId> = some.take(MAX_PURGED as usize).collect();
        let mut count = 0;
        for id in some {
            let Some(job) = self.jobs.get(&id) else {
                continue;
            };
            let out = match job.state() {
                JobState::Running => false,
                state if state.is_ended() => {
                    self.forget(id, changes);
                    true
                }
                _ => self.finish((id, None), Outcome::Cancelled, changes),
            };
            count += u32::from(out);
        }
        Verdict::Purged(count)
    }

    pub(super) fn forget_ended(&mut self, id: JobId, changes: &mut Vec<Change>) -> Verdict {
        let ended = self.jobs.get(&id).is_some_and(|job| job.ending().is_some());
        if ended {
            self.forget(id, changes);
        }
        done(ended)
    }
}
