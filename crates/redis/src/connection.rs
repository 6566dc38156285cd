//! One TCP connection to Redis: a fred client without a reconnect policy.
//!
//! A client that reconnects on its own sends what was queued meanwhile on the new connection, before anybody
//! could attach it. So here a client lives exactly as long as its connection, and a broken one is replaced
//! by a new client. What was handed to a connection is written to that connection or never.
//!
//! A command is bounded by the driver's own timeout. Its future is dropped early in one case only: when the
//! connection's task has ended, after which nothing can be written any more.

use crate::error::CallError;
use crate::{ConfigError, RedisConfig, Refusal, Reply};
use fred::clients::Client;
use fred::error::{Error as FredError, ErrorKind};
use fred::interfaces::ClientLike;
use fred::types::config::{
    Config, ConnectionConfig, Options, PerformanceConfig, ServerConfig, TcpConfig, TlsConnector,
};
use fred::types::{ClusterHash, ConnectHandle, CustomCommand, RespVersion, Value};
use std::pin::pin;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

/// Unacknowledged bytes end a connection after this long, so that a full socket cannot hold up the driver.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(1);
/// How many messages a subscriber may lag behind.
const SUBSCRIBER_BACKLOG: usize = 4096;

/// The driver's settings, made once.
#[derive(Clone)]
pub(crate) struct Driver {
    settings: Config,
    tuning: ConnectionConfig,
    performance: PerformanceConfig,
}

/// A connection that is up, or was.
pub(crate) struct Connection {
    client: Client,
    task: AbortHandle,
    ended: CancellationToken,
}

/// Waits for the end of a connection.
pub(crate) struct End {
    task: ConnectHandle,
    ended: CancellationToken,
}

impl Connection {
    /// Opens a connection: TCP, TLS, credentials, database; nothing else is sent.
    pub(crate) async fn open(driver: &Driver) -> Result<(Self, End), FredError> {
        let Driver {
            settings,
            tuning,
            performance,
        } = driver.clone();
        let connect_timeout = tuning.connection_timeout;
        let client = Client::new(settings, Some(performance), Some(tuning), None);
        let mut connected = pin!(client.wait_for_connect());
        // Listens before the task starts, which may otherwise be done before anybody listens.
        if let std::task::Poll::Ready(result) = futures::poll!(connected.as_mut()) {
            result?;
        }
        let task = client.connect();
        let ended = CancellationToken::new();
        let connection = Self {
            task: task.abort_handle(),
            client: client.clone(),
            ended: ended.clone(),
        };
        match tokio::time::timeout(connect_timeout, connected).await {
            Ok(result) => result?,
            // Returning drops the connection, which aborts its task: no write has been handed to it.
            Err(_) => {
                return Err(FredError::new(
                    ErrorKind::Timeout,
                    "no answer while connecting",
                ));
            }
        }
        Ok((connection, End { task, ended }))
    }

    /// Sends a command and waits for its answer, for at most so long.
    pub(crate) async fn ask(
        &self,
        command: &'static str,
        args: Vec<Value>,
        within: Duration,
    ) -> Result<Reply, CallError> {
        let options = Options {
            timeout: Some(within),
            max_attempts: Some(1),
            fail_fast: true,
            ..Options::default()
        };
        let client = self.client.with_options(&options);
        let command = CustomCommand::new_static(command, ClusterHash::FirstKey, false);
        tokio::select! {
            biased;
            frame = client.custom_raw(command, args) => match frame {
                Ok(frame) => Reply::from_frame(frame)
                    .map_err(|message| Refusal::from_reply(message).into()),
                Err(error) => Err(CallError::from_driver(&error)),
            },
            () = self.ended.cancelled() => Err(CallError::Unknown("the connection was lost")),
        }
    }

    /// The driver's client, to subscribe with.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Ends the connection at once; calls in flight end as unknown once [`End::wait`] has seen it.
    pub(crate) fn abort(&self) {
        self.task.abort();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl End {
    /// Returns when the connection has ended, for whatever reason. May be called again.
    pub(crate) async fn wait(&mut self) {
        if !self.ended.is_cancelled() {
            if let Ok(Err(error)) = (&mut self.task).await {
                tracing::debug!(%error, "a Redis connection ended");
            }
            self.ended.cancel();
        }
    }
}

impl Driver {
    /// Translates the settings; the system's certificates are loaded here.
    pub(crate) fn new(config: &RedisConfig) -> Result<Self, ConfigError> {
        let tls = config.tls.then(TlsConnector::default_rustls).transpose();
        let settings = Config {
            fail_fast: true,
            username: config.username.clone(),
            password: config
                .password
                .as_ref()
                .map(|secret| secret.expose().to_owned()),
            server: ServerConfig::new_centralized(config.host.as_str(), config.port),
            version: RespVersion::RESP3,
            database: Some(config.db),
            tls: tls
                .map_err(|error| no_certificates(&error))?
                .map(Into::into),
            ..Config::default()
        };
        // `max_command_buffer_len` stays unset: at the bound it leaks its counter and then hangs every call.
        let tuning = ConnectionConfig {
            connection_timeout: config.connect_timeout,
            internal_command_timeout: config.connect_timeout,
            max_command_attempts: 1,
            tcp: TcpConfig {
                nodelay: Some(true),
                user_timeout: Some(TCP_USER_TIMEOUT),
                ..TcpConfig::default()
            },
            ..ConnectionConfig::default()
        };
        let performance = PerformanceConfig {
            default_command_timeout: config.store_timeout,
            broadcast_channel_capacity: SUBSCRIBER_BACKLOG,
            ..PerformanceConfig::default()
        };
        Ok(Self {
            settings,
            tuning,
            performance,
        })
    }
}

fn no_certificates(error: &FredError) -> ConfigError {
    ConfigError {
        setting: "tls",
        value: error.details().to_owned(),
        allowed: "needs readable root certificates on this system",
    }
}
