//! `Session`: many leases on one stream, which renews them and is told what becomes of them.
//!
//! The stream is its own driver, without a task or a queue behind it: dropping it, as the transport does with
//! a stream that broke, takes back the calls that wait and tells the port. While it is full it does not
//! read, which holds the caller back; news of lost leases come through all the same.

use crate::ServiceConfig;
use crate::convert::{self, Context, locks as wire};
use crate::drain::{draining, farewell};
use crate::error::{item_status, status};
use crate::locks::LockRpc;
use futures::stream::{AbortHandle, Abortable, BoxStream, SelectAll};
use futures::{FutureExt as _, StreamExt as _, stream};
use prost::bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Status, Streaming};
use trellis_core::locks::{
    AcquiringLocks, LeaseRef, Locks, Progress, SessionFeed, SessionKey, SessionNews, SessionState,
};
use trellis_core::{Error, ErrorCode, Namespace, Result, Time};
use trellis_proto::v1::lock_service_session_request::Request;
use trellis_proto::v1::lock_service_session_response::Response;
use trellis_proto::v1::{self, LockServiceSessionRequest, LockServiceSessionResponse};

/// The RPC that requests are counted under.
pub(crate) const NAME: &str = "trellis.v1.LockService/Session";

type Item = std::result::Result<LockServiceSessionResponse, Status>;

/// What one request in hand brings.
struct News {
    id: u64,
    result: Result<Response>,
    /// Nothing comes after it.
    last: bool,
    started: Time,
}

/// An attachment to a session, broken when it is dropped before its end.
struct Attachment {
    locks: Arc<dyn Locks>,
    namespace: Namespace,
    key: SessionKey,
    feed: Box<dyn SessionFeed>,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // Does nothing to a session that was closed or attached to by another stream.
        self.locks.break_session(&self.namespace, self.key);
    }
}

enum Phase {
    /// The first message has not come.
    Opening,
    /// Requests are read.
    Open(Box<Attachment>),
    /// What is in the outbox is sent, nothing else.
    Ended,
}

/// What wakes a session.
enum Event {
    News(SessionNews),
    Answer(Option<News>),
    Drained,
    Request(Option<std::result::Result<LockServiceSessionRequest, Status>>),
}

/// One session stream.
pub(crate) struct LockSession {
    rpc: Arc<LockRpc>,
    inbound: Streaming<LockServiceSessionRequest>,
    phase: Phase,
    in_hand: SelectAll<BoxStream<'static, News>>,
    /// How to take back the requests in hand, by their ids.
    cancels: HashMap<u64, AbortHandle>,
    outbox: VecDeque<Item>,
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
    _permit: OwnedSemaphorePermit,
}

impl LockSession {
    pub fn new(
        rpc: Arc<LockRpc>,
        inbound: Streaming<LockServiceSessionRequest>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let drained = Box::pin(rpc.drain.clone().cancelled_owned());
        Self {
            rpc,
            inbound,
            phase: Phase::Opening,
            in_hand: SelectAll::new(),
            cancels: HashMap::new(),
            outbox: VecDeque::new(),
            drained,
            _permit: permit,
        }
    }

