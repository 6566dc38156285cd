//! `AcquireStream`: many requests in hand on one stream, answered in any order.
//!
//! It decides a request at once where that needs no waiting, and keeps the others; how it goes on stands in `turns`.
//! Dropping it drops, and thereby cancels, every call that still waits.

use crate::convert::{self, Context};
use crate::drain::or_draining;
use crate::error::item_status;
use crate::limits::{Begun, LimitRpc};
use crate::turns::{self, Answering, Turns};
use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, Stream, StreamExt as _};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Status, Streaming};
use trellis_core::{Error, ErrorCode, Micros, Namespace, Result, Time};
use trellis_proto::v1::acquire_stream_request::Request;
use trellis_proto::v1::acquire_stream_response::Response;
use trellis_proto::v1::{self, AcquireStreamRequest, AcquireStreamResponse};

/// The RPC that requests are counted under.
pub(crate) const NAME: &str = "trellis.v1.LimitService/AcquireStream";

type Item = std::result::Result<AcquireStreamResponse, Status>;

/// The answers of one stream.
pub(crate) struct AcquireStream {
    rpc: Arc<LimitRpc>,
    inbound: Streaming<AcquireStreamRequest>,
    turns: Turns,
    /// Of requests that name none; `None` before `open`.
    namespace: Option<Arc<Namespace>>,
    in_hand: FuturesUnordered<BoxFuture<'static, AcquireStreamResponse>>,
    /// How to take back the calls in hand, by their ids.
    cancels: HashMap<u64, AbortHandle>,
    _permit: OwnedSemaphorePermit,
}

impl AcquireStream {
    pub fn new(
        rpc: Arc<LimitRpc>,
        inbound: Streaming<AcquireStreamRequest>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            turns: Turns::new(&rpc.drain),
            rpc,
            inbound,
            namespace: None,
            in_hand: FuturesUnordered::new(),
            cancels: HashMap::new(),
            _permit: permit,
        }
    }

    fn begin(
        &mut self,
        id: u64,
        request: Request,
        namespace: Arc<Namespace>,
        task: &mut Task<'_>,
    ) -> Option<AcquireStreamResponse> {
        let started = self.turns.started(&*self.rpc.clock);
        let Request::Acquire(request) = request else {
            let rpc = Arc::clone(&self.rpc);
            let mut call = async move { run(&rpc, request, &namespace).await }.boxed();
            return match call.poll_unpin(task) {
                Poll::Ready(result) => Some(self.answer(id, result, started)),
                Poll::Pending => self.take_in_hand(id, call, started),
            };
        };
        let context = Context {
            config: &self.rpc.config,
            namespace: &namespace,
            deadline: None,
        };
        let result = match self.rpc.begin(request, &context) {
            Ok(Begun::Waiting(acquiring)) => {
                let drain = self.rpc.drain.clone();
                let call = async move {
                    let acquired = or_draining(&drain, acquiring).await;
                    acquired.map(convert::acquired).map(Response::Acquire)
                };
                return self.take_in_hand(id, call.boxed(), started);
            }
            Ok(Begun::Done(answer)) => Ok(Response::Acquire(answer)),
            Err(error) => Err(error),
        };
        Some(self.answer(id, result, started))
    }

    /// Answers a request at once. The next one, if it is here already, is timed from now.
    fn answer(
        &mut self,
        id: u64,
        result: Result<Response>,
        started: Time,
    ) -> AcquireStreamResponse {
        let now = self.rpc.clock.mono();
        self.turns.answered(now);
        finish(&self.rpc, id, result, now - started)
    }

    /// Keeps a request until it is answered; it is polled before this stream rests.
    fn take_in_hand(
        &mut self,
        id: u64,
        call: BoxFuture<'static, Result<Response>>,
        started: Time,
    ) -> Option<AcquireStreamResponse> {
        let (cancel, registration) = AbortHandle::new_pair();
        self.cancels.insert(id, cancel);
        let rpc = Arc::clone(&self.rpc);
        let call = async move {
            let result = Abortable::new(call, registration).await;
            let cancelled = || Error::new(ErrorCode::Cancelled, "taken back by `cancel`");
            let result = result.unwrap_or_else(|_| Err(cancelled()));
            finish(&rpc, id, result, rpc.clock.mono() - started)
        };
        self.in_hand.push(call.boxed());
        None
    }
}

/// Carries out a request that does not wait.
async fn run(rpc: &LimitRpc, request: Request, namespace: &Namespace) -> Result<Response> {
    let context = Context {
        config: &rpc.config,
        namespace,
        deadline: None,
    };
    match request {
        Request::Settle(request) => rpc.settle(request, context).await.map(Response::Settle),
        Request::Extend(request) => rpc.extend(request, context).await.map(Response::Extend),
        Request::Acquire(_) | Request::Open(_) | Request::Cancel(_) => {
            let message = "not a request of this kind";
            Err(Error::new(ErrorCode::Internal, message))
        }
    }
}

fn finish(
    rpc: &LimitRpc,
    id: u64,
    result: Result<Response>,
    elapsed: Micros,
) -> AcquireStreamResponse {
    if let Some(place) = rpc.stream_place {
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

impl Answering for AcquireStream {
    type Request = AcquireStreamRequest;
    type Answer = AcquireStreamResponse;

    fn turns(&mut self) -> &mut Turns {
        &mut self.turns
    }

    fn is_idle(&self) -> bool {
        self.in_hand.is_empty()
    }

    fn has_room(&self) -> bool {
        self.in_hand.len() < self.rpc.config.max_stream_in_flight
    }

    fn poll_request(
        &mut self,
        task: &mut Task<'_>,
    ) -> Poll<Option<std::result::Result<AcquireStreamRequest, Status>>> {
        self.inbound.poll_next_unpin(task)
    }

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

    fn poll_answer(&mut self, task: &mut Task<'_>) -> Poll<Option<AcquireStreamResponse>> {
        let answer = std::task::ready!(self.in_hand.poll_next_unpin(task));
        if let Some(answer) = &answer {
            self.cancels.remove(&answer.id);
        }
        Poll::Ready(answer)
    }

    fn last(draining: v1::Draining) -> AcquireStreamResponse {
        let response = Some(Response::Draining(draining));
        AcquireStreamResponse { id: 0, response }
    }
}

impl Stream for AcquireStream {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Item>> {
        turns::poll_next(&mut *self, task)
    }
}
