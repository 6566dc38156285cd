//! [`Attempt`]: a job that a handler has.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use trellis_proto::v1 as proto;

use super::super::options::JobOptions;
use super::super::payload::Payload;
use super::failure::cut;
use crate::convert;
use crate::error::{Error, Result};
use crate::settlement::Actual;

/// Why a handler is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CancelReason {
    /// Somebody took the job back.
    Cancelled,
    /// The job's deadline has passed.
    Expired,
    /// Another job of the same unique key took its place.
    Replaced,
    /// The attempt took longer than its timeout, or the daemon was away for longer than the lease: the job is another attempt's, or
    /// about to be.
    Lost,
    /// The worker shuts down, and has waited for long enough: keep a checkpoint, and return [`Failure::give_back`](super::Failure::give_back).
    Shutdown,
}

impl CancelReason {
    pub(super) fn read(reason: i32) -> Self {
        use proto::JobCancelReason as Wire;
        match Wire::try_from(reason) {
            Ok(Wire::Cancelled) => Self::Cancelled,
            Ok(Wire::Expired) => Self::Expired,
            Ok(Wire::Replaced) => Self::Replaced,
            // Whatever it is, the attempt is over.
            Ok(Wire::Lost | Wire::Unspecified) | Err(_) => Self::Lost,
        }
    }
}

/// What a handler asks of its worker.
pub(super) struct Ask {
    pub(super) what: Asked,
    pub(super) reply: oneshot::Sender<Result<()>>,
}

pub(super) enum Asked {
    Progress(proto::JobProgress),
    Chunk(proto::JobChunk),
}

/// The most bytes of a checkpoint or a piece, by the contract. Checked here because what is far larger would break the stream that the
/// worker's other jobs share.
const MAX_BYTES: usize = 1024 * 1024;

/// A job under way, and what its handler says of it.
///
/// Its lease is kept for as long as the worker runs, without the handler's doing.
pub struct Attempt<P> {
    pub(super) payload: P,
    pub(super) job_id: String,
    pub(super) lease: String,
    pub(super) number: u32,
    pub(super) checkpoint: Option<Bytes>,
    pub(super) options: proto::JobOptions,
    pub(super) cancelled: watch::Receiver<Option<CancelReason>>,
    pub(super) says: mpsc::Sender<Ask>,
    /// The number of the next piece; held while one is on its way.
    pub(super) next_chunk: Mutex<i32>,
}

impl<P> Attempt<P> {
    /// What is to be done.
    #[must_use]
    pub fn payload(&self) -> &P {
        &self.payload
    }

    /// The job's id.
    #[must_use]
    pub fn job_id(&self) -> &str {
        &self.job_id
    }

    /// The how manieth attempt it is, from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// What the job was submitted with. Fails where the daemon says what this version does not know.
    pub fn options(&self) -> Result<JobOptions> {
        self.options.clone().try_into()
    }

    /// When the job is over, by the daemon's clock; `None` for never.
    #[must_use]
    pub fn deadline(&self) -> Option<SystemTime> {
        let deadline = self.options.deadline?;
        SystemTime::try_from(deadline).ok()
    }

