//! What attempts tell while they run.

use super::super::super::*;
use super::{Model, ModelJob};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Reset,
    Chunk,
    Report(Report),
}

impl ModelJob {
    /// What was told and is valid: from the last reset on, and of the reports the last.
    pub(super) fn valid(&self) -> Vec<(u64, Told)> {
        let reset = |told: &(LeaseId, Told)| told.1 == Told::Reset;
        let first = self.told.iter().rposition(reset).unwrap_or(0);
        let report = |told: &(LeaseId, Told)| matches!(told.1, Told::Report(_));
        let last = self.told.iter().rposition(report);
        let valid = self.told.iter().enumerate().skip(first);
        let valid = valid.filter(|(at, told)| !report(told) || Some(*at) == last);
        valid
            .map(|(at, told)| (at as u64 + 1, told.1.clone()))
            .collect()
    }
}

/// What a reader gets who begins at the start.
pub(super) fn read(job: &Job) -> Vec<(u64, Told)> {
    let mut all = Vec::new();
    while let Some((number, said)) = job
        .stream()
        .and_then(|stream| stream.from(all.last().map_or(0, |(last, _)| last + 1)))
    {
        let told = match said {
            Said::Reset => Told::Reset,
            Said::Chunk(_) => Told::Chunk,
            Said::Report(report) => Told::Report(report.clone()),
        };
        all.push((number, told));
    }
    all
}

impl Model {
    pub(super) fn hear(&mut self, record: &JobRecord) {
        match record {
            JobRecord::Progressed {
                job,
                lease,
                progress,
            } => {
                let job = self.find(*job).filter(|job| job.lease == Some(*lease));
                if let (Some(job), Some(report)) = (job, &progress.report) {
                    job.told.push((*lease, Told::Report(report.clone())));
                }
            }
            JobRecord::Chunk {
                job,
                lease,
                chunk,
                most,
            } => {
                let job = self.find(*job).filter(|job| job.lease == Some(*lease));
                if let Some(job) = job {
                    let own = (*lease, Told::Chunk);
                    let count = job.told.iter().filter(|told| **told == own).count();
                    if chunk.index as usize == count && chunk.index < most.count {
                        job.told.push(own);
                    }
                }
            }
            _ => {}
        }
    }
}
