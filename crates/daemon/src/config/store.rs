//! The settings of the shared store, as its driver takes them, and what they break together.
//!
//! A URL stands for host and port, and for what else it names; what it leaves open is taken from the
//! settings beside it. A setting that contradicts the URL is refused: whoever wrote it meant it.

use super::Settings;
use super::effective::Effective;
use super::error::Problem;
use rustix::system::uname;
use std::net::SocketAddr;
use trellis_redis::{ConfigError, Identity, RedisConfig, RedisUrl, Secret};

/// Version of what daemons tell each other through the store.
const PROTOCOL: u32 = 1;

/// Where Redis is and how long to wait for it.
pub(super) fn redis(settings: &Settings, secrets: &Effective) -> Result<RedisConfig, ConfigError> {
    let redis = &settings.redis;
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let mut config = RedisConfig {
        host: redis.host.clone(),
        port: redis.port,
        db: redis.db,
        username: text(&redis.username),
        password: text(secrets.secret("redis.password")).map(Secret::new),
        tls: redis.tls,
        key_prefix: redis.key_prefix.clone(),
        connect_timeout: redis.connect_timeout.into(),
        store_timeout: redis.store_timeout.into(),
        max_in_flight: redis.max_in_flight,
        heartbeat_interval: redis.heartbeat_interval.into(),
        death_after: redis.death_after.into(),
        withhold_for: settings.limits.fallback_hold.into(),
    };
    if let Some(url) = url(secrets)? {
        config.host = url.host;
        config.port = url.port;
        config.db = url.db.unwrap_or(config.db);
        config.username = url.username.or(config.username);
        config.password = url.password.or(config.password);
        config.tls |= url.tls;
    }
    Ok(config)
}

fn url(secrets: &Effective) -> Result<Option<RedisUrl>, ConfigError> {
    match secrets.secret("redis.url") {
        "" => Ok(None),
        url => RedisUrl::parse(url).map(Some),
    }
}

