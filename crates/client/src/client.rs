//! [`Client`]: a connection to a daemon, shared by every handle made from it.

use std::sync::Arc;
use std::time::Duration;

use tonic::Request;
use tonic::transport::Channel;
use trellis_proto::v1::cache_service_client::CacheServiceClient;
use trellis_proto::v1::event_service_client::EventServiceClient;
use trellis_proto::v1::job_service_client::JobServiceClient;
use trellis_proto::v1::limit_service_client::LimitServiceClient;
use trellis_proto::v1::lock_service_client::LockServiceClient;
use trellis_proto::v1::pipeline_service_client::PipelineServiceClient;
use trellis_proto::v1::status_service_client::StatusServiceClient;
use trellis_proto::v1::{GetStatusRequest, SettleRequest};

use crate::background::Releases;
use crate::builder::ClientBuilder;
use crate::cache::Cache;
use crate::convert::MAX_DURATION;
use crate::error::{Error, Result};
use crate::events::{Events, Topic};
use crate::jobs::{Jobs, Queue};
use crate::limits::Limits;
use crate::locks::Locks;
use crate::pipelines::Pipelines;
use crate::status::DaemonStatus;

/// A connection to a daemon. Clones share it.
///
/// The connection is made again by itself when it broke. A call that finds no daemon fails at once
/// with [`ErrorKind::Unreachable`](crate::ErrorKind::Unreachable); nothing is retried unasked.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    namespace: Arc<str>,
}

impl Client {
    /// Connects to the daemon at `address`, which is of the form `http://host:port` (for example
    /// `http://127.0.0.1:7117`), with default settings. Errors as [`ClientBuilder::connect`].
    ///
    /// # Panics
    /// Outside a Tokio runtime, as every way to make a client does.
    pub async fn connect(address: impl Into<String>) -> Result<Self> {
        Self::builder(address).connect().await
    }

    /// Starts from the default settings. The address is of the form `http://host:port`.
    pub fn builder(address: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(address)
    }

    /// A client with default settings over a channel of the caller's, for example an in-process one.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    #[must_use]
    pub fn from_channel(channel: Channel) -> Self {
        ClientBuilder::new("").over(channel)
    }

    pub(crate) fn assemble(shared: Shared, namespace: String) -> Self {
        Self {
            shared: Arc::new(shared),
            namespace: namespace.into(),
        }
    }

    /// The quotas of the client's default namespace.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits::new(self.shared.clone(), self.namespace.clone())
    }

    /// The locks of the client's default namespace.
    #[must_use]
    pub fn locks(&self) -> Locks {
        Locks::new(self.shared.clone(), self.namespace.clone())
    }

    /// The pipelines of the client's default namespace.
    #[must_use]
    pub fn pipelines(&self) -> Pipelines {
        Pipelines::new(self.shared.clone(), self.namespace.clone())
    }

    /// The cache of a namespace.
    #[must_use]
    pub fn cache(&self, namespace: impl Into<String>) -> Cache {
        Cache::new(self.shared.clone(), namespace.into())
    }

    /// The topics of the client's default namespace.
    #[must_use]
    pub fn events(&self) -> Events {
        Events::new(self.shared.clone(), self.namespace.clone())
    }

    /// A topic of the client's default namespace.
    #[must_use]
    pub fn topic(&self, name: impl Into<String>) -> Topic {
        self.events().topic(name)
    }

    /// The jobs of the client's default namespace.
    #[must_use]
    pub fn jobs(&self) -> Jobs {
        Jobs::new(self.shared.clone(), self.namespace.clone())
    }

    /// A queue of jobs of the client's default namespace.
    #[must_use]
    pub fn queue(&self, name: impl Into<String>) -> Queue {
        self.jobs().queue(name)
    }

    /// What the daemon is and how it does.
    pub async fn status(&self) -> Result<DaemonStatus> {
        let request = self.shared.request(GetStatusRequest {}, Duration::ZERO);
        self.shared
            .status
            .clone()
            .get_status(request)
            .await?
            .into_inner()
            .try_into()
    }
}

