//! What attempts take of limits.

use super::super::super::*;
use super::Model;
use crate::limits::Usage;

impl Model {
    pub(super) fn charge(&mut self, mark: Mark, record: &JobRecord) {
        match record {
            JobRecord::Leased {
                job,
                reservation: Some(_),
                ..
            } => {
                let lease = Some(mark.lease());
                if let Some(job) = self.find(*job).filter(|job| job.lease == lease) {
                    job.usage = Some(Usage::Actual(Vec::new()));
                }
            }
            JobRecord::Refused { job, .. } => {
                let job = self.find(*job).filter(|job| job.state == JobState::Ready);
                if let Some(id) = job.map(|job| job.id) {
                    self.finish(id, JobState::Failed);
                }
            }
            JobRecord::Used { job, lease, used } => {
                let job = self.find(*job).filter(|job| job.lease == Some(*lease));
                if let Some(usage) = job.and_then(|job| job.usage.as_mut()) {
                    *usage = Usage::Actual(used.clone());
                }
            }
            JobRecord::Settled(leases) => {
                for lease in leases {
                    self.settlements.remove(lease);
                }
            }
            _ => {}
        }
    }

    /// What an attempt has taken is to be settled once it is over.
    pub(super) fn settle(&mut self, before: &[(JobId, LeaseId)]) {
        for (id, lease) in before {
            if let Some(job) = self.find(*id)
                && job.lease != Some(*lease)
                && let Some(usage) = job.usage.take()
            {
                self.settlements.insert(*lease, usage);
            }
        }
    }
}
