//! Where the store is, how long to wait for it, and the bounds on its use.
//!
//! One primary is supported: a standalone server, with or without TLS.

use crate::Secret;
use fred::types::config::{Config, ServerConfig};
use std::time::Duration;

/// Settings of the connection to Redis. [`RedisConfig::validate`] tells what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfig {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database number.
    pub db: u8,
    /// ACL user; `None` is the default user.
    pub username: Option<String>,
    /// Password of that user.
    pub password: Option<Secret>,
    /// TLS, its roots taken from the system.
    pub tls: bool,
    /// What every key starts with. Deployments that share a Redis differ here.
    pub key_prefix: String,
    /// The longest time a connection may take to become usable.
    pub connect_timeout: Duration,
    /// The longest time a call may take, its wait for a place in flight included.
    pub store_timeout: Duration,
    /// How many calls may be in flight at once.
    pub max_in_flight: usize,
    /// Time between two beats of this daemon's heart.
    pub heartbeat_interval: Duration,
    /// How long a peer's heart must stand still before the peer is declared dead. Equal on all daemons.
    pub death_after: Duration,
    /// For how long after a member's last beat the others decide about limits without its share, which it may be
    /// spending by itself; zero: never. Equal on all daemons.
    pub withhold_for: Duration,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 6379,
            db: 0,
            username: None,
            password: None,
            tls: false,
            key_prefix: "trellis".to_owned(),
            connect_timeout: Duration::from_secs(2),
            store_timeout: Duration::from_millis(500),
            max_in_flight: 1024,
            heartbeat_interval: Duration::from_secs(1),
            death_after: Duration::from_secs(5),
            withhold_for: Duration::ZERO,
        }
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} = {value}: {allowed}")]
pub struct ConfigError {
    /// The setting's name.
    pub setting: &'static str,
    /// Its value, secrets hidden.
    pub value: String,
    /// What is allowed.
    pub allowed: &'static str,
}

/// What a `redis://` or `rediss://` URL says; `None` where it leaves the matter open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUrl {
    /// Host name or address, an IPv6 address without its brackets.
    pub host: String,
    /// TCP port: 6379 where the URL names none.
    pub port: u16,
    /// Database number.
    pub db: Option<u8>,
    /// ACL user.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Whether it is a `rediss://` URL.
    pub tls: bool,
}

impl RedisUrl {
    /// Reads a URL. The error shows nothing of it.
    pub fn parse(url: &str) -> Result<Self, ConfigError> {
        let bad = || ConfigError {
            setting: "url",
            // The URL may hold the password anywhere once it is malformed.
            value: "***".to_owned(),
            allowed: "must be redis://[user[:password]@]host[:port][/db], or rediss:// for TLS",
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
        let tls = match scheme {
            "redis" => false,
            "rediss" => true,
            _ => return Err(bad()),
        };
        // Parsed as plain text, since parsing a TLS URL would load the system's certificates.
        let parsed = Config::from_url_centralized(&format!("redis://{rest}")).map_err(|_| bad())?;
        let ServerConfig::Centralized { server } = parsed.server else {
            return Err(bad());
        };
        let host: &str = &server.host;
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        Ok(Self {
            host: bare.unwrap_or(host).to_owned(),
            port: server.port,
            db: parsed.database,
            username: parsed.username,
            password: parsed.password.map(Secret::new),
            tls,
        })
    }
}

impl RedisConfig {
    /// The defaults with host, port, database and credentials of a `redis://` or `rediss://` URL.
    pub fn from_url(url: &str) -> Result<Self, ConfigError> {
        let url = RedisUrl::parse(url)?;
        Ok(Self {
            host: url.host,
            port: url.port,
            db: url.db.unwrap_or(0),
            username: url.username,
            password: url.password,
            tls: url.tls,
            ..Self::default()
        })
    }

