//! Reading records that are not in memory any more. Blocks the thread while it reads the disk.

use super::files::{File, Files};
use super::format::{FrameHeader, Kind, decode_records, segment_name};
use super::frames::{Fault, Frames};
use bytes::Bytes;
use std::io;
use trellis_core::Time;
use trellis_core::log::{LogError, LogRecord, Offset, Partition, Read, Record};

/// Where to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) partition: Partition,
    pub(super) segment: u64,
    /// The position of a frame at or before what is wanted.
    pub(super) position: u64,
    /// Where the frames of the segment end.
    pub(super) stop: u64,
    /// One above the last offset of the partition in the segment.
    pub(super) end: u64,
}

/// Why records cannot be read.
#[derive(Debug)]
pub(super) enum ReadFault {
    /// The segment was removed meanwhile.
    Gone,
    /// What to tell the caller.
    Failed(LogError),
}

/// A batch found on disk: its header, and its body among those of others.
struct Found {
    header: FrameHeader,
    body: std::ops::Range<usize>,
}

impl Plan {
    fn open(&self, files: &dyn Files) -> Result<std::sync::Arc<dyn File>, ReadFault> {
        let opened = files.open(&segment_name(self.segment));
        opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ReadFault::Gone,
            _ => self.fault(Fault::Io(error)),
        })
    }

    fn fault(&self, fault: Fault) -> ReadFault {
        ReadFault::Failed(match fault {
            Fault::Io(error) => LogError::Unavailable {
                reason: format!("cannot read {}: {error}", segment_name(self.segment)),
                retry_after: None,
            },
            Fault::Bad { at, reason } => LogError::Damaged {
                partition: self.partition,
                position: format!("{} byte {at}", segment_name(self.segment)),
                reason: format!("{reason}; restore the file, or open the log with damage salvaged"),
            },
        })
    }

    /// Reads records from `from` on until their size reaches `max_bytes` or the segment has no more.
    pub(super) fn read(
        &self,
        files: &dyn Files,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Read, ReadFault> {
        let file = self.open(files)?;
        let (found, bodies) = self.find(&*file, from, max_bytes)?;
        let bodies = Bytes::from(bodies);
        let mut reading = Reading::new(from, max_bytes);
        for Found { header, body } in found {
            let records = decode_records(bodies.slice(body), header.count);
            let records = records.map_err(|_| {
                self.fault(Fault::Bad {
                    at: self.position,
                    reason: "a batch behind here does not follow the format",
                })
            })?;
            if !reading.take(header.first, header.time, records) {
                break;
            }
        }
        Ok(reading.read)
    }

    /// The batches to be read, their bodies copied out one behind the other, so that what a reader keeps is what it
    /// asked for and nothing else of the file.
    fn find(
        &self,
        file: &dyn File,
        from: Offset,
        max_bytes: usize,
    ) -> Result<(Vec<Found>, Vec<u8>), ReadFault> {
        let mut frames = Frames::new(file, self.segment, self.position, self.stop);
        let (mut found, mut bodies) = (Vec::new(), Vec::new());
        let mut size = 0;
        while let Some(header) = frames.header().map_err(|fault| self.fault(fault))? {
            let own = header.kind == Kind::Batch && header.partition == self.partition.0;
            if own && header.end() > from.0 {
                let body = frames.body(&header).map_err(|fault| self.fault(fault))?;
                let begin = bodies.len();
                bodies.extend_from_slice(body);
                found.push(Found {
                    header,
                    body: begin..bodies.len(),
                });
                // The first one may lie partly below `from`, so it does not count.
                size += if header.first < from.0 {
                    0
                } else {
                    header.bytes as usize
                };
                if size >= max_bytes || header.end() >= self.end {
                    break;
                }
            }
            frames.pass(&header);
        }
        Ok((found, bodies))
    }

    /// The first offset of the first batch that was taken in at `time` or later, or where the partition goes on behind
    /// the segment.
    pub(super) fn seek(&self, files: &dyn Files, time: Time) -> Result<Offset, ReadFault> {
        let file = self.open(files)?;
        let mut frames = Frames::new(&*file, self.segment, self.position, self.stop);
        while let Some(header) = frames.header().map_err(|fault| self.fault(fault))? {
            let own = header.kind == Kind::Batch && header.partition == self.partition.0;
            if own && header.time >= time {
                return Ok(Offset(header.first));
            }
            frames.pass(&header);
        }
        Ok(Offset(self.end))
    }
}

/// A read that is being filled.
pub(super) struct Reading {
    from: Offset,
    max_bytes: usize,
    bytes: usize,
    pub(super) read: Read,
}

impl Reading {
    pub(super) fn new(from: Offset, max_bytes: usize) -> Self {
        let read = Read {
            records: Vec::new(),
            next: from,
        };
        Self {
            from,
            max_bytes,
            bytes: 0,
            read,
        }
    }

    /// Takes the records of a batch that are wanted; tells whether more are.
    pub(super) fn take(&mut self, first: u64, time: Time, records: Vec<Record>) -> bool {
        for (offset, record) in (first..).map(Offset).zip(records) {
            if offset < self.from {
                continue;
            }
            if self.bytes >= self.max_bytes && !self.read.records.is_empty() {
                return false;
            }
            self.bytes += record.bytes();
            self.read.next = offset.next();
            self.read.records.push(LogRecord {
                offset,
                time,
                record,
            });
        }
        true
    }
}
