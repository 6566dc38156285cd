//! One session stream: requests by their ids, and news.

use super::super::pipe::{Cut, PipeServer};
use super::{convert, streaming};
use crate::spawn;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;
use tonic::Streaming;
use trellis_core::locks::{
    Progress, SessionFeed, SessionId, SessionKey, SessionNews, SessionState, WaitingLocks,
};
use trellis_core::{Error, ErrorCode, Micros, Result, Scope};
use trellis_proto::v1::lock_service_client::LockServiceClient;
use trellis_proto::v1::lock_service_session_request::Request;
use trellis_proto::v1::lock_service_session_response::Response;
use trellis_proto::v1::{self, LockServiceSessionRequest, LockServiceSessionResponse};

/// More than a case leaves unread.
const QUEUE: usize = 1_024;

type Answers = mpsc::Sender<Result<Response>>;

/// Who awaits answers; the error of later requests once the stream has ended.
type Pending = Arc<Mutex<std::result::Result<HashMap<u64, Answers>, Error>>>;

/// The sending half of a session stream.
pub(super) struct Link {
    requests: mpsc::Sender<LockServiceSessionRequest>,
    pending: Pending,
    ids: AtomicU64,
    cut: Cut,
}

impl Link {
    /// Opens a stream over a connection of its own; also what was opened, and the news.
    pub(super) async fn open(
        server: &PipeServer,
        open: v1::LockSessionOpen,
    ) -> Result<(Arc<Self>, SessionState, mpsc::Receiver<SessionNews>)> {
        let (channel, cut) = server.channel();
        let (requests, outgoing) = mpsc::channel(QUEUE);
        let first = LockServiceSessionRequest {
            id: 1,
            request: Some(Request::Open(open)),
        };
        requests.send(first).await.unwrap();
        let mut stub = LockServiceClient::new(channel);
        let mut answers = convert::call(stub.session(streaming(outgoing)).await)?;
        let mut held = Vec::new();
        let opened = loop {
            let answer = answers.message().await.map_err(convert::error)?;
            let Some(Response::Opened(opened)) = answer.unwrap().response else {
                panic!("the first answer is to `open`");
            };
            held.extend(opened.held.clone().into_iter().map(convert::held));
            if !opened.more_held {
                break opened;
            }
        };
        let state = SessionState {
            key: SessionKey {
                id: SessionId::parse(&opened.session_secret, "session_secret")?,
                attachment: next_attachment(),
            },
            ttl: convert::micros(opened.ttl),
            remaining: convert::micros(opened.lease_remaining),
            held,
            generation: u64::try_from(opened.generation).unwrap(),
            scope: convert::scope(opened.scope),
        };
        let pending: Pending = Arc::new(Mutex::new(Ok(HashMap::new())));
        let (news, feed) = mpsc::channel(QUEUE);
        spawn(read(answers, pending.clone(), news));
        let link = Self {
            requests,
            pending,
            ids: AtomicU64::new(2),
            cut,
        };
        Ok((Arc::new(link), state, feed))
    }