    /// The next message to the caller; `None` at the end.
    pub async fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.outbox.pop_front() {
                return Some(item);
            }
            let reads = self.in_hand.len() < self.rpc.config.locks.max_stream_in_flight;
            let event = match &mut self.phase {
                Phase::Ended => return None,
                Phase::Opening => tokio::select! {
                    biased;
                    () = &mut self.drained => Event::Drained,
                    request = self.inbound.next() => Event::Request(request),
                },
                Phase::Open(attachment) => tokio::select! {
                    biased;
                    news = attachment.feed.next() => Event::News(news),
                    news = self.in_hand.next(), if !self.in_hand.is_empty() => Event::Answer(news),
                    () = &mut self.drained => Event::Drained,
                    request = self.inbound.next(), if reads => Event::Request(request),
                },
            };
            match event {
                Event::News(SessionNews::Lost { lease, reason }) => {
                    self.push(0, Response::Lost(wire::lost(lease, &reason)));
                }
                Event::News(SessionNews::Ended(error)) => self.fail(status(error)),
                Event::Answer(news) => news.into_iter().for_each(|news| self.answer(news)),
                Event::Drained => self.drain(),
                Event::Request(None) => self.close(None).await,
                Event::Request(Some(Err(error))) => self.fail(error),
                Event::Request(Some(Ok(request))) => self.accept(request).await,
            }
        }
    }

    fn push(&mut self, id: u64, response: Response) {
        let response = Some(response);
        self.outbox
            .push_back(Ok(LockServiceSessionResponse { id, response }));
    }

    /// Ends the stream with an error. The attachment breaks.
    fn fail(&mut self, status: Status) {
        self.end();
        self.outbox.push_back(Err(status));
    }

    fn end(&mut self) {
        self.phase = Phase::Ended;
        self.in_hand.clear();
        self.cancels.clear();
    }

    /// The daemon shuts down: calls that wait are told, and the stream ends.
    fn drain(&mut self) {
        let waiting: Vec<u64> = self.cancels.keys().copied().collect();
        for id in waiting {
            self.push(id, Response::Error(item_status(draining())));
        }
        self.end();
        self.push(0, Response::Draining(farewell(Bytes::new())));
    }

    /// Ends the session, as its caller wishes, who is answered under `id` if it asked.
    async fn close(&mut self, id: Option<u64>) {
        let Phase::Open(attachment) = &self.phase else {
            self.end();
            return;
        };
        let namespace = attachment.namespace.clone();
        let closed = attachment
            .locks
            .close_session(namespace, attachment.key)
            .await;
        self.end();
        let Some(id) = id else { return };
        match closed {
            Ok(released) => {
                let released = convert::count(released);
                self.push(id, Response::Closed(v1::LockSessionClosed { released }));
            }
            Err(error) => self.push(id, Response::Error(item_status(error))),
        }
    }

    fn answer(&mut self, news: News) {
        let News {
            id,
            result,
            last,
            started,
        } = news;
        if last {
            self.cancels.remove(&id);
            self.record(started, result.is_err());
        }
        let response = result.unwrap_or_else(|error| Response::Error(item_status(error)));
        self.push(id, response);
    }

    fn record(&self, started: Time, is_error: bool) {
        if let Some(place) = self.rpc.stream_place {
            let elapsed = self.rpc.clock.mono() - started;
            self.rpc.stats.record(place, elapsed, is_error);
        }
    }

    async fn accept(&mut self, request: LockServiceSessionRequest) {
        let LockServiceSessionRequest { id, request } = request;
        if let Phase::Opening = self.phase {
            let Some(Request::Open(open)) = request else {
                let error = Error::invalid("request", "the first message must be `open`");
                return self.fail(status(error));
            };
            let started = self.rpc.clock.mono();
            let opened = self.open(id, open).await;
            self.record(started, opened.is_err());
            if let Err(error) = opened {
                self.fail(status(error));
            }
            return;
        }
        let (field, allowed) = match request {
            Some(Request::Open(_)) => ("request", "`open` must be the first message only"),
            None => {
                let allowed = "must be one of keep_alive, acquire, release, cancel, close";
                ("request", allowed)
            }
            Some(Request::Cancel(_)) => {
                if let Some(cancel) = self.cancels.remove(&id) {
                    cancel.abort();
                    let error = Error::new(ErrorCode::Cancelled, "taken back by `cancel`");
                    self.push(id, Response::Error(item_status(error)));
                }
                return;
            }
            Some(Request::Close(_)) => return self.close(Some(id)).await,
            Some(_) if self.cancels.contains_key(&id) => {
                ("id", "an earlier request with this id is in hand")
            }
            Some(request) => return self.begin(id, request).await,
        };
        let error = Error::invalid(field, allowed);
        self.push(id, Response::Error(item_status(error)));
    }

    async fn open(&mut self, id: u64, mut open: v1::LockSessionOpen) -> Result<()> {
        let context = Context {
            config: &self.rpc.config,
            namespace: &self.rpc.default_namespace,
            deadline: None,
        };
        let locks = Arc::clone(&self.rpc.locks);
        if open.session_secret.is_empty() {
            open.ttl = self.rpc.ttl(&open.namespace, &open.pipeline, open.ttl)?;
        }
        let (namespace, (state, feed)) = match wire::open(open, &context)? {
            wire::Opening::New(open) => {
                let namespace = open.namespace.clone();
                (namespace, Arc::clone(&locks).open_session(open).await?)
            }
            wire::Opening::Again(namespace, session) => {
                let attaching = Arc::clone(&locks).attach_session(namespace.clone(), session);
                (namespace, attaching.await?)
            }
        };
        let SessionState { key, .. } = state;
        self.phase = Phase::Open(Box::new(Attachment {
            locks,
            namespace,
            key,
            feed,
        }));
        for opened in wire::opened(state) {
            self.push(id, Response::Opened(opened));
        }
        Ok(())
    }

    /// Begins a request, and answers it where that needs no waiting.
    async fn begin(&mut self, id: u64, request: Request) {
        let Phase::Open(attachment) = &self.phase else {
            return;
        };
        let started = self.rpc.clock.mono();
        let news = move |(result, last)| News {
            id,
            result,
            last,
            started,
        };
        let hands_on = matches!(request, Request::Release(_));
        let mut answers = match attachment.begin(request, &self.rpc.config) {
            Begun::Done(result) => return self.answer(news((result, true))),
            Begun::Waits(answers) => answers.map(news),
        };
        // One look, so that most requests are answered without being kept.
        while let Poll::Ready(Some(news)) = futures::poll!(answers.next()) {
            let last = news.last;
            self.answer(news);
            if last {
                if hands_on {
                    step_back().await;
                }
                return;
            }
        }
        let (cancel, registration) = AbortHandle::new_pair();
        self.cancels.insert(id, cancel);
        self.in_hand
            .push(Abortable::new(answers, registration).boxed());
    }
}

