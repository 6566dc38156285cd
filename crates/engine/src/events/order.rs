//! What a partition appends, in order, and who wants to know what became of it.

use super::ids::First;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::oneshot;
use trellis_core::events::Stamp;
use trellis_core::log::{Appending, Batch, Log, LogError, Partition, Record, RecordWriter};

/// What a record of ours turned out to be when it was read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Folded {
    /// It counts.
    At(u64),
    /// It repeats another one by its id.
    Repeats(First),
}

/// See the module. What nobody can learn any more, because a later record was read back, is answered by hanging up.
pub(super) struct Order {
    writer: AtomicU64,
    state: Mutex<State>,
}

struct State {
    sequence: u64,
    records: RecordWriter,
    pending: VecDeque<(u64, oneshot::Sender<Folded>)>,
}

/// An append, and what it turns out to be.
pub(super) struct Ordered {
    pub appending: Appending,
    pub folded: oneshot::Receiver<Folded>,
}

/// Who needs to be told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    /// Only whom the log leaves in doubt.
    InDoubt,
    /// In any case.
    Always,
}

impl Order {
    pub fn new() -> Self {
        Self {
            writer: AtomicU64::new(0),
            state: Mutex::new(State {
                sequence: 0,
                records: RecordWriter::in_blocks(),
                pending: VecDeque::new(),
            }),
        }
    }

    /// Begins a life, before anything is appended.
    pub fn begin(&self, writer: u64) {
        self.writer.store(writer, Ordering::Release);
    }

    /// The life that appends.
    pub fn writer(&self) -> u64 {
        self.writer.load(Ordering::Acquire)
    }

    /// Appends the record of a stamp, behind all that were appended before. `Err` has the answer of a log where nothing more is to be learnt.
    pub fn append(
        &self,
        log: &dyn Log,
        partition: Partition,
        record: impl FnOnce(&mut RecordWriter, Stamp) -> Record,
        tell: Tell,
    ) -> Result<Ordered, Appending> {
        let mut state = self.state.lock();
        state.sequence += 1;
        let sequence = state.sequence;
        let stamp = Stamp {
            writer: self.writer(),
            sequence,
        };
        let record = record(&mut state.records, stamp);
        let appending = log.append(partition, Batch::from(record));
        match &appending {
            Appending::Done(Ok(_)) if tell == Tell::InDoubt => return Err(appending),
            Appending::Done(Err(error)) if !matches!(error, LogError::Unknown { .. }) => {
                return Err(appending);
            }
            Appending::Done(_) | Appending::Waiting(_) => {}
        }
        // Those who have gone, so that a log that takes nothing in gathers none.
        while state.pending.front().is_some_and(|(_, it)| it.is_closed()) {
            state.pending.pop_front();
        }
        let (sender, folded) = oneshot::channel();
        state.pending.push_back((sequence, sender));
        Ok(Ordered { appending, folded })
    }

    /// A record that counts was read back, or one that repeats another by its id.
    pub fn tell(&self, stamp: Stamp, folded: Folded) {
        if stamp.writer != self.writer() {
            return;
        }
        let mut state = self.state.lock();
        while let Some((sequence, _)) = state.pending.front() {
            if *sequence > stamp.sequence {
                break;
            }
            if let Some((sequence, sender)) = state.pending.pop_front()
                && sequence == stamp.sequence
            {
                // Whoever does not wait for it need not know.
                let _ = sender.send(folded);
            }
        }
    }

    /// Nothing is read back any more.
    pub fn hang_up(&self) {
        self.state.lock().pending.clear();
    }
}