    async fn send(&self, request: Request) -> Result<(u64, mpsc::Receiver<Result<Response>>)> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (answers, receiver) = mpsc::channel(QUEUE);
        match &mut *self.pending.lock() {
            Ok(pending) => pending.insert(id, answers),
            Err(over) => return Err(over.clone()),
        };
        let request = Some(request);
        // Fails when the stream has ended, and then the reader tells.
        let _ = self
            .requests
            .send(LockServiceSessionRequest { id, request })
            .await;
        Ok((id, receiver))
    }

    async fn call(&self, request: Request) -> Result<Response> {
        let (_, mut answers) = self.send(request).await?;
        answers.recv().await.unwrap()
    }

    pub(super) async fn keep_alive(&self) -> Result<(Micros, Scope)> {
        match self
            .call(Request::KeepAlive(v1::LockSessionKeepAlive {}))
            .await?
        {
            Response::Kept(kept) => Ok((
                convert::micros(kept.lease_remaining),
                convert::scope(kept.scope),
            )),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn close(&self) -> Result<usize> {
        match self.call(Request::Close(v1::LockSessionClose {})).await? {
            Response::Closed(closed) => Ok(convert::count(closed.released)),
            other => panic!("{other:?}"),
        }
    }

    /// Breaks the stream, as the death of its client would.
    pub(super) fn cut(&self) {
        self.cut.cut();
    }
}

/// The port's attachments are this side's to tell apart.
fn next_attachment() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn read(
    mut answers: Streaming<LockServiceSessionResponse>,
    pending: Pending,
    news: mpsc::Sender<SessionNews>,
) {
    let over = loop {
        let LockServiceSessionResponse { id, response } = match answers.message().await {
            Ok(Some(answer)) => answer,
            Ok(None) => break Error::new(ErrorCode::LeaseLost, "the session was closed"),
            Err(status) => break convert::error(status),
        };
        let result = match response.unwrap() {
            Response::Lost(lost) => {
                let lease = convert::lease(&lost.lease_id);
                let reason = convert::lost(lost);
                news.send(SessionNews::Lost { lease, reason })
                    .await
                    .unwrap();
                continue;
            }
            Response::Error(status) => Err(convert::item_error(&status)),
            response => Ok(response),
        };
        let caller = {
            let mut pending = pending.lock();
            let callers = pending.as_mut().unwrap();
            if matches!(result, Ok(Response::Queued(_))) {
                callers.get(&id).cloned()
            } else {
                callers.remove(&id)
            }
        };
        if let Some(caller) = caller {
            // Whoever does not listen any more has taken its request back.
            let _ = caller.send(result).await;
        }
    };
    let callers = std::mem::replace(&mut *pending.lock(), Err(over.clone()));
    for caller in callers.unwrap().into_values() {
        let _ = caller.send(Err(over.clone())).await;
    }
    let _ = news.send(SessionNews::Ended(over)).await;
}

/// What the session is told.
pub(super) struct Feed(pub mpsc::Receiver<SessionNews>);

#[async_trait]
impl SessionFeed for Feed {
    async fn next(&mut self) -> SessionNews {
        match self.0.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }
}

/// An acquire of the session. Dropped before its end it is cancelled.
pub(super) struct Acquire {
    link: Arc<Link>,
    unsent: Option<v1::LockSessionAcquire>,
    sent: Option<(u64, mpsc::Receiver<Result<Response>>)>,
    ended: bool,
}

impl Acquire {
    pub(super) fn new(link: Arc<Link>, request: v1::LockSessionAcquire) -> Self {
        Self {
            link,
            unsent: Some(request),
            sent: None,
            ended: false,
        }
    }
}

#[async_trait]
impl WaitingLocks for Acquire {
    async fn next(&mut self) -> Progress {
        if let Some(request) = self.unsent.take() {
            match self.link.send(Request::Acquire(request)).await {
                Ok(sent) => self.sent = Some(sent),
                Err(error) => return Progress::Ended(Err(error)),
            }
        }
        let (_, answers) = self.sent.as_mut().expect("nothing comes after the end");
        let acquired = match answers.recv().await.unwrap() {
            Ok(Response::Queued(queued)) => {
                return Progress::Queued(u32::try_from(queued.position).unwrap());
            }
            Ok(Response::Granted(granted)) => Ok(convert::granted(granted)),
            Ok(Response::Refused(refused)) => Ok(convert::refused(refused)),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        };
        self.ended = true;
        Progress::Ended(acquired)
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        if let Some((id, _)) = self.sent.as_ref().filter(|_| !self.ended) {
            let request = Some(Request::Cancel(v1::LockSessionCancel {}));
            let _ = self
                .link
                .requests
                .try_send(LockServiceSessionRequest { id: *id, request });
        }
    }
}
