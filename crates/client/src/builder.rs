//! The settings of a [`Client`].

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::address;
use crate::client::{Client, Shared};
use crate::error::{Error, Result, in_one_line};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
const USER_AGENT: &str = concat!("trellis-client/", env!("CARGO_PKG_VERSION"));

/// The settings of a client. Made by [`Client::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it connects"]
pub struct ClientBuilder {
    address: String,
    namespace: String,
    connect_timeout: Duration,
    call_timeout: Duration,
    keep_alive: Duration,
    max_message_bytes: usize,
}

impl ClientBuilder {
    pub(crate) fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            namespace: String::new(),
            connect_timeout: CONNECT_TIMEOUT,
            call_timeout: CALL_TIMEOUT,
            keep_alive: KEEP_ALIVE,
            max_message_bytes: MAX_MESSAGE_BYTES,
        }
    }

    /// The namespace of [`Client::limits`]. Default: the daemon's, `default`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// How long making a connection may take. Default 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The deadline of every call; a waiting acquire has its `max_wait` in addition. Default 10 s.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// How often an HTTP/2 ping is sent, idle or not. A connection whose ping is not answered within
    /// 5 s is given up. Default 15 s.
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.keep_alive = interval;
        self
    }

    /// The largest message sent or accepted, in bytes. Default 4 MiB; a daemon sends at most 3.5 MiB.
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// Connects, or fails with [`ErrorKind::Unreachable`](crate::ErrorKind::Unreachable) (no daemon)
    /// or [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) (the address is not of the
    /// form `http://host:port`; nothing was tried).
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub async fn connect(self) -> Result<Client> {
        let connecting = self.endpoint()?.connect().await;
        let channel = connecting.map_err(|error| Error::unreachable(in_one_line(&error)))?;
        Ok(self.over(channel))
    }

    /// Connects at the first call, which fails when there is no daemon. An address that is not of the
    /// form `http://host:port` fails here, with
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest).
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn connect_lazy(self) -> Result<Client> {
        let channel = self.endpoint()?.connect_lazy();
        Ok(self.over(channel))
    }

    /// A client over a channel of the caller's. The settings of the connection itself (address,
    /// connect timeout, keep-alive) are the channel's own.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    #[must_use]
    pub fn over(self, channel: Channel) -> Client {
        let shared = Shared::new(channel, self.call_timeout, self.max_message_bytes);
        Client::assemble(shared, self.namespace)
    }

    fn endpoint(&self) -> Result<Endpoint> {
        Ok(address::endpoint(&self.address)?
            .user_agent(USER_AGENT)
            .map_err(|error| Error::invalid_request(in_one_line(&error)))?
            .connect_timeout(self.connect_timeout)
            .http2_keep_alive_interval(self.keep_alive)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true))
    }
}
