//! One open stream: the queue of its requests, and the task that reads its answers.
//!
//! The queue never fills. A permit covers at most a request and its cancel, and a new request under
//! the same permit comes after the answer to the former one, that is after that left the queue: three
//! messages for each acquire (cancel, request, cancel) and one for each settle are the most.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::{Status, Streaming};
use trellis_proto::v1 as proto;
use trellis_proto::v1::acquire_stream_request::Request;
use trellis_proto::v1::acquire_stream_response::Response;

use super::opener::Failures;
use super::table::{Entry, Table, Waiter};
use crate::error::{Error, Result};
use crate::limits::Limits;

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(100);

/// The queue's length for so many acquires, as many settles, and the `open` message.
pub(super) const fn queue_for(max_in_flight: usize) -> usize {
    4 * max_in_flight + 1
}

/// The sending half of a stream. When the last one is dropped, the request stream ends.
#[derive(Debug)]
pub(super) struct Link {
    requests: mpsc::Sender<proto::AcquireStreamRequest>,
    table: Arc<Table>,
}

/// A call that is not sent yet.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) request: Request,
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) deadline: Instant,
    pub(super) waits: bool,
}

impl Link {
    pub(super) fn new(
        requests: mpsc::Sender<proto::AcquireStreamRequest>,
        limits: Limits,
    ) -> Arc<Self> {
        Arc::new(Self {
            requests,
            table: Arc::new(Table::new(limits)),
        })
    }

    /// Sends a call, or hands it back when the stream takes no more. Never waits.
    pub(super) fn submit(link: &Arc<Self>, call: Submission) -> Result<Ticket, Box<Submission>> {
        let Submission {
            request,
            permit,
            deadline,
            waits,
        } = call;
        let (caller, outcome) = oneshot::channel();
        let entry = Entry {
            waiter: Waiter::Caller(caller),
            deadline,
            waits,
            permit,
        };
        match link.send(request, entry) {
            Ok(id) => Ok(Ticket {
                link: link.clone(),
                id,
                outcome,
                done: false,
            }),
            Err(unsent) => {
                let (request, Entry { permit, .. }) = *unsent;
                Err(Box::new(Submission {
                    request,
                    permit,
                    deadline,
                    waits,
                }))
            }
        }
    }

    /// Sends a settle that nobody waits for; false when it was not sent.
    pub(super) fn release(
        &self,
        request: &proto::SettleRequest,
        permit: OwnedSemaphorePermit,
        deadline: Instant,
    ) -> bool {
        let waiter = Waiter::Release(request.clone());
        let entry = Entry {
            waiter,
            deadline,
            waits: false,
            permit,
        };
        self.send(Request::Settle(request.clone()), entry).is_ok()
    }

    fn send(&self, request: Request, entry: Entry) -> Result<u64, Box<(Request, Entry)>> {
        let id = match self.table.insert(entry) {
            Ok(id) => id,
            Err(entry) => return Err(Box::new((request, *entry))),
        };
        let Err(error) = self.requests.try_send(message(id, request)) else {
            return Ok(id);
        };
        self.table.retire();
        let (mpsc::error::TrySendError::Full(unsent) | mpsc::error::TrySendError::Closed(unsent)) =
            error;
        match (self.table.remove(id), unsent.request) {
            (Some(entry), Some(request)) => Err(Box::new((request, entry))),
            // The end of the stream came first and has told the waiter.
            _ => Ok(id),
        }
    }

    fn cancel(&self, id: u64) {
        let request = Request::Cancel(proto::CancelAcquire {});
        // Fails when the stream has ended, and the call with it.
        let _ = self.requests.try_send(message(id, request));
    }

    /// Reads the answers until the stream ends, then ends the calls that are left.
    pub(super) fn read(
        self: &Arc<Self>,
        answers: Streaming<proto::AcquireStreamResponse>,
        failures: Arc<Failures>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (table, link) = (self.table.clone(), Arc::downgrade(self));
        async move {
            let cause = deliver(answers, &table, &link).await;
            // Before the callers are told, so that their next call finds the back-off.
            if table.answered() {
                failures.clear();
            } else {
                failures.add_stream();
            }
            table.close(cause.map(Error::from));
        }
    }
}

/// Hands answers to their callers until the stream ends; returns the error that it ended with.
async fn deliver(
    mut answers: Streaming<proto::AcquireStreamResponse>,
    table: &Table,
    link: &Weak<Link>,
) -> Option<Status> {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            answer = answers.message() => match answer {
                Ok(Some(answer)) => dispatch(answer, table),
                Ok(None) => return None,
                Err(status) => return Some(status),
            },
            now = tick.tick() => {
                let cancel = table.expire(now);
                match link.upgrade() {
                    Some(link) => cancel.into_iter().for_each(|id| link.cancel(id)),
                    // Every handle is gone, so the request stream has ended. A daemon that does not
                    // end its side must not keep this task.
                    None if table.is_empty() => return None,
                    None => {}
                }
            }
        }
    }
}

fn dispatch(answer: proto::AcquireStreamResponse, table: &Table) {
    match answer.response {
        Some(Response::Draining(draining)) => {
            tracing::debug!(reason = %draining.reason, "the daemon drains the stream");
            table.retire();
        }
        Some(response) => table.answer(answer.id, response),
        None => {
            let error = tonic_types::Status {
                code: tonic::Code::Internal.into(),
                message: "the answer is empty or of a kind that this version does not know".into(),
                details: Vec::new(),
            };
            table.answer(answer.id, Response::Error(error));
        }
    }
}

pub(super) fn message(id: u64, request: Request) -> proto::AcquireStreamRequest {
    proto::AcquireStreamRequest {
        id,
        request: Some(request),
    }
}

/// A sent call. Resolves to its answer; dropped before, it takes the call back.
#[derive(Debug)]
#[must_use = "dropping a ticket takes its call back"]
pub(super) struct Ticket {
    link: Arc<Link>,
    id: u64,
    outcome: oneshot::Receiver<Result<Response>>,
    done: bool,
}

impl Future for Ticket {
    type Output = Result<Response>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.outcome).poll(context).map(|outcome| {
            self.done = true;
            outcome.unwrap_or_else(|_| Err(Error::outcome_unknown("the stream is gone")))
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // From here on the reader finds the caller gone and deals with the answer itself.
        self.outcome.close();
        match self.outcome.try_recv() {
            Ok(Ok(response)) => self.link.table.unreceived(response),
            Err(_) if self.link.table.cancellable(self.id) => self.link.cancel(self.id),
            Ok(Err(_)) | Err(_) => {}
        }
    }
}