/// Lets tasks that were just woken go first: whoever is let in by a release is told before the one who released.
async fn step_back() {
    let mut has_stepped = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_stepped, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What a request has come to at once.
enum Begun {
    Done(Result<Response>),
    /// Its answers, each with whether it is the last.
    Waits(BoxStream<'static, (Result<Response>, bool)>),
}

impl Attachment {
    fn begin(&self, request: Request, config: &ServiceConfig) -> Begun {
        let context = Context {
            config,
            namespace: &self.namespace,
            deadline: None,
        };
        let locks = Arc::clone(&self.locks);
        let begun = match request {
            Request::Acquire(request) => wire::session_acquire(request, self.key, &context)
                .map(|acquire| acquiring(locks.acquire(acquire))),
            Request::Release(request) => wire::lease(String::new(), &request.lease_id, &context)
                .map(|lease| once(release(locks, lease))),
            Request::KeepAlive(_) => {
                let namespace = self.namespace.clone();
                Ok(once(keep_alive(locks, namespace, self.key)))
            }
            Request::Open(_) | Request::Cancel(_) | Request::Close(_) => {
                let message = "not a request of this kind";
                Err(Error::new(ErrorCode::Internal, message))
            }
        };
        begun.unwrap_or_else(|error| Begun::Done(Err(error)))
    }
}

fn acquiring(acquiring: AcquiringLocks) -> Begun {
    let waiting = match acquiring {
        AcquiringLocks::Done(acquired) => {
            return Begun::Done(acquired.map(wire::session_acquired));
        }
        AcquiringLocks::Waiting(waiting) => waiting,
    };
    let answers = stream::unfold(Some(waiting), |waiting| async {
        let mut waiting = waiting?;
        Some(match waiting.next().await {
            Progress::Queued(place) => {
                let position = i64::from(place);
                let queued = Response::Queued(v1::LockSessionQueued { position });
                ((Ok(queued), false), Some(waiting))
            }
            Progress::Ended(ended) => ((ended.map(wire::session_acquired), true), None),
        })
    });
    Begun::Waits(answers.boxed())
}

fn once(answer: impl Future<Output = Result<Response>> + Send + 'static) -> Begun {
    Begun::Waits(stream::once(answer.map(|result| (result, true))).boxed())
}

async fn release(locks: Arc<dyn Locks>, lease: LeaseRef) -> Result<Response> {
    let scope = locks.release(lease).await?;
    let scope = Some(convert::scope(&scope));
    Ok(Response::Released(v1::LockServiceReleaseResponse { scope }))
}

async fn keep_alive(
    locks: Arc<dyn Locks>,
    namespace: Namespace,
    key: SessionKey,
) -> Result<Response> {
    let (remaining, scope) = locks.keep_session(namespace, key).await?;
    Ok(Response::Kept(v1::LockServiceKeepAliveResponse {
        lease_remaining: Some(convert::duration(remaining)),
        scope: Some(convert::scope(&scope)),
    }))
}
