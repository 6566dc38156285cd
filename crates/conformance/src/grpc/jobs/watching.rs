//! Streams of what is told of jobs and batches.

use super::{bare, convert, error};
use async_trait::async_trait;
use tonic::Streaming;
use trellis_core::jobs::{BatchEvent, BatchWatch, JobEvent, JobWatch};
use trellis_core::{Namespace, Result};
use trellis_proto::v1;

/// A job's.
pub(super) struct Job(pub Streaming<v1::JobServiceWatchResponse>);

#[async_trait]
impl JobWatch for Job {
    async fn next(&mut self) -> Result<Option<JobEvent>> {
        let told = self.0.message().await;
        let told = told.map_err(|status| bare(error(status)))?;
        Ok(told.map(convert::watched))
    }
}

/// A batch's, of this namespace.
pub(super) struct Batch(
    pub Streaming<v1::JobServiceWatchBatchResponse>,
    pub Namespace,
);

#[async_trait]
impl BatchWatch for Batch {
    async fn next(&mut self) -> Result<Option<BatchEvent>> {
        let told = self.0.message().await;
        let told = told.map_err(|status| bare(error(status)))?;
        Ok(told.map(|told| convert::watched_batch(told, &self.1)))
    }
}
