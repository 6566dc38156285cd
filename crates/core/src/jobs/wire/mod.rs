//! Records of jobs as the log has them: what is said as the key, the bytes of a job as the value, so that a payload is never copied.
//!
//! The key is a version, a mark if there is one, and the body: a kind and its fields.

mod batch;
mod charges;
mod parts;
mod spec;
mod stream;

use super::ids::{BatchId, Epoch, JobId, LeaseId};
use super::record::{AttemptEnd, Entry, JobRecord, Mark};
use super::stream::{Chunk, ChunkBounds, Progress};
use crate::log::{Offset, Record};
use crate::wire::{Put, Take};
use crate::{Error, ErrorCode, Micros, Name, Result, Time};
use bytes::Bytes;

/// The first byte of every record of this version.
const VERSION: u8 = 1;

/// What most records carry of a job.
static NO_BYTES: Bytes = Bytes::new();

/// What a mark takes: five numbers.
const MARK_BYTES: usize = 5 * 8;

/// What most bodies take at most.
const BODY_BYTES: usize = 96;

impl JobRecord {
    /// The bytes of a job that it carries.
    #[must_use]
    pub fn data(&self) -> &Bytes {
        match self {
            Self::Submitted { spec, .. } => &spec.payload.data,
            Self::Ended {
                how: AttemptEnd::Succeeded(data),
                ..
            }
            | Self::Progressed {
                progress:
                    Progress {
                        checkpoint: Some(data),
                        ..
                    },
                ..
            }
            | Self::Chunk {
                chunk: Chunk { data, .. },
                ..
            }
            | Self::Found { result: data, .. }
            | Self::Moved { data, .. } => data,
            _ => &NO_BYTES,
        }
    }
}

impl Entry {
    /// Writes the key of an owner's record, whose mark follows from the checksum over what it says and its data. Tells that checksum.
    pub(super) fn put(out: &mut Put, record: &JobRecord, mark: impl FnOnce(u32) -> Mark) -> u32 {
        out.0.reserve(MARK_BYTES + BODY_BYTES);
        out.byte(VERSION);
        out.flag(true);
        let at = out.0.len();
        let said = at + MARK_BYTES;
        out.0.resize(said, 0);
        put_record(out, record);
        let checksum = checksum(&out.0[said..], record.data());
        let mark = mark(checksum);
        let numbers = [
            mark.epoch.number,
            mark.epoch.owner,
            mark.sequence,
            mark.time.0,
            u64::from(mark.chain),
        ];
        let places = out.0[at..said].chunks_exact_mut(8);
        for (place, number) in places.zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        checksum
    }

    /// The first record of a partition, the only one without a mark.
    #[must_use]
    pub fn first(partitions: u32) -> Record {
        let mut out = Put::default();
        out.byte(VERSION);
        out.flag(false);
        put_record(&mut out, &JobRecord::Partitions(partitions));
        Record {
            key: out.0.into(),
            ..Record::default()
        }
    }

    /// Reads a record. Errors: `Internal` for one of a version or kind that is not known, which must not be passed over.
    pub fn decode(record: &Record) -> Result<Self> {
        let unknown = || {
            let message = "a record of jobs was written by another version, or is damaged";
            Error::new(ErrorCode::Internal, message)
        };
        Self::take(record).ok_or_else(unknown)
    }

    fn take(record: &Record) -> Option<Self> {
        let mut rest = Take(&record.key);
        (rest.byte()? == VERSION).then_some(())?;
        let mark = if rest.flag()? {
            Some(Mark {
                epoch: Epoch {
                    number: rest.number()?,
                    owner: rest.number()?,
                },
                sequence: rest.number()?,
                time: Time(rest.number()?),
                chain: rest.small()?,
            })
        } else {
            None
        };
        let checksum = checksum(rest.0, &record.value);
        let said = take_record(&mut rest, &record.value)?;
        let whole = rest.rest().is_empty() && said.data().len() == record.value.len();
        whole.then_some(Self {
            mark,
            record: said,
            checksum,
        })
    }
}

fn checksum(body: &[u8], data: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(body), data)
}

impl Put {
    fn job(&mut self, id: JobId) {
        self.large(id.0);
    }

    fn lease(&mut self, id: LeaseId) {
        self.number(id.epoch);
        self.number(id.sequence);
    }

    /// A text that may be longer than a name.
    fn long_text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }
}

impl<'a> Take<'a> {
    fn job(&mut self) -> Option<JobId> {
        self.large().map(JobId)
    }

    fn lease(&mut self) -> Option<LeaseId> {
        Some(LeaseId {
            epoch: self.number()?,
            sequence: self.number()?,
        })
    }

