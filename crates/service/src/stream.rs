//! `AcquireStream`: many requests in hand on one stream, answered in any order.
//!
//! The stream is its own driver: it reads a request when the transport asks for an answer, decides it
//! at once where that needs no waiting, and keeps the others. There is no task and no queue behind it,
//! so dropping it drops, and thereby cancels, every call that still waits. While it is full it does
//! not read, which holds the caller back.

use crate::convert::{self, Context};
use crate::drain::draining;
use crate::error::{item_status, status};
use crate::limits::LimitRpc;
use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, Stream, StreamExt as _};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Status, Streaming};
use trellis_core::{Error, ErrorCode, Micros, Namespace, Result, Time};
use trellis_proto::v1::acquire_stream_request::Request;
use trellis_proto::v1::acquire_stream_response::Response;
use trellis_proto::v1::{self, AcquireStreamRequest, AcquireStreamResponse};

const NAME: &str = "trellis.v1.LimitService/AcquireStream";

type Item = std::result::Result<AcquireStreamResponse, Status>;

enum Phase {
    /// The first message has not come.
    Opening,
    /// Requests are read.
    Open,
    /// No more requests are read; what is in hand is answered.
    Closing {
        /// The daemon ends the stream, and says so last.
        draining: bool,
    },
    /// Nothing more is sent.
    Ended,
}

/// The answers of one stream.
pub(crate) struct AcquireStream {
    rpc: Arc<LimitRpc>,
    inbound: Streaming<AcquireStreamRequest>,
    phase: Phase,
    namespace: Option<Arc<Namespace>>,
    in_hand: FuturesUnordered<BoxFuture<'static, AcquireStreamResponse>>,
    /// How to take back the calls in hand, by their ids.
    cancels: HashMap<u64, AbortHandle>,
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
    _permit: OwnedSemaphorePermit,
}

impl AcquireStream {
    pub fn new(
        rpc: Arc<LimitRpc>,
        inbound: Streaming<AcquireStreamRequest>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let drained = Box::pin(rpc.drain.clone().cancelled_owned());
        Self {
            rpc,
            inbound,
            phase: Phase::Opening,
            namespace: None,
            in_hand: FuturesUnordered::new(),
            cancels: HashMap::new(),
            drained,
            _permit: permit,
        }
    }

    /// Reads requests until one is answered at once, no more may be taken in hand, or none is there.
    fn poll_requests(&mut self, task: &mut Task<'_>) -> Poll<Item> {
        while self.in_hand.len() < self.rpc.config.max_stream_in_flight {
            let request = match std::task::ready!(self.inbound.poll_next_unpin(task)) {
                None => {
                    self.phase = Phase::Closing { draining: false };
                    return Poll::Pending;
                }
                Some(Err(error)) => return Poll::Ready(Err(self.fail(error))),
                Some(Ok(request)) => request,
            };
            match self.accept(request, task) {
                Ok(None) => {}
                Ok(Some(answer)) => return Poll::Ready(Ok(answer)),
                Err(error) => return Poll::Ready(Err(self.fail(status(error)))),
            }
        }
        Poll::Pending
    }

    fn fail(&mut self, status: Status) -> Status {
        self.phase = Phase::Ended;
        status
    }

    /// Begins one request: returns its answer when there is one at once. An error ends the stream.
    fn accept(
        &mut self,
        request: AcquireStreamRequest,
        task: &mut Task<'_>,
    ) -> Result<Option<AcquireStreamResponse>> {
        let AcquireStreamRequest { id, request } = request;
        let namespace = match (&self.namespace, request.as_ref()) {
            (None, Some(Request::Open(_))) => {
                let Some(Request::Open(open)) = request else {
                    return Ok(None);
                };
                self.namespace = Some(Arc::new(convert::namespace(open.namespace)?));
                self.phase = Phase::Open;
                return Ok(None);
            }
            (None, _) => {
                return Err(Error::invalid(
                    "request",
                    "the first message must be `open`",
                ));
            }
            (Some(namespace), _) => Arc::clone(namespace),
        };
        let allowed = match request {
            Some(Request::Open(_)) => "`open` must be the first message only",
            None => "must be one of acquire, settle, extend, cancel",
            Some(Request::Cancel(_)) => {
                if let Some(cancel) = self.cancels.get(&id) {
                    cancel.abort();
                }
                return Ok(None);
            }
            Some(_) if self.cancels.contains_key(&id) => {
                "an earlier request with this id is in hand"
            }
            Some(request) => return Ok(self.begin(id, request, namespace, task)),
        };
        let field = if allowed.starts_with("an earlier") {
            "id"
        } else {
            "request"
        };
        Ok(Some(failed(id, Error::invalid(field, allowed))))
    }

