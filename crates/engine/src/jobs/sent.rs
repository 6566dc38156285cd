//! Records on their way: as they were sent, so that whoever wrote them need not read what they say, and what each amounted to.

use super::round::Round;
use super::shard::{Proposal, Tell};
use bytes::Bytes;
use std::collections::VecDeque;
use trellis_core::jobs::{Attempt, Entry, JobRecord, JobWriter, LeaseId, Sheet, Verdict};
use trellis_core::log::{Batch, LogLimits, Record};
use trellis_core::{Error, Result, Time};

/// See the module.
pub(super) struct Sent {
    records: Vec<Record>,
    /// What they say.
    entries: Vec<Entry>,
    tells: Vec<Tell>,
    verdicts: Vec<Verdict>,
    /// So many were found in the log, in their order.
    found: usize,
    /// The mark of the first.
    first: LeaseId,
}

impl Sent {
    /// Writes as many proposals as the log takes in one batch.
    pub fn write(
        proposals: &mut VecDeque<Proposal>,
        writer: &mut JobWriter,
        limits: LogLimits,
        now: Time,
    ) -> Self {
        let first = LeaseId {
            sequence: writer.last().sequence + 1,
            epoch: writer.epoch().number,
        };
        let count = proposals.len().min(limits.batch_records + 1);
        let (mut sheet, mut bytes) = (Sheet::for_records(count), 0);
        let mut tells = Vec::with_capacity(count);
        while let Some(Proposal { record, tell }) = proposals.pop_front() {
            let pen = *writer;
            writer.write_on(&mut sheet, record, now);
            bytes += sheet.last_bytes();
            let full = sheet.len() > limits.batch_records || bytes > limits.batch_bytes;
            if full && sheet.len() > 1 {
                *writer = pen;
                if let Some(record) = sheet.strike_last() {
                    proposals.push_front(Proposal { record, tell });
                }
                break;
            }
            tells.push(tell);
        }
        let (records, entries) = sheet.into_records();
        Self {
            verdicts: vec![Verdict::Void; records.len()],
            records,
            entries,
            tells,
            found: 0,
            first,
        }
    }

    /// As the log takes them. Errors: those of [`Batch::new`].
    pub fn batch(&self) -> Result<Batch> {
        Ok(Batch::new(self.records.clone())?)
    }

    /// What a record says that was read, if it is the next one of these: then none of its bytes is another.
    pub fn next_if(&mut self, record: &Record) -> Option<&Entry> {
        let sent = self.records.get(self.found)?;
        let same = same(&sent.key, &record.key) && same(&sent.value, &record.value);
        if !same || !record.headers.is_empty() {
            return None;
        }
        self.found += 1;
        self.entries.get(self.found - 1)
    }

    /// What the record of this sequence amounted to, if it is one of these.
    pub fn set_verdict(&mut self, sequence: u64, verdict: Verdict) {
        let place = sequence.checked_sub(self.first.sequence);
        let place = place.and_then(|place| usize::try_from(place).ok());
        if let Some(place) = place.and_then(|place| self.verdicts.get_mut(place)) {
            *place = verdict;
        }
    }

    /// Tells what became of them.
    pub fn tell(self, round: &mut Round) {
        let said = self.entries.into_iter().map(|entry| entry.record);
        let told = self.tells.into_iter().zip(self.verdicts);
        for (sequence, (record, (tell, verdict))) in (self.first.sequence..).zip(said.zip(told)) {
            match (tell, record) {
                (Tell::Caller(tell), _) => {
                    // Whoever has gone does not need to know.
                    let _ = tell.send(Ok(verdict));
                }
                (
                    Tell::Worker(place),
                    JobRecord::Leased {
                        job, reservation, ..
                    },
                ) => {
                    if verdict == Verdict::Done {
                        let lease = LeaseId {
                            sequence,
                            ..self.first
                        };
                        round.got(place, Attempt { job, lease });
                    } else if let Some(reservation) = reservation {
                        round.spare(place, reservation);
                    }
                }
                (Tell::Worker(_) | Tell::Nobody, _) => {}
            }
        }
    }

    /// Tells that none of them stands.
    pub fn fail(self, round: &mut Round, error: &Error) {
        for tell in self.tells {
            round.fail(tell, error);
        }
    }
}

/// Whether two are the same bytes. A log in memory hands out what it was given; of empty ones no byte is looked at, as in [`trellis_core::same_text`].
fn same(one: &Bytes, other: &Bytes) -> bool {
    let as_given = one.is_empty() || one.as_ptr() == other.as_ptr();
    one.len() == other.len() && (as_given || one == other)
}
