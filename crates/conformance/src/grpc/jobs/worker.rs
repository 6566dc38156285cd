//! A worker that takes up leases and wants no jobs.

use super::super::events::outgoing;
use super::{JobServiceClient, call, convert, error};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::transport::Channel;
use trellis_core::jobs::{Attempt, WatchAttempts};
use trellis_core::{Namespace, Result};
use trellis_proto::v1;
use v1::job_service_work_request::Request;
use v1::job_service_work_response::Response;

/// Its stream, which ends with it as that of a worker that dies.
struct Worker {
    told: Streaming<v1::JobServiceWorkResponse>,
    /// Open for as long as the stream is.
    _requests: mpsc::Sender<v1::JobServiceWorkRequest>,
}

impl Worker {
    async fn open(
        mut stub: JobServiceClient<Channel>,
        namespace: Namespace,
        attempts: &[Attempt],
    ) -> Result<Self> {
        let (requests, outgoing) = outgoing();
        let open = v1::WorkerOpen {
            namespace: namespace.into(),
            queue: "none".to_owned(),
            worker: "worker".to_owned(),
            credit: Some(v1::JobCredit { jobs: 0 }),
            lease: None,
            lease_ids: attempts.iter().copied().map(convert::lease_id).collect(),
        };
        let request = Some(Request::Open(open));
        let open = v1::JobServiceWorkRequest { id: 1, request };
        requests.try_send(open).unwrap();
        let mut told = call(stub.work(outgoing).await)?;
        let first = told.message().await.map_err(error)?.unwrap();
        assert!(matches!(first.response, Some(Response::Opened(_))));
        Ok(Self {
            told,
            _requests: requests,
        })
    }

    /// Waits until an attempt is over.
    async fn cancelled(mut self, attempt: Attempt) {
        let lease_id = convert::lease_id(attempt);
        while let Ok(Some(told)) = self.told.message().await {
            if let Some(Response::Cancel(cancel)) = told.response
                && cancel.lease_id == lease_id
            {
                return;
            }
        }
    }
}

/// Takes leases up and dies.
pub(super) async fn come_and_go(
    stub: JobServiceClient<Channel>,
    namespace: Namespace,
    attempts: Vec<Attempt>,
) {
    Worker::open(stub, namespace, &attempts).await.unwrap();
}

/// Takes leases up until they are over, each by a worker of its own.
pub(super) struct Watched {
    stub: JobServiceClient<Channel>,
    namespace: Namespace,
    waiting: Vec<Pin<Box<dyn Future<Output = Attempt> + Send>>>,
}

impl Watched {
    pub fn new(stub: JobServiceClient<Channel>, namespace: Namespace) -> Self {
        Self {
            stub,
            namespace,
            waiting: Vec::new(),
        }
    }
}

impl WatchAttempts for Watched {
    fn add(&mut self, attempt: Attempt) {
        let (stub, namespace) = (self.stub.clone(), self.namespace.clone());
        self.waiting.push(Box::pin(async move {
            let worker = Worker::open(stub, namespace, &[attempt]).await;
            worker.unwrap().cancelled(attempt).await;
            attempt
        }));
    }

    fn poll_over(&mut self, task: &mut Context<'_>) -> Poll<Vec<Attempt>> {
        let mut over = Vec::new();
        self.waiting
            .retain_mut(|waiting| match waiting.as_mut().poll(task) {
                Poll::Ready(attempt) => {
                    over.push(attempt);
                    false
                }
                Poll::Pending => true,
            });
        if over.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(over)
        }
    }
}
