//! The floor of locks on Redis: a plain lock, called straight through the driver that the daemon has, with no
//! daemon and no gRPC between. It has no line, no session and no token that rises.

use fred::clients::Client;
use fred::interfaces::ClientLike as _;
use fred::types::config::{Config, ConnectionConfig, ServerConfig, TcpConfig};
use fred::types::{ClusterHash, CustomCommand, RespVersion, Value};
use std::time::Instant;
use trellis_tests::bench::Result;
use trellis_tests::bench::rounds::{Done, now};

const LOCK: &str = "plain-lock";

/// As long as the claim of a lease.
const TOKENS: [&str; 2] = [
    "0123456789abcdef0123456789abcdef",
    "fedcba9876543210fedcba9876543210",
];

/// Longer than any round.
const TTL_MS: &str = "60000";

/// A connection to Redis.
pub struct Direct {
    client: Client,
    release: String,
    pass_on: String,
}

impl Direct {
    /// Connects to the Redis on this port and loads the scripts.
    pub async fn open(port: u16) -> Result<Self> {
        let config = Config {
            version: RespVersion::RESP3,
            server: ServerConfig::new_centralized("127.0.0.1", port),
            ..Config::default()
        };
        let connection = ConnectionConfig {
            tcp: TcpConfig {
                nodelay: Some(true),
                ..TcpConfig::default()
            },
            ..ConnectionConfig::default()
        };
        let client = Client::new(config, None, Some(connection), None);
        client.init().await?;
        let load = async |text| -> Result<String> {
            let digest = ask(&client, "SCRIPT", &["LOAD", text]).await?;
            Ok(digest.into_string().ok_or("a script has no digest")?)
        };
        Ok(Self {
            release: load(include_str!("release.lua")).await?,
            pass_on: load(include_str!("pass_on.lua")).await?,
            client,
        })
    }

    /// The lock taken and given back again and again, each time timed: two calls.
    pub async fn cycles(&self, deadline: Instant) -> Result<Done> {
        let token = TOKENS[0];
        let mut done = Done::default();
        let mut sent = now();
        while sent < deadline {
            let answer = self.ask("SET", &[LOCK, token, "NX", "PX", TTL_MS]).await?;
            if answer.as_str().as_deref() != Some("OK") {
                return Err("a plain lock is not free".into());
            }
            self.run(&[&self.release, "1", LOCK, token]).await?;
            let released = now();
            done.add(released - sent);
            sent = released;
        }
        Ok(done)
    }

    /// The lock handed on and back again and again: one call of a script each.
    pub async fn hand_offs(&self, deadline: Instant) -> Result<Done> {
        let [mut holder, mut next] = TOKENS;
        self.ask("SET", &[LOCK, holder, "PX", TTL_MS]).await?;
        let mut done = Done::default();
        let mut sent = now();
        while sent < deadline {
            self.run(&[&self.pass_on, "1", LOCK, holder, next, TTL_MS])
                .await?;
            (holder, next) = (next, holder);
            let passed = now();
            done.add(passed - sent);
            sent = passed;
        }
        self.ask("DEL", &[LOCK]).await?;
        Ok(done)
    }

    async fn ask(&self, command: &'static str, args: &[&str]) -> Result<Value> {
        ask(&self.client, command, args).await
    }

    /// Runs a script, which must find the lock its holder's.
    async fn run(&self, args: &[&str]) -> Result<()> {
        match self.ask("EVALSHA", args).await? {
            Value::Integer(1) => Ok(()),
            other => Err(format!("a plain lock is lost: {other:?}").into()),
        }
    }
}

async fn ask(client: &Client, command: &'static str, args: &[&str]) -> Result<Value> {
    let command = CustomCommand::new_static(command, ClusterHash::FirstKey, false);
    let args: Vec<Value> = args.iter().map(|&arg| Value::from(arg)).collect();
    Ok(client.custom(command, args).await?)
}
