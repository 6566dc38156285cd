//! Batches: made, looked at, taken back, and read.

use super::reading::Seat;
use super::shard::{Shard, State};
use super::{JobEngine, not_found};
use async_trait::async_trait;
use std::sync::Arc;
use trellis_core::jobs::{
    Batch, BatchEvent, BatchId, BatchNews, BatchSpec, BatchView, BatchWatch, Batching, JobId,
    JobRecord, JobState, JobView, Part, Verdict,
};
use trellis_core::{Error, ErrorCode, Namespace, Result};

impl JobEngine {
    pub(super) async fn make_batch(&self, spec: BatchSpec) -> Result<(BatchView, bool)> {
        self.check_open()?;
        spec.check()?;
        let _entry = self.underway.enter();
        let shard = self.shard(&spec.queue);
        let id = BatchId(JobId::new(shard.now(), shard.partition, rand::random()));
        let namespace = spec.queue.namespace.clone();
        let spec = Box::new(spec);
        let verdict = shard.write(JobRecord::BatchCreated { id, spec }).await?;
        let (id, is_new) = match verdict {
            Verdict::Batch(Batching::New) => (id, true),
            Verdict::Batch(Batching::Repeat(first)) => (first, false),
            _ => {
                let message = "the request id was used for another batch; send a new one";
                return Err(Error::new(ErrorCode::RequestIdReused, message));
            }
        };
        let view = shard.state.lock().view_batch(&namespace, id)?;
        Ok((view, is_new))
    }

    pub(super) async fn stop_batch(&self, namespace: &Namespace, id: BatchId) -> Result<BatchView> {
        self.check_open()?;
        let shard = self.shard_of(id.0)?;
        shard.state.lock().find_batch(namespace, id)?;
        shard.write(JobRecord::BatchCancelled(id)).await?;
        shard.state.lock().view_batch(namespace, id)
    }
}

impl State {
    /// A batch of a namespace. Errors: `JobNotFound`.
    fn find_batch(&self, namespace: &Namespace, id: BatchId) -> Result<&Batch> {
        let found = self.fold.batch(id);
        let own = found.filter(|found| found.spec.queue.namespace == *namespace);
        own.ok_or_else(|| not_found("batch", id.0))
    }

    pub fn view_batch(&self, namespace: &Namespace, id: BatchId) -> Result<BatchView> {
        let batch = self.find_batch(namespace, id)?.clone();
        Ok(BatchView { id, batch })
    }

    /// Whether a batch may be made. Errors: `TooManyJobs`.
    pub fn check_batches(&self, waiting: usize, most: usize) -> Result<()> {
        if self.fold.batch_count() + waiting < most {
            return Ok(());
        }
        let message = format!("{most} batches are kept; raise jobs.max_batches");
        Err(Error::new(ErrorCode::TooManyJobs, message))
    }
}

/// A reader of a batch.
struct BatchReader {
    seat: Seat,
    namespace: Namespace,
    batch: BatchId,
    /// Everything with a lower number was told.
    next: u32,
    over: bool,
}

enum Found {
    Nothing,
    Ended(u32, Box<JobView>),
    Over(u32, Box<BatchView>),
}

impl Shard {
    /// Begins to read a batch. Errors: `JobNotFound`, `TooManyWaiters`.
    pub fn watch_batch(
        self: &Arc<Self>,
        namespace: &Namespace,
        batch: BatchId,
        from: u64,
    ) -> Result<Box<dyn BatchWatch>> {
        self.state.lock().find_batch(namespace, batch)?;
        Ok(Box::new(BatchReader {
            seat: self.sit(batch.0)?,
            namespace: namespace.clone(),
            batch,
            next: u32::try_from(from).unwrap_or(u32::MAX),
            over: false,
        }))
    }
}

impl BatchReader {
    fn look(&self) -> Result<Found> {
        let state = self.seat.shard.state.lock();
        let batch = state.find_batch(&self.namespace, self.batch)?;
        if let Some((number, id)) = state.fold.ended_in(self.batch, self.next)
            && let Some(job) = state.fold.job(id)
        {
            return Ok(Found::Ended(number, Box::new(state.view(id, job))));
        }
        if batch.over.is_some() {
            let view = state.view_batch(&self.namespace, self.batch)?;
            return Ok(Found::Over(batch.ended() + 1, Box::new(view)));
        }
        state.check_open()?;
        Ok(Found::Nothing)
    }
}

#[async_trait]
impl BatchWatch for BatchReader {
    async fn next(&mut self) -> Result<Option<BatchEvent>> {
        while !self.over {
            let (number, news) = match self.look()? {
                Found::Nothing => {
                    self.seat.news().await;
                    continue;
                }
                Found::Ended(number, view) => {
                    let result = match view.state {
                        JobState::Succeeded => {
                            Some(self.seat.shard.bytes(view.id, Part::Left).await?)
                        }
                        _ => None,
                    };
                    self.next = number + 1;
                    (number, BatchNews::Ended { view, result })
                }
                Found::Over(number, view) => {
                    self.over = true;
                    (number, BatchNews::Over(view))
                }
            };
            let number = u64::from(number);
            return Ok(Some(BatchEvent { number, news }));
        }
        Ok(None)
    }
}