    /// How long this attempt may take; `None` for as long as the worker has it.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        convert::optional_duration(self.options.timeout, "timeout").ok()?
    }

    /// What an earlier attempt left by [`Attempt::progress`]; `None` when none did. Fails when it is of another type.
    pub fn checkpoint<C: DeserializeOwned>(&self) -> Result<Option<C>, serde_json::Error> {
        let checkpoint = self.checkpoint.as_deref();
        checkpoint.map(serde_json::from_slice).transpose()
    }

    /// As [`Attempt::checkpoint`], of attempts that keep bytes.
    #[must_use]
    pub fn checkpoint_bytes(&self) -> Option<&Bytes> {
        self.checkpoint.as_ref()
    }

    /// Keeps what the next attempt is to go on from, as JSON: at most 1 MiB. Returns when it is durable; through a broken connection that
    /// is when there is a new one.
    ///
    /// Fails with [`ErrorReason::LeaseLost`](crate::ErrorReason::LeaseLost) when the attempt is over.
    pub async fn progress(&self, checkpoint: &(impl Serialize + ?Sized)) -> Result<()> {
        let json = serde_json::to_vec(checkpoint);
        let none = |error| Error::invalid_request(format!("the checkpoint has no JSON: {error}"));
        self.progress_bytes(json.map_err(none)?).await
    }

    /// As [`Attempt::progress`], with bytes.
    pub async fn progress_bytes(&self, checkpoint: impl Into<Bytes>) -> Result<()> {
        let checkpoint = checkpoint.into();
        check_size("checkpoint", &checkpoint)?;
        let progress = proto::JobProgress {
            checkpoint: Some(checkpoint),
            ..self.nothing_new()
        };
        self.tell(progress).await
    }

    /// Says how far it is, to whoever follows the job: so much is done, of so much (`None`: not known), in whatever is counted, and a
    /// message for people, of which what is longer than 4,096 bytes is cut off. The last one counts. As [`Attempt::progress`] otherwise,
    /// and the checkpoint stays.
    pub async fn report(
        &self,
        done: u64,
        total: impl Into<Option<u64>>,
        message: impl fmt::Display,
    ) -> Result<()> {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let report = proto::JobReport {
            done: signed(done),
            total: total.into().map(signed),
            message: cut(message.to_string()),
        };
        let progress = proto::JobProgress {
            report: Some(report),
            ..self.nothing_new()
        };
        self.tell(progress).await
    }

    /// Says what the attempt has used so far of what its job charges. What was said last is settled when the attempt is over, however that
    /// comes; what is not named in it counts as taken. As [`Attempt::progress`] otherwise.
    pub async fn used(&self, actuals: impl IntoIterator<Item = Actual>) -> Result<()> {
        let progress = proto::JobProgress {
            used: actuals.into_iter().map(Into::into).collect(),
            ..self.nothing_new()
        };
        self.tell(progress).await
    }

    /// Appends a piece to the job's result, for all who follow it or come later: 1 byte to 1 MiB. Returns when it is durable; through a
    /// broken connection that is when there is a new one, and the piece stands once.
    ///
    /// Pieces stand in the order of the calls, one on its way at a time: gather what is tiny. One that is refused leaves no gap. A future
    /// that is dropped may have appended its piece. All pieces of an attempt are bounded by the daemon's `jobs.max_chunks` and
    /// `jobs.chunk_bytes`; beyond, this fails with [`ErrorReason::TooManyBytes`](crate::ErrorReason::TooManyBytes), and when the attempt is
    /// over with [`ErrorReason::LeaseLost`](crate::ErrorReason::LeaseLost).
    pub async fn append(&self, data: impl Into<Bytes>) -> Result<()> {
        let data = data.into();
        check_size("piece", &data)?;
        let mut next = self.next_chunk.lock().await;
        let room = self.says.reserve().await.map_err(|_| gone())?;
        let index = *next;
        // Before it is sent: a dropped future must not have its number used for another piece, which would be taken for the same.
        *next += 1;
        let (reply, answer) = oneshot::channel();
        let what = Asked::Chunk(proto::JobChunk {
            lease_id: self.lease.clone(),
            index,
            data,
        });
        room.send(Ask { what, reply });
        let told = answered(answer).await;
        if told.is_err() {
            *next = index;
        }
        told
    }

    /// Progress that leaves all as it was.
    fn nothing_new(&self) -> proto::JobProgress {
        proto::JobProgress {
            lease_id: self.lease.clone(),
            ..proto::JobProgress::default()
        }
    }

    async fn tell(&self, progress: proto::JobProgress) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let what = Asked::Progress(progress);
        let said = self.says.send(Ask { what, reply }).await;
        said.map_err(|_| gone())?;
        answered(answer).await
    }

    /// Why the handler is to stop; `None` while it may go on.
    #[must_use]
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        *self.cancelled.borrow()
    }

    /// Waits until the handler is to stop. What it does not end by itself within the worker's [`cancel_grace`](super::Worker::cancel_grace)
    /// is dropped at its next `await`.
    pub async fn cancelled(&self) -> CancelReason {
        let mut cancelled = self.cancelled.clone();
        let told = cancelled.wait_for(Option::is_some).await;
        // A worker that is dropped takes its handlers with it.
        told.ok().and_then(|it| *it).unwrap_or(CancelReason::Lost)
    }
}

impl Attempt<Payload> {
    /// The same with the payload's value.
    pub(super) fn typed<P: DeserializeOwned>(self) -> Result<Attempt<P>, serde_json::Error> {
        Ok(Attempt {
            payload: self.payload.json()?,
            job_id: self.job_id,
            lease: self.lease,
            number: self.number,
            checkpoint: self.checkpoint,
            options: self.options,
            cancelled: self.cancelled,
            says: self.says,
            next_chunk: self.next_chunk,
        })
    }
}

fn gone() -> Error {
    Error::unreachable("the worker has ended")
}

async fn answered(answer: oneshot::Receiver<Result<()>>) -> Result<()> {
    let unknown = |_| Error::outcome_unknown("the worker has ended");
    answer.await.map_err(unknown)?
}

fn check_size(what: &str, data: &Bytes) -> Result<()> {
    if data.len() <= MAX_BYTES {
        return Ok(());
    }
    let message = format!("the {what} has {} bytes; at most 1 MiB", data.len());
    Err(Error::invalid_request(message))
}

impl<P: fmt::Debug> fmt::Debug for Attempt<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Attempt")
            .field("job_id", &self.job_id)
            .field("number", &self.number)
            .field("payload", &self.payload)
            .field("cancelled", &self.cancel_reason())
            .finish_non_exhaustive()
    }
}