/// What every handle of one client shares.
#[derive(Debug)]
pub(crate) struct Shared {
    limits: LimitServiceClient<Channel>,
    cache: CacheServiceClient<Channel>,
    events: EventServiceClient<Channel>,
    jobs: JobServiceClient<Channel>,
    locks: LockServiceClient<Channel>,
    pipelines: PipelineServiceClient<Channel>,
    status: StatusServiceClient<Channel>,
    releases: Releases,
    timeout: Duration,
    max_message_bytes: usize,
}

impl Shared {
    /// Clients of every service over one channel.
    pub(crate) fn new(channel: Channel, timeout: Duration, max_message_bytes: usize) -> Self {
        let timeout = timeout.min(MAX_DURATION);
        let bytes = max_message_bytes;
        let limits = LimitServiceClient::new(channel.clone())
            .max_decoding_message_size(bytes)
            .max_encoding_message_size(bytes);
        let locks = LockServiceClient::new(channel.clone())
            .max_decoding_message_size(bytes)
            .max_encoding_message_size(bytes);
        let pipelines = PipelineServiceClient::new(channel.clone())
            .max_decoding_message_size(bytes)
            .max_encoding_message_size(bytes);
        let cache = CacheServiceClient::new(channel.clone())
            .max_decoding_message_size(bytes)
            .max_encoding_message_size(bytes);
        let events = EventServiceClient::new(channel.clone())
            .max_decoding_message_size(bytes)
            .max_encoding_message_size(bytes);
        let jobs = JobServiceClient::new(channel.clone())
            .max_decoding_message_size(bytes)
            .max_encoding_message_size(bytes);
        let status = StatusServiceClient::new(channel)
            .max_decoding_message_size(bytes)
            .max_encoding_message_size(bytes);
        Self {
            releases: Releases::start(limits.clone(), timeout),
            limits,
            cache,
            events,
            jobs,
            locks,
            pipelines,
            status,
            timeout,
            max_message_bytes,
        }
    }

    pub(crate) fn limits(&self) -> LimitServiceClient<Channel> {
        self.limits.clone()
    }

    pub(crate) fn locks(&self) -> LockServiceClient<Channel> {
        self.locks.clone()
    }

    pub(crate) fn pipelines(&self) -> PipelineServiceClient<Channel> {
        self.pipelines.clone()
    }

    pub(crate) fn cache(&self) -> CacheServiceClient<Channel> {
        self.cache.clone()
    }

    pub(crate) fn events(&self) -> EventServiceClient<Channel> {
        self.events.clone()
    }

    pub(crate) fn jobs(&self) -> JobServiceClient<Channel> {
        self.jobs.clone()
    }

    pub(crate) fn max_message_bytes(&self) -> usize {
        self.max_message_bytes
    }

    pub(crate) fn release(&self, release: SettleRequest) {
        self.releases.push(release);
    }

    /// The deadline of a call that the daemon may hold back for `max_wait`.
    pub(crate) fn timeout(&self, max_wait: Duration) -> Duration {
        // More would not fit into a `grpc-timeout` header, and tonic would panic.
        self.timeout.saturating_add(max_wait).min(MAX_DURATION)
    }

    /// What opening a stream comes to, within the call timeout. It has no gRPC deadline, which would end the stream.
    pub(crate) async fn opened<T, E>(
        &self,
        opening: impl Future<Output = std::result::Result<T, E>>,
    ) -> Result<T>
    where
        Error: From<E>,
    {
        let late = |_| Error::unreachable("the stream was not opened within the call timeout");
        let opened = tokio::time::timeout(self.timeout(Duration::ZERO), opening).await;
        Ok(opened.map_err(late)??)
    }

    /// A unary request with its deadline set.
    pub(crate) fn request<T>(&self, message: T, max_wait: Duration) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout(max_wait));
        request
    }
}
