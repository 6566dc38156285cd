//! Batches as bytes.

use super::super::batch::{Batch, BatchSpec, InBatch, OnFailure, Stop};
use super::super::ids::BatchId;
use super::super::record::JobRecord;
use super::super::slice::BatchSlice;
use crate::Time;
use crate::wire::{Put, Take};

impl Put {
    pub(super) fn batches(&mut self, record: &JobRecord) {
        match record {
            JobRecord::BatchCreated { id, spec } => {
                self.byte(18);
                self.job(id.0);
                self.batch_spec(spec);
            }
            JobRecord::BatchCancelled(id) => {
                self.byte(19);
                self.job(id.0);
            }
            _ => {}
        }
    }

    pub(super) fn batch_spec(&mut self, spec: &BatchSpec) {
        self.queue(&spec.queue);
        self.number(u64::from(spec.count));
        self.optional(spec.max_concurrent.map(u64::from));
        self.flag(spec.on_failure == OnFailure::FailFast);
        self.request(spec.request.as_ref());
    }

    pub(super) fn in_batch(&mut self, place: Option<InBatch>) {
        self.flag(place.is_some());
        if let Some(place) = place {
            self.job(place.batch.0);
            self.number(u64::from(place.index));
        }
    }

    pub(super) fn batch(&mut self, it: &BatchSlice) {
        self.job(it.id.0);
        let batch = &it.batch;
        self.batch_spec(&batch.spec);
        self.number(batch.created.0);
        self.number(u64::from(batch.taken));
        for count in batch.ended {
            self.number(u64::from(count));
        }
        self.byte(match batch.stop {
            None => 0,
            Some(Stop::Failed) => 1,
            Some(Stop::Cancelled) => 2,
        });
        self.flag(batch.over.is_some());
        if let Some((at, until)) = batch.over {
            self.number(at.0);
            self.number(until.0);
        }
    }
}

impl Take<'_> {
    pub(super) fn batch_spec(&mut self) -> Option<BatchSpec> {
        let (queue, count) = (self.queue()?, self.small()?);
        let mut most = None;
        self.optional(&mut most)?;
        let fast = self.flag()?;
        let mut spec = BatchSpec {
            queue,
            count,
            max_concurrent: most.map(u32::try_from).transpose().ok()?,
            on_failure: if fast {
                OnFailure::FailFast
            } else {
                OnFailure::Collect
            },
            request: None,
        };
        self.request(&mut spec.request)?;
        spec.check().is_ok().then_some(spec)
    }

    /// Reads into `place`, if there is one.
    pub(super) fn in_batch(&mut self, place: &mut Option<InBatch>) -> Option<()> {
        if self.flag()? {
            *place = Some(InBatch {
                batch: BatchId(self.job()?),
                index: self.small()?,
            });
        }
        Some(())
    }

    pub(super) fn batch(&mut self) -> Option<BatchSlice> {
        let id = BatchId(self.job()?);
        let mut batch = Batch {
            spec: self.batch_spec()?,
            created: Time(self.number()?),
            taken: self.small()?,
            ended: Default::default(),
            stop: None,
            over: None,
        };
        for count in &mut batch.ended {
            *count = self.small()?;
        }
        batch.stop = match self.byte()? {
            0 => None,
            1 => Some(Stop::Failed),
            2 => Some(Stop::Cancelled),
            _ => return None,
        };
        if self.flag()? {
            batch.over = Some((Time(self.number()?), Time(self.number()?)));
        }
        Some(BatchSlice { id, batch })
    }
}
