//! A stream of many requests in hand, answered in any order: when it reads, when it answers, and how it ends.
//!
//! The stream is its own driver: it reads a request when the transport asks for an answer, and begins it then and there. There is
//! no task and no queue behind it. While it has no room it does not read, which holds the caller back. What is in hand is answered
//! before more is read, and at the end, by the caller or by the daemon, before the stream ends.

use crate::drain::farewell;
use crate::error::status;
use futures::FutureExt as _;
use prost::bytes::Bytes;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use trellis_core::{Clock, Result, Time};
use trellis_proto::v1;

/// Answers given between two looks at the drain, whose lock is the whole daemon's.
const BURST: u32 = 64;

enum Phase {
    /// Requests are read.
    Reading,
    /// No more are read; what is in hand is answered.
    Closing {
        /// The daemon ends the stream, and says so last.
        draining: bool,
    },
    /// Nothing more is sent.
    Ended,
}

/// Where a stream stands.
pub(crate) struct Turns {
    phase: Phase,
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Answers given since the last look at the drain.
    burst: u32,
    /// When the last answer was given, while requests come without a pause.
    answered: Option<Time>,
}

impl Turns {
    /// A stream that is to end when the daemon drains.
    pub fn new(drain: &CancellationToken) -> Self {
        Self {
            phase: Phase::Reading,
            drained: Box::pin(drain.clone().cancelled_owned()),
            burst: 0,
            answered: None,
        }
    }

    /// When the request at hand began to be worked on: one that was here already when the last answer was given began then.
    pub fn started(&mut self, clock: &dyn Clock) -> Time {
        self.answered.take().unwrap_or_else(|| clock.mono())
    }

    /// An answer is given now, at once.
    pub fn answered(&mut self, now: Time) {
        self.answered = Some(now);
    }
}

/// What is asked and answered on such a stream.
pub(crate) trait Answering {
    type Request;
    type Answer;

    fn turns(&mut self) -> &mut Turns;

    /// Whether nothing is in hand.
    fn is_idle(&self) -> bool;

    /// Whether another request may be taken in hand.
    fn has_room(&self) -> bool;

    /// The next request.
    fn poll_request(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Self::Request, Status>>>;

    /// Begins a request: returns its answer when there is one at once. An error ends the stream.
    fn accept(
        &mut self,
        request: Self::Request,
        task: &mut Context<'_>,
    ) -> Result<Option<Self::Answer>>;

    /// The next answer to what is in hand; `None` when nothing is.
    fn poll_answer(&mut self, task: &mut Context<'_>) -> Poll<Option<Self::Answer>>;

    /// The last message of a stream that the daemon ends.
    fn last(draining: v1::Draining) -> Self::Answer;
}

type Item<S> = std::result::Result<<S as Answering>::Answer, Status>;

/// The next message of a stream.
pub(crate) fn poll_next<S: Answering>(
    stream: &mut S,
    task: &mut Context<'_>,
) -> Poll<Option<Item<S>>> {
    if let Phase::Ended = stream.turns().phase {
        return Poll::Ready(None);
    }
    if !stream.is_idle()
        && let Poll::Ready(Some(answer)) = stream.poll_answer(task)
    {
        return Poll::Ready(Some(Ok(answer)));
    }
    let reads = matches!(stream.turns().phase, Phase::Reading);
    if reads
        && stream.turns().burst < BURST
        && let Poll::Ready(item) = poll_requests(stream, task)
    {
        stream.turns().burst += 1;
        return Poll::Ready(Some(item));
    }
    stream.turns().burst = 0;
    if let Phase::Reading = stream.turns().phase {
        if stream.turns().drained.poll_unpin(task).is_ready() {
            stream.turns().phase = Phase::Closing { draining: true };
        } else if let Poll::Ready(item) = poll_requests(stream, task) {
            return Poll::Ready(Some(item));
        }
    }
    // Again, so that what was just taken in hand or taken back is looked at.
    match stream.poll_answer(task) {
        Poll::Ready(Some(answer)) => Poll::Ready(Some(Ok(answer))),
        Poll::Pending => Poll::Pending,
        Poll::Ready(None) => {
            let Phase::Closing { draining: says_so } = stream.turns().phase else {
                return Poll::Pending;
            };
            stream.turns().phase = Phase::Ended;
            Poll::Ready(says_so.then(|| Ok(S::last(farewell(Bytes::new())))))
        }
    }
}

/// Reads requests until one is answered at once, no more may be taken in hand, or none is there.
fn poll_requests<S: Answering>(stream: &mut S, task: &mut Context<'_>) -> Poll<Item<S>> {
    while stream.has_room() {
        let Poll::Ready(request) = stream.poll_request(task) else {
            stream.turns().answered = None;
            return Poll::Pending;
        };
        let begun = match request {
            None => {
                stream.turns().phase = Phase::Closing { draining: false };
                return Poll::Pending;
            }
            Some(Err(error)) => Err(error),
            Some(Ok(request)) => stream.accept(request, task).map_err(status),
        };
        match begun {
            Ok(None) => {}
            Ok(Some(answer)) => return Poll::Ready(Ok(answer)),
            Err(error) => {
                stream.turns().phase = Phase::Ended;
                return Poll::Ready(Err(error));
            }
        }
    }
    Poll::Pending
}