    /// Checks every setting; the error names the first that cannot be used.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check(
            !self.host.is_empty(),
            "host",
            &self.host,
            "must not be empty",
        )?;
        check(self.port != 0, "port", self.port, "must be 1 to 65535")?;
        check(
            self.username.is_none() || self.password.is_some(),
            "username",
            self.username.as_deref().unwrap_or_default(),
            "needs a password",
        )?;
        let prefix = &self.key_prefix;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        check(
            (1..=64).contains(&prefix.len()) && prefix.bytes().all(plain),
            "key_prefix",
            prefix,
            "must be 1 to 64 letters, digits, '_', '-' or '.'",
        )?;
        self.validate_times()?;
        check(
            (1..=65_536).contains(&self.max_in_flight),
            "max_in_flight",
            self.max_in_flight,
            "must be 1 to 65536",
        )
    }

    fn validate_times(&self) -> Result<(), ConfigError> {
        let millis = Duration::from_millis;
        let times = [
            (
                "connect_timeout",
                self.connect_timeout,
                10..=60_000,
                "must be 10 ms to 60 s",
            ),
            (
                "store_timeout",
                self.store_timeout,
                10..=10_000,
                "must be 10 ms to 10 s",
            ),
            (
                "heartbeat_interval",
                self.heartbeat_interval,
                10..=10_000,
                "must be 10 ms to 10 s",
            ),
        ];
        for (setting, time, range, allowed) in times {
            let within = (millis(*range.start())..=millis(*range.end())).contains(&time);
            check(within, setting, format_args!("{time:?}"), allowed)?;
        }
        check(
            self.withhold_for <= Duration::from_hours(24),
            "withhold_for",
            format_args!("{:?}", self.withhold_for),
            "must be at most 24 h",
        )?;
        let fits = self.death_after >= self.heartbeat_interval * 3
            && self.death_after > self.store_timeout * 2
            && self.death_after <= Duration::from_mins(10);
        check(
            fits,
            "death_after",
            format_args!("{:?}", self.death_after),
            "must be at least 3 heartbeat_interval, more than 2 store_timeout, at most 10 min",
        )
    }
}

fn check(
    holds: bool,
    setting: &'static str,
    value: impl std::fmt::Display,
    allowed: &'static str,
) -> Result<(), ConfigError> {
    if holds {
        return Ok(());
    }
    Err(ConfigError {
        setting,
        value: value.to_string(),
        allowed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_host_port_database_and_credentials() {
        let config = RedisConfig::from_url("rediss://ann:a%2Fb@redis.example:6380/3").unwrap();
        assert_eq!(
            (config.host.as_str(), config.port, config.db),
            ("redis.example", 6380, 3)
        );
        assert_eq!(config.username.as_deref(), Some("ann"));
        assert_eq!(config.password, Some(Secret::new("a/b")));
        assert!(config.tls);
        let six = RedisConfig::from_url("redis://[::1]:6380").unwrap();
        assert_eq!((six.host.as_str(), six.port), ("::1", 6380));
        let plain = RedisConfig::from_url("redis://localhost").unwrap();
        assert_eq!((plain.port, plain.db, plain.tls), (6379, 0, false));
        assert_eq!(plain.validate(), Ok(()));
    }

    #[test]
    fn neither_a_bad_url_nor_the_settings_print_the_password() {
        for bad in [
            "http://u:geheim@x",
            "redis://u:geheim@x/9999",
            "geheim",
            "redis-sentinel://u:geheim@x",
        ] {
            let error = RedisConfig::from_url(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("geheim"), "{bad}");
        }
        let config = RedisConfig::from_url("redis://u:geheim@x").unwrap();
        assert!(format!("{config:?}").contains("***"));
        assert!(!format!("{config:?}").contains("geheim"));
    }

    #[test]
    fn a_setting_out_of_range_is_refused_by_name() {
        type Break = fn(&mut RedisConfig);
        let cases: [(&str, Break); 8] = [
            ("host", |config| config.host.clear()),
            ("port", |config| config.port = 0),
            ("username", |config| {
                config.username = Some("ann".to_owned());
            }),
            ("key_prefix", |config| config.key_prefix = "a{b}".to_owned()),
            ("connect_timeout", |config| {
                config.connect_timeout = Duration::ZERO;
            }),
            ("store_timeout", |config| {
                config.store_timeout = Duration::from_secs(11);
            }),
            ("death_after", |config| {
                config.death_after = Duration::from_secs(2);
            }),
            ("max_in_flight", |config| config.max_in_flight = 0),
        ];
        for (setting, spoil) in cases {
            let mut config = RedisConfig::default();
            spoil(&mut config);
            assert_eq!(config.validate().unwrap_err().setting, setting);
        }
    }
}
