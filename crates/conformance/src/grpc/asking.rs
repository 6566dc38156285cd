//! Requests on one stream, each answered under its id.

use super::events::outgoing;
use super::locks::error;
use crate::spawn;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

/// The sending half of a stream.
pub(super) struct Asking<Q, A> {
    requests: mpsc::Sender<Q>,
    pending: Arc<Mutex<HashMap<u64, oneshot::Sender<A>>>>,
    ids: AtomicU64,
}

impl<Q: Send + 'static, A: Send + 'static> Asking<Q, A> {
    /// Opens a stream whose first message is this; `id` is that of an answer.
    pub(super) fn start<F>(
        first: Q,
        open: impl FnOnce(ReceiverStream<Q>) -> F + Send + 'static,
        id: fn(&A) -> u64,
    ) -> Self
    where
        F: Future<Output = Result<Response<Streaming<A>>, Status>> + Send,
    {
        let (requests, outgoing) = outgoing();
        assert!(requests.try_send(first).is_ok());
        let pending = Arc::new(Mutex::new(HashMap::<u64, oneshot::Sender<A>>::new()));
        let answered = pending.clone();
        spawn(async move {
            // The stream ends with the server, which a case that has ended does not await.
            let Ok(answers) = open(outgoing).await else {
                return;
            };
            let mut answers = answers.into_inner();
            while let Ok(Some(answer)) = answers.message().await.map_err(error) {
                let reply = answered.lock().remove(&id(&answer));
                // Whoever does not listen any more has given up.
                let _ = reply.map(|reply| reply.send(answer));
            }
        });
        Self {
            requests,
            pending,
            ids: AtomicU64::new(1),
        }
    }

    /// Sends the request of an id; its answer.
    pub(super) fn ask(&self, request: impl FnOnce(u64) -> Q) -> oneshot::Receiver<A> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.pending.lock().insert(id, reply);
        assert!(self.requests.try_send(request(id)).is_ok());
        answer
    }
}
