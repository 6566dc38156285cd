//! The one that writes the control partition.

use super::super::lane::{Folding, LaneError};
use super::replay::{Applied, Replayed};
use super::{CONTROL, Control, Proposal};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::oneshot;
use trellis_core::events::Stamp;
use trellis_core::events::control::ControlRecord;
use trellis_core::log::{Batch, Log, LogError, Offset, Record};
use trellis_core::{Error, ErrorCode, Result};

/// How often a batch is sent of which the log does not know whether it stands.
const TRIES: usize = 4;

/// See the module.
pub(in crate::events) struct ControlTask {
    control: Arc<Control>,
    log: Arc<dyn Log>,
    writer: u64,
    sequence: u64,
    replayed: Replayed,
    /// Bytes of the newest checkpoint.
    size: usize,
}

/// A record on its way, and of which proposal.
struct Sent {
    record: ControlRecord,
    proposal: usize,
}

/// What became of a proposal so far.
struct Answer {
    tell: oneshot::Sender<Result<usize>>,
    result: Result<usize>,
}

impl ControlTask {
    pub fn new(
        control: Arc<Control>,
        log: Arc<dyn Log>,
        (writer, sequence): (u64, u64),
        replayed: Replayed,
    ) -> Self {
        Self {
            control,
            log,
            writer,
            sequence,
            replayed,
            size: 0,
        }
    }

    /// Writes what is proposed, until that is closed.
    pub async fn run(mut self) {
        loop {
            self.control.asked.notified().await;
            loop {
                let (proposals, closed) = {
                    let mut queue = self.control.queue.lock();
                    queue.records = 0;
                    (std::mem::take(&mut queue.proposals), queue.closed)
                };
                if proposals.is_empty() {
                    if closed {
                        return;
                    }
                    break;
                }
                self.write(proposals).await;
            }
            self.checkpoint_if_due().await;
        }
    }

    /// Writes proposals in as few batches as the log allows.
    async fn write(&mut self, proposals: Vec<Proposal>) {
        let (mut answers, mut sent) = (Vec::new(), VecDeque::new());
        let mut made = 0;
        for Proposal { records, tell } in proposals {
            let proposal = answers.len();
            let result = self.control.groups.admit(&records, &mut made);
            if result.is_ok() {
                sent.extend(records.into_iter().map(|record| Sent { record, proposal }));
            }
            let result = result.map(|()| 0);
            answers.push(Answer { tell, result });
        }
        while !sent.is_empty() {
            let batch = self.next_batch(&mut sent);
            self.write_batch(&batch, &mut answers).await;
        }
        for Answer { tell, result } in answers {
            // Whoever has gone does not need to know.
            let _ = tell.send(result);
        }
    }

    /// As many records as fit into one batch, at least one.
    fn next_batch(&self, sent: &mut VecDeque<Sent>) -> Vec<Sent> {
        let limits = self.log.limits();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(next) = sent.front() {
            bytes += to_log(&next.record, Stamp::default()).bytes();
            let full = batch.len() >= limits.batch_records || bytes > limits.batch_bytes;
            if full && !batch.is_empty() {
                break;
            }
            batch.extend(sent.pop_front());
        }
        batch
    }

    async fn write_batch(&mut self, batch: &[Sent], answers: &mut [Answer]) {
        let records: Vec<&ControlRecord> = batch.iter().map(|sent| &sent.record).collect();
        match self.commit(&records).await {
            Ok(changed) => {
                for (sent, changed) in batch.iter().zip(changed) {
                    if let Ok(count) = &mut answers[sent.proposal].result {
                        *count += usize::from(changed);
                    }
                }
            }
            Err(error) => {
                for sent in batch {
                    self.control
                        .groups
                        .failed(std::slice::from_ref(&sent.record));
                    answers[sent.proposal].result = Err(error.clone());
                }
            }
        }
    }

    /// Appends records and applies them once they were read back; tells of each whether it changed something.
    async fn commit(&mut self, records: &[&ControlRecord]) -> Result<Vec<bool>> {
        let mut reason = String::new();
        for _ in 0..TRIES {
            let first = self.sequence + 1;
            let stamped = records.iter().map(|it| {
                self.sequence += 1;
                let stamp = Stamp {
                    writer: self.writer,
                    sequence: self.sequence,
                };
                to_log(it, stamp)
            });
            let batch = Batch::new(stamped.collect())?;
            let appended = self.log.append(CONTROL, batch).outcome().await;
            let end = match appended {
                Ok(appended) => appended.end,
                Err(LogError::Unknown { reason: why }) => {
                    reason = why;
                    self.log.bounds(CONTROL).await?.end
                }
                Err(error) => return Err(error.into()),
            };
            let (mut changed, mut found) = (vec![false; records.len()], 0);
            let writer = self.writer;
            self.read_to(end, |applied| {
                let ours = applied.stamp.writer == writer;
                let place = applied.stamp.sequence.checked_sub(first);
                let place = place
                    .filter(|_| ours)
                    .and_then(|it| usize::try_from(it).ok());
                if let Some(changed) = place.and_then(|it| changed.get_mut(it)) {
                    *changed = applied.changed;
                    found += 1;
                }
            })
            .await
            .map_err(|error| unresolved(&error))?;
            if found == records.len() {
                return Ok(changed);
            }
        }
        Err(LogError::Unknown { reason }.into())
    }

    /// Reads back and applies.
    async fn read_to(&mut self, end: Offset, mut then: impl FnMut(&Applied)) -> Folding<()> {
        let control = &self.control;
        let apply = |applied: &Applied| {
            control.apply(&applied.record, applied.changed);
            then(applied);
        };
        self.replayed.read_to(&*self.log, end, apply).await
    }
}

/// What was appended could not be read back.
fn unresolved(error: &LaneError) -> Error {
    let message = format!("the change may stand and could not be read back: {error}");
    Error::new(ErrorCode::OutcomeUnknown, message)
}

/// A record as the log has it.
pub(in crate::events) fn to_log(record: &ControlRecord, stamp: Stamp) -> Record {
    let mut it = Record {
        value: record.encode().into(),
        ..Record::default()
    };
    stamp.put(&mut it);
    it
}

// Checkpoints.

impl ControlTask {
    async fn checkpoint_if_due(&mut self) {
        let least = self.control.groups.config.checkpoint_bytes;
        if self.replayed.bytes <= least.max(2 * self.size) {
            return;
        }
        // The next look tries again, if it fails; what is there says everything anyhow.
        let _ = self.checkpoint().await;
    }

    /// Writes the whole state, and, once that was read back, drops what stands before it.
    async fn checkpoint(&mut self) -> Result<()> {
        let number = self.replayed.begun.map_or(1, |(_, number)| number + 1);
        let records = self.replayed.fold.checkpoint(number);
        self.replayed.bytes = 0;
        let mut sent: VecDeque<Sent> = records
            .into_iter()
            .map(|record| Sent {
                record,
                proposal: 0,
            })
            .collect();
        let mut complete = false;
        while !sent.is_empty() {
            let batch = self.next_batch(&mut sent);
            let records: Vec<&ControlRecord> = batch.iter().map(|sent| &sent.record).collect();
            let changed = self.commit(&records).await?;
            complete = changed.last().copied().unwrap_or(false);
        }
        self.size = std::mem::take(&mut self.replayed.bytes);
        if let Some((begin, _)) = self.replayed.begun.filter(|_| complete) {
            self.log.trim(CONTROL, begin).await?;
        }
        Ok(())
    }
}