/// Who this daemon is to the others when it listens on this address.
pub(super) fn identity(settings: &Settings, listens_on: SocketAddr) -> Identity {
    let daemon = match settings.daemon_id.as_str() {
        "" => made_up(),
        id => id.to_owned(),
    };
    let address = match settings.advertise.as_str() {
        "" => listens_on.to_string(),
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

/// Everything that the settings of the distributed mode break.
pub(super) fn broken(settings: &Settings, effective: &Effective) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse = |key: &str, allowed: &str| {
        if !effective.is_refused(key) {
            problems.push(effective.problem(key, allowed));
        }
    };
    let told = |key| effective.is_set(key) || effective.is_refused(key);
    let by_url = !effective.secret("redis.url").is_empty() || effective.is_refused("redis.url");
    if !by_url && !told("redis.host") && !told("redis.port") {
        let allowed = "needs to know where Redis is: set REDIS_HOST or REDIS_URL (in a file redis.host or \
                       redis.url)";
        refuse("use_distributed", allowed);
    }
    if is_nowhere(&identity(settings, settings.listen).address) {
        let key = if settings.advertise.is_empty() {
            "listen"
        } else {
            "advertise"
        };
        let allowed = "names no host, so the other daemons cannot reach this one under it: set \
                       TRELLIS_ADVERTISE (in a file advertise) to host:port";
        refuse(key, allowed);
    }
    match redis(settings, effective) {
        Ok(redis) => {
            let valid = redis
                .validate()
                .and_then(|()| identity(settings, settings.listen).validate());
            if let Err(error) = valid {
                refuse(&key(&error), error.allowed);
            }
        }
        Err(error) => refuse(&key(&error), error.allowed),
    }
    problems.extend(contradictions(settings, effective));
    problems
}

fn key(error: &ConfigError) -> String {
    match error.setting {
        "daemon_id" => "daemon_id".to_owned(),
        setting => format!("redis.{setting}"),
    }
}

/// Whether it is an address of all of a host's interfaces, or of none.
fn is_nowhere(address: &str) -> bool {
    let address = address.parse::<SocketAddr>();
    address.is_ok_and(|address| address.ip().to_canonical().is_unspecified())
}

/// Settings that say something else than the URL.
fn contradictions(settings: &Settings, effective: &Effective) -> Vec<Problem> {
    let Ok(Some(url)) = url(effective) else {
        return Vec::new();
    };
    let redis = &settings.redis;
    let password = Secret::new(effective.secret("redis.password"));
    let differ = [
        ("redis.host", redis.host != url.host),
        ("redis.port", redis.port != url.port),
        ("redis.db", url.db.is_some_and(|db| db != redis.db)),
        (
            "redis.username",
            url.username.is_some_and(|user| user != redis.username),
        ),
        (
            "redis.password",
            url.password.is_some_and(|secret| secret != password),
        ),
        ("redis.tls", url.tls && !redis.tls),
    ];
    let allowed = format!(
        "contradicts {}: leave one of them out",
        effective.place("redis.url")
    );
    differ
        .into_iter()
        .filter(|(key, differs)| *differs && effective.is_meant(key))
        .map(|(key, _)| effective.problem(key, &allowed))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{problem, with_environment};
    use super::*;
    use crate::config::{Config, ConfigError, Sources};

    fn distributed(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let on = [("USE_DISTRIBUTED", "true")];
        with_environment(&[&on, variables].concat())
    }

    fn settled(variables: &[(&str, &str)]) -> RedisConfig {
        let config = distributed(variables).unwrap();
        config.store(config.settings.listen).unwrap().0
    }

    #[test]
    fn without_any_address_the_mode_is_refused_with_what_to_set() {
        assert_eq!(
            problem(distributed(&[])),
            "USE_DISTRIBUTED = true (environment): needs to know where Redis is: set REDIS_HOST or \
             REDIS_URL (in a file redis.host or redis.url)"
        );
        assert!(problem(distributed(&[("REDIS_DB", "1")])).contains("set REDIS_HOST"));
        for told in [
            ("REDIS_HOST", "127.0.0.1"),
            ("REDIS_PORT", "6379"),
            ("REDIS_URL", "redis://db"),
        ] {
            assert!(distributed(&[told]).is_ok(), "{told:?}");
        }
        assert!(problem(distributed(&[("REDIS_PORT", "high")])).starts_with("REDIS_PORT"));
    }

    #[test]
    fn what_contradicts_the_url_is_refused_and_both_are_named() {
        let url = ("REDIS_URL", "rediss://ann:hunter2@db:6380/3");
        for (name, text, shown) in [
            ("REDIS_HOST", "127.0.0.1", "\"127.0.0.1\""),
            ("REDIS_PORT", "6379", "6379"),
            ("REDIS_DB", "0", "0"),
            ("REDIS_USERNAME", "bob", "\"bob\""),
            ("REDIS_PASSWORD", "geheim", "***"),
            ("TRELLIS_REDIS__TLS", "false", "false"),
        ] {
            let refused = problem(distributed(&[url, (name, text)]));
            assert_eq!(
                refused,
                format!(
                    "{name} = {shown} (environment): contradicts REDIS_URL (environment): leave one of \
                     them out"
                )
            );
            assert!(with_environment(&[url, (name, text)]).is_ok(), "embedded");
        }
    }

    #[test]
    fn what_says_the_same_as_the_url_or_what_it_leaves_open_is_taken() {
        let same = settled(&[
            ("REDIS_URL", "redis://ann:hunter2@db:6380/3"),
            ("REDIS_HOST", "db"),
            ("REDIS_PORT", "6380"),
            ("REDIS_DB", "3"),
            ("REDIS_USERNAME", "ann"),
            ("REDIS_PASSWORD", "hunter2"),
        ]);
        assert_eq!(same.password, Some(Secret::new("hunter2")));
        let beside = settled(&[
            ("REDIS_URL", "redis://db"),
            ("REDIS_DB", "3"),
            ("REDIS_USERNAME", "ann"),
            ("REDIS_PASSWORD", "hunter2"),
            ("TRELLIS_REDIS__TLS", "true"),
        ]);
        assert_eq!(beside.username.as_deref(), Some("ann"));
        assert_eq!(beside.password, Some(Secret::new("hunter2")));
        assert_eq!((beside.db, beside.tls), (3, true));
    }

    #[test]
    fn defaults_that_a_file_spells_out_contradict_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let defaults = Config::from_toml("").unwrap().to_toml();
        let load = |file: &str, variables: &[(&str, &str)]| {
            std::fs::write(directory.path().join("trellis.toml"), file).unwrap();
            let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
            Config::load(&Sources {
                directory: directory.path().to_owned(),
                environment: variables.iter().map(own).collect(),
                ..Sources::default()
            })
        };
        let variables = [
            ("USE_DISTRIBUTED", "true"),
            ("REDIS_URL", "rediss://ann:hunter2@db:6380/3"),
        ];
        let config = load(&defaults, &variables).unwrap();
        let (redis, _) = config.store(config.settings.listen).unwrap();
        assert_eq!((redis.host.as_str(), redis.tls), ("db", true));
        let other = defaults.replace("host = \"127.0.0.1\"", "host = \"other\"");
        assert_eq!(
            problem(load(&other, &variables)).split(" (").next(),
            Some("redis.host = \"other\"")
        );
    }

    #[test]
    fn an_address_that_names_no_host_is_not_advertised() {
        let redis = ("REDIS_HOST", "db");
        for nowhere in ["0.0.0.0:7117", "[::]:7117", "[::ffff:0.0.0.0]:7117"] {
            let advertise = ("TRELLIS_ADVERTISE", nowhere);
            let refused = problem(distributed(&[redis, advertise]));
            assert!(refused.starts_with("TRELLIS_ADVERTISE = "), "{refused}");
            assert!(refused.contains("names no host"), "{refused}");
            assert!(with_environment(&[advertise]).is_ok(), "embedded");
        }
        let open = [
            redis,
            ("TRELLIS_LISTEN", "0.0.0.0:7117"),
            ("TRELLIS_INSECURE", "true"),
        ];
        let refused = problem(distributed(&open));
        assert!(refused.starts_with("TRELLIS_LISTEN = "), "{refused}");
        assert!(refused.contains("set TRELLIS_ADVERTISE"), "{refused}");
        let named = [&open[..], &[("TRELLIS_ADVERTISE", "daemon-7.example:7117")]].concat();
        assert!(distributed(&named).is_ok());
        let not_a_server = problem(distributed(&[redis, ("TRELLIS_ADVERTISE", "daemon-7")]));
        assert!(not_a_server.contains("must be host:port"), "{not_a_server}");
    }

    #[test]
    fn the_address_that_is_listened_on_is_advertised_with_its_port() {
        let config = distributed(&[("REDIS_HOST", "db"), ("TRELLIS_LISTEN", "127.0.0.1:0")]);
        let bound = "127.0.0.1:4711".parse().unwrap();
        let (_, identity) = config.unwrap().store(bound).unwrap();
        assert_eq!(identity.address, "127.0.0.1:4711");
    }

    #[test]
    fn every_start_without_an_id_makes_up_another() {
        let config = distributed(&[("REDIS_HOST", "db")]).unwrap();
        let id = || config.store(config.settings.listen).unwrap().1.daemon;
        assert_ne!(id(), id());
        let named = distributed(&[("REDIS_HOST", "db"), ("TRELLIS_DAEMON_ID", "d7")]).unwrap();
        let (_, identity) = named.store(named.settings.listen).unwrap();
        assert_eq!(identity.daemon, "d7");
    }
}
