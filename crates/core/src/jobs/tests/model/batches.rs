//! Batches.

use super::super::super::*;
use super::{Model, ModelJob};
use crate::Time;

/// What a batch is at.
#[derive(Clone, Debug)]
pub(super) struct ModelBatch {
    spec: BatchSpec,
    taken: u32,
    /// Jobs in the order in which they ended, and whether all is well with them.
    ended: Vec<(JobId, bool)>,
    stop: Option<Stop>,
    until: Option<Time>,
}

impl ModelBatch {
    pub(super) fn caps(&self, queue: &QueueId) -> bool {
        self.spec.queue == *queue && self.spec.max_concurrent.is_some()
    }
}

impl Model {
    pub(super) fn group(&mut self, record: &JobRecord) {
        match record {
            JobRecord::BatchCreated { id, spec } => {
                let asked = spec.request.as_ref().map(|it| &it.id);
                let mut others = self.batches.values();
                let known = others.any(|it| {
                    let other = it.spec.request.as_ref().map(|it| &it.id);
                    it.spec.queue == spec.queue && asked.is_some() && other == asked
                });
                if !known && !self.batches.contains_key(id) {
                    let batch = ModelBatch {
                        spec: BatchSpec::clone(spec),
                        taken: 0,
                        ended: Vec::new(),
                        stop: None,
                        until: None,
                    };
                    self.batches.insert(*id, batch);
                }
            }
            JobRecord::BatchCancelled(id) => {
                let batch = self.batches.get_mut(id).filter(|it| it.until.is_none());
                if let Some(batch) = batch {
                    batch.stop.get_or_insert(Stop::Cancelled);
                    self.close(*id);
                }
            }
            _ => {}
        }
    }

    /// Whether a job of a batch may come, or is of none.
    pub(super) fn has_place(&self, spec: &JobSpec) -> bool {
        let Some(place) = spec.options.batch else {
            return true;
        };
        let same = |job: &ModelJob| job.spec.options.batch == Some(place);
        self.batches.get(&place.batch).is_some_and(|batch| {
            batch.spec.queue == spec.queue
                && batch.stop.is_none()
                && batch.until.is_none()
                && place.index < batch.spec.count
                && batch.taken < batch.spec.count
                && !self.jobs().any(same)
        })
    }

    pub(super) fn take(&mut self, spec: &JobSpec) {
        if let Some(place) = spec.options.batch {
            self.batches.get_mut(&place.batch).unwrap().taken += 1;
        }
    }

    /// A job has ended.
    pub(super) fn leave(&mut self, id: JobId, state: JobState) {
        let place = self.find(id).unwrap().spec.options.batch;
        let Some(place) = place else {
            return;
        };
        let Some(batch) = self.batches.get_mut(&place.batch) else {
            return;
        };
        let fine = state == JobState::Succeeded;
        batch.ended.push((id, fine));
        if !fine && batch.spec.on_failure == OnFailure::FailFast {
            batch.stop.get_or_insert(Stop::Failed);
        }
        self.close(place.batch);
    }

    fn close(&mut self, id: BatchId) {
        let batch = &self.batches[&id];
        let most = match batch.stop {
            Some(_) => batch.taken,
            None => batch.spec.count,
        };
        if batch.until.is_some() || batch.ended.len() != most as usize {
            return;
        }
        let fine = batch.ended.iter().filter(|(_, fine)| *fine).count();
        let spec = self.spec(&batch.spec.queue);
        let kept = if fine == batch.spec.count as usize {
            spec.result_retention
        } else {
            spec.dead_retention
        };
        let until = self.time + kept.max(MEMORY);
        self.batches.get_mut(&id).unwrap().until = Some(until);
    }

    /// The next job that ends because its batch is stopped.
    pub(super) fn stopped(&self) -> Option<JobId> {
        let mut stopped = self
            .batches
            .iter()
            .filter(|(_, batch)| batch.stop.is_some());
        let open = |id: &BatchId| {
            let of = |job: &ModelJob| job.spec.options.batch.filter(|it| it.batch == *id);
            let open = self.jobs().filter(|job| job.is_open());
            let open = open.filter_map(|job| Some((of(job)?.index, job.id)));
            open.min().map(|(_, job)| job)
        };
        stopped.find_map(|(id, _)| open(id))
    }

    /// When batches are forgotten.
    pub(super) fn forgotten(&self) -> impl Iterator<Item = (Time, u8, JobId)> {
        let batches = self.batches.iter();
        batches.filter_map(|(id, batch)| Some((batch.until?, 2, id.0)))
    }

    /// The batch of a job, if that runs so many at once.
    pub(super) fn cap(&self, job: &ModelJob) -> Option<(BatchId, u32)> {
        let id = job.spec.options.batch?.batch;
        Some((id, self.batches.get(&id)?.spec.max_concurrent?))
    }

    pub(super) fn check_batches(&self, fold: &JobFold) -> Result<(), String> {
        if self.batches.len() != fold.batch_count() {
            let told = fold.batch_count();
            return Err(format!("{told} batches, not {}", self.batches.len()));
        }
        for (id, batch) in &self.batches {
            let told = fold.batch(*id).ok_or_else(|| format!("{id} is lost"))?;
            let ended = u32::try_from(batch.ended.len()).unwrap();
            let mut numbered = (1..).zip(&batch.ended);
            let known = |job: JobId| fold.job(job).is_some();
            let known = numbered.all(|(number, (job, _))| {
                !known(*job) || fold.ended_in(*id, number) == Some((number, *job))
            });
            let over = told.over.map(|(_, until)| until);
            if (told.taken, told.ended(), told.stop, over)
                != (batch.taken, ended, batch.stop, batch.until)
                || !known
            {
                return Err(format!("{told:?} should be {batch:?}"));
            }
        }
        Ok(())
    }
}
