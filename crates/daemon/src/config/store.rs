//! The settings of the shared store, as its driver takes them.

use super::Settings;
use super::effective::Effective;
use rustix::system::uname;
use trellis_redis::{ConfigError, Identity, RedisConfig, Secret};

/// Version of what daemons tell each other through the store.
const PROTOCOL: u32 = 1;

/// Where Redis is and how long to wait for it. A URL stands for host, port, database and credentials.
pub(super) fn redis(settings: &Settings, secrets: &Effective) -> Result<RedisConfig, ConfigError> {
    let redis = &settings.redis;
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let (url, password) = (
        secrets.secret("redis.url"),
        secrets.secret("redis.password"),
    );
    let mut config = if url.is_empty() {
        RedisConfig {
            host: redis.host.clone(),
            port: redis.port,
            db: redis.db,
            username: text(&redis.username),
            password: text(password).map(Secret::new),
            ..RedisConfig::default()
        }
    } else {
        RedisConfig::from_url(url)?
    };
    config.tls |= redis.tls;
    config.key_prefix.clone_from(&redis.key_prefix);
    config.connect_timeout = redis.connect_timeout.into();
    config.store_timeout = redis.store_timeout.into();
    config.max_in_flight = redis.max_in_flight;
    config.heartbeat_interval = redis.heartbeat_interval.into();
    config.death_after = redis.death_after.into();
    config.withhold_for = settings.limits.fallback_hold.into();
    Ok(config)
}

/// Who this daemon is to the others.
pub(super) fn identity(settings: &Settings) -> Identity {
    let daemon = match settings.daemon_id.as_str() {
        "" => made_up(),
        id => id.to_owned(),
    };
    let address = match settings.advertise.as_str() {
        "" => settings.listen.to_string(),
        address => address.to_owned(),
    };
    Identity {
        daemon,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: PROTOCOL,
        address,
    }
}

/// The host's name and a random number: unique however many daemons a host runs.
fn made_up() -> String {
    let host = uname();
    let host = host.nodename().to_string_lossy();
    let plain = |letter: &char| letter.is_ascii_alphanumeric() || "_-.".contains(*letter);
    let host: String = host.chars().filter(plain).take(64).collect();
    format!("{host}-{:08x}", rand::random::<u32>())
}
