//! The calls that are unanswered on one stream.
//!
//! ```text
//! insert -> answer            the caller gets it; a grant that nobody takes is refunded
//!        -> expire -> answer  the caller got a deadline error before; as above
//!        -> close             the caller learns that the outcome is unknown
//! ```
//! An entry, and with it the permit of its call, lives until the daemon has answered or the stream has
//! ended, so that no more is in the daemon's hands than permits. Ids are never used twice on a stream.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;
use trellis_proto::v1::SettleRequest;
use trellis_proto::v1::acquire_stream_response::Response;

use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// Who is told about an answer.
#[derive(Debug)]
pub(super) enum Waiter {
    /// The future of a call. It may be gone.
    Caller(oneshot::Sender<Result<Response>>),
    /// A release by a dropped guard; sent again by other means when the stream ends first.
    Release(SettleRequest),
    /// A caller that was told that its deadline is over.
    Expired,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) waiter: Waiter,
    pub(super) deadline: Instant,
    /// Whether `cancel` means something to the daemon.
    pub(super) waits: bool,
    pub(super) permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
pub(super) struct Table {
    limits: Limits,
    calls: Mutex<Calls>,
}

#[derive(Debug)]
struct Calls {
    open: bool,
    answered: bool,
    last_id: u64,
    entries: HashMap<u64, Entry>,
}

impl Table {
    pub(super) fn new(limits: Limits) -> Self {
        let calls = Calls {
            open: true,
            answered: false,
            last_id: 0,
            entries: HashMap::new(),
        };
        Self {
            limits,
            calls: Mutex::new(calls),
        }
    }

    /// Gives the call an id, from 1; or hands it back when the stream takes no more calls.
    pub(super) fn insert(&self, entry: Entry) -> Result<u64, Box<Entry>> {
        let mut calls = self.calls.lock();
        if !calls.open {
            return Err(Box::new(entry));
        }
        calls.last_id += 1;
        let id = calls.last_id;
        calls.entries.insert(id, entry);
        Ok(id)
    }

    /// Takes a call back that was not sent; `None` when the stream's end has dealt with it already.
    pub(super) fn remove(&self, id: u64) -> Option<Entry> {
        self.calls.lock().entries.remove(&id)
    }

    /// Whether the call is unanswered and may be cancelled.
    pub(super) fn cancellable(&self, id: u64) -> bool {
        self.calls
            .lock()
            .entries
            .get(&id)
            .is_some_and(|entry| entry.waits)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.lock().entries.is_empty()
    }

    /// No further calls; answers still come.
    pub(super) fn retire(&self) {
        self.calls.lock().open = false;
    }

    pub(super) fn answer(&self, id: u64, response: Response) {
        let entry = {
            let mut calls = self.calls.lock();
            calls.answered = true;
            calls.entries.remove(&id)
        };
        match entry.map(|entry| entry.waiter) {
            Some(Waiter::Caller(caller)) => {
                if let Err(Ok(response)) = caller.send(Ok(response)) {
                    self.unreceived(response);
                }
            }
            Some(Waiter::Expired) => self.unreceived(response),
            Some(Waiter::Release(_)) => {
                if let Response::Error(status) = response {
                    tracing::debug!(%status.message, "reservation left to its TTL: its release failed");
                }
            }
            None => tracing::debug!(id, "answer to a call that was not made"),
        }
    }

    /// Gives back what was granted to a caller that is gone.
    pub(super) fn unreceived(&self, response: Response) {
        if let Response::Acquire(answer) = response
            && !answer.reservation_id.is_empty()
        {
            let release = self.limits.release_request(answer.reservation_id, true);
            self.limits.shared().release(release);
        }
    }

    /// Tells callers whose deadline is over; returns the ids to cancel.
    pub(super) fn expire(&self, now: Instant) -> Vec<u64> {
        let mut cancel = Vec::new();
        for (id, entry) in &mut self.calls.lock().entries {
            if entry.deadline > now || !matches!(entry.waiter, Waiter::Caller(_)) {
                continue;
            }
            if let Waiter::Caller(caller) = std::mem::replace(&mut entry.waiter, Waiter::Expired) {
                // A caller that is gone needs no error, and has taken its call back itself.
                let told = caller.send(Err(Error::deadline())).is_ok();
                if told && entry.waits {
                    cancel.push(*id);
                }
            }
        }
        cancel
    }

    /// Whether the daemon has answered anything.
    pub(super) fn answered(&self) -> bool {
        self.calls.lock().answered
    }

    /// Ends every call, because the stream ended: by itself, or with an error.
    pub(super) fn close(&self, cause: Option<Error>) {
        let (entries, answered) = {
            let mut calls = self.calls.lock();
            calls.open = false;
            (std::mem::take(&mut calls.entries), calls.answered)
        };
        let refused = cause
            .as_ref()
            .is_some_and(|error| matches!(error.kind(), ErrorKind::Refused(_)));
        let error = match cause {
            // The stream itself was refused, so nothing on it was done.
            Some(error) if refused && !answered => error,
            Some(error) => Error::outcome_unknown(format!(
                "the stream broke before the answer: {}",
                error.message()
            )),
            None => Error::outcome_unknown("the daemon ended the stream before the answer"),
        };
        for entry in entries.into_values() {
            match entry.waiter {
                Waiter::Caller(caller) => {
                    // A caller that is gone needs no error.
                    let _ = caller.send(Err(error.clone()));
                }
                Waiter::Release(release) => self.limits.shared().release(release),
                Waiter::Expired => {}
            }
        }
    }
}