    fn long_text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

fn put_record(out: &mut Put, record: &JobRecord) {
    match record {
        JobRecord::Partitions(count) => {
            out.byte(1);
            out.number(u64::from(*count));
        }
        JobRecord::EpochStart => out.byte(2),
        JobRecord::Tick => out.byte(3),
        JobRecord::Submitted { id, spec } => {
            out.byte(4);
            out.job(*id);
            out.job_spec(spec);
        }
        JobRecord::Leased {
            job,
            worker,
            reservation,
        } => {
            out.byte(5);
            out.job(*job);
            out.text(worker.as_str());
            if let Some(reservation) = reservation {
                out.text(reservation.as_str());
            }
        }
        JobRecord::BatchCreated { .. } | JobRecord::BatchCancelled(_) => out.batches(record),
        JobRecord::Found { job, .. } => {
            out.byte(20);
            out.job(*job);
        }
        JobRecord::Purged { .. } | JobRecord::Forgotten(_) => out.purged(record),
        JobRecord::Used { .. } | JobRecord::Settled(_) | JobRecord::Refused { .. } => {
            out.charged(record);
        }
        JobRecord::Ended { job, lease, how } => {
            out.byte(6);
            out.job(*job);
            out.lease(*lease);
            put_end(out, how);
        }
        JobRecord::Progressed { .. } | JobRecord::Chunk { .. } => out.told(record),
        JobRecord::Cancelled(job) => {
            out.byte(8);
            out.job(*job);
        }
        JobRecord::QueueSet { queue, spec } => {
            out.byte(9);
            out.queue(queue);
            out.queue_spec(spec);
        }
        JobRecord::Moved {
            job, part, from, ..
        } => {
            out.byte(10);
            out.job(*job);
            out.part(*part);
            out.number(from.0);
        }
        JobRecord::CheckpointBegin { .. }
        | JobRecord::Slice(_)
        | JobRecord::CheckpointEnd { .. } => out.checkpoint(record),
    }
}

fn put_end(out: &mut Put, how: &AttemptEnd) {
    match how {
        AttemptEnd::Succeeded(_) => out.byte(1),
        AttemptEnd::Failed {
            error,
            retryable,
            retry_after,
        } => {
            out.byte(2);
            out.long_text(error);
            out.flag(*retryable);
            out.optional(retry_after.map(|wait| wait.0));
        }
        AttemptEnd::Throttled(wait) => {
            out.byte(3);
            out.number(wait.0);
        }
        AttemptEnd::Released => out.byte(4),
        AttemptEnd::Lost => out.byte(5),
    }
}

fn take_record(rest: &mut Take<'_>, data: &Bytes) -> Option<JobRecord> {
    Some(match rest.byte()? {
        1 => JobRecord::Partitions(rest.small()?),
        2 => JobRecord::EpochStart,
        3 => JobRecord::Tick,
        4 => JobRecord::Submitted {
            id: rest.job()?,
            spec: Box::new(rest.job_spec(data)?),
        },
        5 => JobRecord::Leased {
            job: rest.job()?,
            worker: Name::new(rest.text()?, "worker").ok()?,
            reservation: if rest.0.is_empty() {
                None
            } else {
                Some(rest.reservation()?)
            },
        },
        6 => JobRecord::Ended {
            job: rest.job()?,
            lease: rest.lease()?,
            how: take_end(rest, data)?,
        },
        7 => JobRecord::Progressed {
            job: rest.job()?,
            lease: rest.lease()?,
            progress: rest.progress(data)?,
        },
        8 => JobRecord::Cancelled(rest.job()?),
        9 => JobRecord::QueueSet {
            queue: rest.queue()?,
            spec: rest.queue_spec()?,
        },
        10 => JobRecord::Moved {
            job: rest.job()?,
            part: rest.part()?,
            from: Offset(rest.number()?),
            data: data.clone(),
        },
        kind @ 11..=13 => return rest.checkpoint(kind),
        14 => JobRecord::Chunk {
            job: rest.job()?,
            lease: rest.lease()?,
            chunk: Chunk {
                index: rest.small()?,
                data: data.clone(),
            },
            most: ChunkBounds {
                count: rest.small()?,
                bytes: rest.number()?,
            },
        },
        18 => JobRecord::BatchCreated {
            id: BatchId(rest.job()?),
            spec: Box::new(rest.batch_spec()?),
        },
        19 => JobRecord::BatchCancelled(BatchId(rest.job()?)),
        20 => JobRecord::Found {
            job: rest.job()?,
            result: data.clone(),
        },
        21 => JobRecord::Purged {
            queue: rest.queue()?,
            states: rest.states()?,
        },
        22 => JobRecord::Forgotten(rest.job()?),
        kind @ (15..=17 | 23) => return rest.charged(kind),
        _ => return None,
    })
}

fn take_end(rest: &mut Take<'_>, data: &Bytes) -> Option<AttemptEnd> {
    Some(match rest.byte()? {
        1 => AttemptEnd::Succeeded(data.clone()),
        2 => {
            let (error, retryable) = (rest.long_text()?.into(), rest.flag()?);
            let mut retry_after = None;
            rest.optional(&mut retry_after)?;
            AttemptEnd::Failed {
                error,
                retryable,
                retry_after: retry_after.map(Micros),
            }
        }
        3 => AttemptEnd::Throttled(Micros(rest.number()?)),
        4 => AttemptEnd::Released,
        5 => AttemptEnd::Lost,
        _ => return None,
    })
}
