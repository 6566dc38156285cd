//! What waits to be written. Calls put it in from any thread; the committer takes out as much as makes a group.

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::oneshot;
use trellis_core::log::{Appended, LogError, LogResult, Offset, Partition};
use trellis_core::{Micros, Time};

/// Bytes of a group beyond which the rest waits for the next one.
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// About the time of two groups: until then there is room again, or the disk is slow.
const RETRY_AFTER: Micros = Micros::from_millis(20);

/// Where the answer to a call goes; a caller that is gone hears nothing.
pub(super) type Answer<T> = oneshot::Sender<LogResult<T>>;

/// What a call asks the committer for.
pub(super) enum Request {
    /// A batch, its records encoded.
    Append {
        partition: Partition,
        body: Bytes,
        count: u32,
        /// Size as the port counts it.
        bytes: u32,
        time: Time,
        answer: Answer<Appended>,
    },
    /// A higher start.
    Trim {
        partition: Partition,
        before: Offset,
        answer: Answer<()>,
    },
}

impl Request {
    fn size(&self) -> usize {
        match self {
            Self::Append { body, .. } => body.len() + 64,
            Self::Trim { .. } => 64,
        }
    }

    /// Ends the call with an error.
    pub(super) fn fail(self, error: LogError) {
        // A caller that is gone does not want to know.
        match self {
            Self::Append { answer, .. } => drop(answer.send(Err(error))),
            Self::Trim { answer, .. } => drop(answer.send(Err(error))),
        }
    }
}

/// See the module.
pub(super) struct Queue {
    max_bytes: usize,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    bytes: usize,
    closed: bool,
}

impl Queue {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            waiting: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Puts a request at the end, or says why not.
    pub(super) fn put(&self, request: Request) -> LogResult<()> {
        let size = request.size();
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(LogError::Closed);
        }
        // One that is alone always has room: a batch has a bound of its own.
        if waiting.bytes + size > self.max_bytes && waiting.bytes > 0 {
            return Err(LogError::Busy {
                retry_after: RETRY_AFTER,
            });
        }
        waiting.bytes += size;
        waiting.requests.push_back(request);
        if waiting.requests.len() == 1 {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Takes out the next group, or nothing when none came in time; `None` when it is closed and empty.
    pub(super) fn take(&self, patience: Duration) -> Option<Vec<Request>> {
        let mut waiting = self.waiting.lock();
        if waiting.requests.is_empty() && !waiting.closed {
            self.changed.wait_for(&mut waiting, patience);
        }
        if waiting.requests.is_empty() && waiting.closed {
            return None;
        }
        let mut group = Vec::new();
        let mut size = 0;
        while size < GROUP_BYTES {
            let Some(request) = waiting.requests.pop_front() else {
                break;
            };
            size += request.size();
            group.push(request);
        }
        waiting.bytes = waiting.bytes.saturating_sub(size);
        Some(group)
    }

    /// Takes no more. What waits is still written.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.changed.notify_one();
    }

    /// Takes no more and forgets what waits: nobody is there to write it.
    pub(super) fn abandon(&self) {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        waiting.requests.clear();
        waiting.bytes = 0;
    }
}