    fn begin(
        &mut self,
        id: u64,
        request: Request,
        namespace: Arc<Namespace>,
        task: &mut Task<'_>,
    ) -> Option<AcquireStreamResponse> {
        let rpc = Arc::clone(&self.rpc);
        let started = rpc.clock.now().mono;
        let mut call = async move {
            let result = run(&rpc, request, &namespace).await;
            finish(&rpc, id, result, started)
        }
        .boxed();
        if let Poll::Ready(answer) = call.poll_unpin(task) {
            return Some(answer);
        }
        let (cancel, registration) = AbortHandle::new_pair();
        self.cancels.insert(id, cancel);
        let rpc = Arc::clone(&self.rpc);
        let call = async move {
            Abortable::new(call, registration)
                .await
                .unwrap_or_else(|_| {
                    let error = Error::new(ErrorCode::Cancelled, "taken back by `cancel`");
                    finish(&rpc, id, Err(error), started)
                })
        };
        self.in_hand.push(call.boxed());
        None
    }

    fn poll_answers(&mut self, task: &mut Task<'_>) -> Poll<Option<AcquireStreamResponse>> {
        let answer = std::task::ready!(self.in_hand.poll_next_unpin(task));
        if let Some(answer) = &answer {
            self.cancels.remove(&answer.id);
        }
        Poll::Ready(answer)
    }
}

/// Carries one request out.
async fn run(rpc: &LimitRpc, request: Request, namespace: &Namespace) -> Result<Response> {
    let context = Context {
        config: &rpc.config,
        namespace,
        deadline: None,
    };
    match request {
        Request::Acquire(request) => rpc.acquire(request, context).await.map(Response::Acquire),
        Request::Settle(request) => rpc.settle(request, context).await.map(Response::Settle),
        Request::Extend(request) => rpc.extend(request, context).await.map(Response::Extend),
        Request::Open(_) | Request::Cancel(_) => Err(Error::new(
            ErrorCode::Internal,
            "not a request to be carried out",
        )),
    }
}

fn finish(
    rpc: &LimitRpc,
    id: u64,
    result: Result<Response>,
    started: Time,
) -> AcquireStreamResponse {
    let elapsed: Micros = rpc.clock.now().mono - started;
    if let Some(place) = rpc.stats.find(NAME) {
        rpc.stats.record(place, elapsed, result.is_err());
    }
    match result {
        Ok(response) => AcquireStreamResponse {
            id,
            response: Some(response),
        },
        Err(error) => failed(id, error),
    }
}

fn failed(id: u64, error: Error) -> AcquireStreamResponse {
    AcquireStreamResponse {
        id,
        response: Some(Response::Error(item_status(error))),
    }
}

impl Stream for AcquireStream {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Item>> {
        let this = &mut *self;
        if let Phase::Ended = this.phase {
            return Poll::Ready(None);
        }
        if let Poll::Ready(Some(answer)) = this.poll_answers(task) {
            return Poll::Ready(Some(Ok(answer)));
        }
        if let Phase::Opening | Phase::Open = this.phase {
            if this.drained.poll_unpin(task).is_ready() {
                this.phase = Phase::Closing { draining: true };
            } else if let Poll::Ready(item) = this.poll_requests(task) {
                return Poll::Ready(Some(item));
            }
        }
        // Again, so that calls just taken in hand or taken back are looked at.
        match this.poll_answers(task) {
            Poll::Ready(Some(answer)) => Poll::Ready(Some(Ok(answer))),
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                let Phase::Closing { draining: says_so } = this.phase else {
                    return Poll::Pending;
                };
                this.phase = Phase::Ended;
                let reason = draining().message;
                let last = v1::Draining {
                    reason,
                    resume: prost::bytes::Bytes::new(),
                };
                let response = Some(Response::Draining(last));
                Poll::Ready(says_so.then_some(Ok(AcquireStreamResponse { id: 0, response })))
            }
        }
    }
}
