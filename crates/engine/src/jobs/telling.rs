//! What workers tell of attempts under way.

use super::JobEngine;
use super::working::lost;
use trellis_core::jobs::{
    Attempt, Chunk, ChunkBounds, Chunking, JobRecord, MAX_PAYLOAD_BYTES, Progress, Report, Verdict,
    check_used,
};
use trellis_core::limits::ActualAmount;
use trellis_core::{Error, ErrorCode, Namespace, Result, check_rules};

impl JobEngine {
    pub(super) async fn tell_progress(
        &self,
        namespace: &Namespace,
        attempt: Attempt,
        progress: Progress,
    ) -> Result<()> {
        let left = progress.checkpoint.as_ref().map_or(0, bytes::Bytes::len);
        check_rules([(
            left <= MAX_PAYLOAD_BYTES,
            "checkpoint",
            "must be at most 1 MiB",
        )])?;
        progress.report.as_ref().map_or(Ok(()), Report::check)?;
        let shard = self.attempted(namespace, attempt)?;
        let Attempt { job, lease } = attempt;
        let progressed = JobRecord::Progressed {
            job,
            lease,
            progress,
        };
        match shard.write(progressed).await? {
            Verdict::Void => Err(lost()),
            _ => Ok(()),
        }
    }

    pub(super) async fn tell_used(
        &self,
        namespace: &Namespace,
        attempt: Attempt,
        used: Vec<ActualAmount>,
    ) -> Result<()> {
        let shard = self.attempted(namespace, attempt)?;
        let Attempt { job, lease } = attempt;
        {
            let state = shard.state.lock();
            let found = state.find(namespace, job)?;
            check_used(&used, &found.options().charges)?;
        }
        match shard.write(JobRecord::Used { job, lease, used }).await? {
            Verdict::Void => Err(lost()),
            _ => Ok(()),
        }
    }

    pub(super) async fn tell_chunk(
        &self,
        namespace: &Namespace,
        attempt: Attempt,
        chunk: Chunk,
    ) -> Result<()> {
        check_rules([(
            (1..=MAX_PAYLOAD_BYTES).contains(&chunk.data.len()),
            "chunk",
            "must be 1 byte to 1 MiB",
        )])?;
        let shard = self.attempted(namespace, attempt)?;
        let most = ChunkBounds {
            count: shard.config.max_chunks,
            bytes: shard.config.chunk_bytes,
        };
        let Attempt { job, lease } = attempt;
        let told = JobRecord::Chunk {
            job,
            lease,
            chunk,
            most,
        };
        match shard.write(told).await? {
            Verdict::Chunk(Chunking::Taken(_) | Chunking::Repeat) => Ok(()),
            Verdict::Chunk(Chunking::Gap(next)) => {
                let allowed = format!("must be {next}, the next one, or below, for a repeat");
                Err(Error::invalid("index", allowed))
            }
            Verdict::Chunk(Chunking::Full) => {
                let ChunkBounds { count, bytes } = most;
                let message = format!(
                    "the chunks of an attempt are at most {count} and {bytes} bytes; send fewer or smaller ones, or raise jobs.max_chunks or jobs.chunk_bytes"
                );
                Err(Error::new(ErrorCode::TooManyBytes, message))
            }
            _ => Err(lost()),
        }
    }
}
