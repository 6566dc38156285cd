//! Layers, refusals, spellings and the dump of the configuration.

use super::*;
use trellis_core::limits::{LimitSpec, SpecSource};

fn sources(directory: &tempfile::TempDir) -> Sources {
    Sources {
        directory: directory.path().to_owned(),
        ..Sources::default()
    }
}

pub(super) fn with_environment(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment = variables
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    let directory = tempfile::tempdir().unwrap();
    Config::load(&Sources {
        environment,
        ..sources(&directory)
    })
}

/// The one problem of a configuration.
pub(super) fn problem(result: Result<Config, ConfigError>) -> String {
    let mut problems = result.unwrap_err().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0).to_string()
}

fn level(sources: &Sources) -> String {
    Config::load(sources).unwrap().settings.log.level
}

#[test]
fn the_last_layer_wins() {
    let directory = tempfile::tempdir().unwrap();
    let mut sources = sources(&directory);
    assert_eq!(level(&sources), "info");
    let file = directory.path().join("trellis.toml");
    std::fs::write(file, "log.level = \"error\"").unwrap();
    assert_eq!(level(&sources), "error");
    let dot_env = directory.path().join(".env");
    std::fs::write(
        dot_env,
        "# a comment\nOTHER=1\nexport TRELLIS_LOG__LEVEL='warn'",
    )
    .unwrap();
    assert_eq!(level(&sources), "warn");
    let variable = ("TRELLIS_LOG__LEVEL".to_owned(), "debug".to_owned());
    sources.environment.extend([variable]);
    assert_eq!(level(&sources), "debug");
    sources.flags.insert("log.level", "trace".to_owned());
    assert_eq!(level(&sources), "trace");
}

#[test]
fn a_named_file_stands_for_the_one_in_the_directory_and_must_exist() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("trellis.toml"),
        "log.level = \"error\"",
    )
    .unwrap();
    let other = directory.path().join("other.toml");
    let sources = Sources {
        config: Some(other.clone()),
        ..sources(&directory)
    };
    let missing = problem(Config::load(&sources));
    assert!(
        missing.contains("other.toml (file): cannot be read"),
        "{missing}"
    );
    std::fs::write(other, "").unwrap();
    assert_eq!(level(&sources), "info");
}

#[test]
fn the_daemons_own_variable_wins_over_the_well_known_one() {
    let both = [("REDIS_PORT", "1000"), ("TRELLIS_REDIS__PORT", "2000")];
    let config = with_environment(&both).unwrap();
    assert!(config.to_toml().contains("\nport = 2000\n"));
}

#[test]
fn a_refusal_names_the_setting_as_written_its_value_and_what_is_allowed() {
    let environment = problem(with_environment(&[("TRELLIS_GRPC__MAX_CALLS", "0")]));
    assert_eq!(
        environment,
        "TRELLIS_GRPC__MAX_CALLS = \"0\" (environment): must be 1 to 10000000"
    );
    let well_known = problem(with_environment(&[("REDIS_PORT", "high")]));
    assert_eq!(
        well_known,
        "REDIS_PORT = \"high\" (environment): must be 1 to 65535"
    );
    let file = problem(Config::from_toml("[limits]\nmax_wait = 10"));
    assert_eq!(
        file,
        "limits.max_wait = 10 (trellis.toml): must be 1ms to 1d, such as \"10s\""
    );
    let directory = tempfile::tempdir().unwrap();
    let mut sources = sources(&directory);
    sources.flags.insert("http_listen", "localhost".to_owned());
    assert_eq!(
        problem(Config::load(&sources)),
        "--http-listen = \"localhost\" (flag): must be an IP address and a port, such as \
         127.0.0.1:7117"
    );
}

#[test]
fn a_mistyped_level_is_refused_with_the_one_that_was_probably_meant() {
    let refused = problem(with_environment(&[("TRELLIS_LOG__LEVEL", "warning")]));
    assert_eq!(
        refused,
        "TRELLIS_LOG__LEVEL = \"warning\" (environment): must be off, error, warn, info, debug, trace, \
         or a filter such as info,trellis_daemon=debug; did you mean warn?"
    );
}

#[test]
fn what_names_no_reachable_place_is_refused_by_name() {
    for (name, text, shown) in [
        ("REDIS_HOST", "a:b", "\"a:b\""),
        ("KAFKA_BOOTSTRAP_SERVERS", ",,", "\",,\""),
        ("REDIS_URL", "redis://:hunter2@host:99999", "***"),
    ] {
        let refused = problem(with_environment(&[(name, text)]));
        let start = format!("{name} = {shown} (environment): must be ");
        assert!(refused.starts_with(&start), "{refused}");
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let error = Config::from_toml("workers = -1\nlog.format = \"xml\"\nlisten = 7117").unwrap_err();
    assert_eq!(error.problems.len(), 3, "{error}");
}

#[test]
fn what_settings_mean_for_each_other_is_told_beside_other_problems() {
    let error = with_environment(&[
        ("REDIS_PORT", "high"),
        ("TRELLIS_LISTN", "x"),
        ("TRELLIS_HTTP_LISTEN", "0.0.0.0:1"),
    ])
    .unwrap_err();
    let mut names: Vec<_> = error.problems.iter().map(|it| &it.setting[..]).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["REDIS_PORT", "TRELLIS_HTTP_LISTEN", "TRELLIS_LISTN"]
    );
}

#[test]
fn a_refused_setting_breaks_no_rule() {
    for text in [
        "listen = \"nowhere\"\nhttp_listen = \"127.0.0.1:7117\"",
        "insecure = \"maybe\"\nlisten = \"0.0.0.0:7117\"",
        "limits.max_reservation_ttl = 1\nlimits.default_reservation_ttl = \"2d\"",
        "limits.max_charges = 0\nlimits.max_batch = 2000",
    ] {
        problem(Config::from_toml(text));
    }
}

#[test]
fn the_answer_to_a_batch_fits_what_clients_accept() {
    let limits = |batch: u64, charges: u64| {
        Config::from_toml(&format!(
            "[limits]\nmax_batch = {batch}\nmax_charges = {charges}"
        ))
    };
    assert_eq!(
        problem(limits(2_000, 32)),
        "limits.max_batch = 2000 (trellis.toml): must be at most 1306 with limits.max_charges = 32 \
         (trellis.toml): the answer to a batch must fit the 4 MiB that clients accept"
    );
    let refused = problem(with_environment(&[("TRELLIS_LIMITS__MAX_CHARGES", "1000")]));
    assert!(
        refused.starts_with("limits.max_batch = 1000 (default): must be at most 43 with")
            && refused.contains(" TRELLIS_LIMITS__MAX_CHARGES = 1000 (environment)"),
        "{refused}"
    );
    for (batch, charges) in [(1_306, 32), (43, 1_000), (5_213, 1)] {
        assert!(limits(batch, charges).is_ok(), "{batch} x {charges}");
        problem(limits(batch + 1, charges));
    }
}

#[test]
fn an_unknown_key_of_a_file_is_refused_with_its_path_and_a_hint() {
    assert_eq!(
        problem(Config::from_toml("[grpc]\nmax_cals = 1")),
        "grpc.max_cals (trellis.toml): no such setting; did you mean grpc.max_calls?"
    );
}

#[test]
fn an_unknown_name_in_dot_env_is_refused_when_it_is_meant_for_the_daemon() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(".env"), "TRELLIS_LISTN=x\nLISTEN=y").unwrap();
    assert_eq!(
        problem(Config::load(&sources(&directory))),
        "TRELLIS_LISTN (.env): no such setting; did you mean TRELLIS_LISTEN?"
    );
}

#[test]
fn a_broken_file_is_told_by_line_without_its_text() {
    let error = problem(Config::from_toml("[redis]\npassword = hunter2"));
    assert!(error.contains("is not valid TOML: line 2"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn secrets_show_nowhere() {
    let config = with_environment(&[
        ("REDIS_PASSWORD", "hunter2"),
        ("REDIS_URL", "redis://:hunter2@host"),
        ("KAFKA_SASL_PASSWORD", "hunter2"),
    ])
    .unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(!config.to_toml().contains("hunter2"));
    assert!(config.to_toml().contains("\n# password = \"***\"\n"));
    let refused = problem(with_environment(&[("REDIS_URL", "http://:hunter2@host")]));
    assert_eq!(
        refused,
        "REDIS_URL = *** (environment): must be a URL that starts with redis:// or rediss://, or none"
    );
}

#[test]
fn an_address_that_is_not_loopback_needs_insecure() {
    for key in ["listen", "http_listen"] {
        for open in ["0.0.0.0:1", "[::]:1", "192.168.0.1:1"] {
            let text = format!("{key} = \"{open}\"");
            let refused = problem(Config::from_toml(&text));
            assert!(refused.contains("must be a loopback address"), "{refused}");
            assert!(Config::from_toml(&format!("insecure = true\n{text}")).is_ok());
        }
        for loopback in [
            "127.0.0.1:1",
            "127.8.0.1:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            let text = format!("{key} = \"{loopback}\"");
            assert!(Config::from_toml(&text).is_ok(), "{loopback}");
        }
    }
}

#[test]
fn a_directory_makes_events_survive() {
    let kept = with_environment(&[("TRELLIS_DATA_DIR", "/data")]).unwrap();
    assert_eq!(kept.data_dir(), Some("/data".into()));
    assert_eq!(with_environment(&[]).unwrap().data_dir(), None);
}

#[test]
fn one_variable_makes_the_mode_distributed() {
    for yes in ["true", "1", "YES", "on"] {
        let config = with_environment(&[("USE_DISTRIBUTED", yes), ("REDIS_HOST", "db")]).unwrap();
        let (redis, identity) = config.store(config.settings.listen).unwrap();
        assert_eq!((redis.host.as_str(), redis.port), ("db", 6379));
        assert!(identity.validate().is_ok(), "{identity:?}");
        assert_eq!(identity.address, "127.0.0.1:7117");
    }
    let config = with_environment(&[("USE_DISTRIBUTED", "off")]).unwrap();
    assert!(config.store(config.settings.listen).is_none());
}

#[test]
fn a_url_stands_for_host_port_database_and_credentials() {
    let url = "rediss://user:s3cret@db.example:6380/3";
    let config = with_environment(&[("USE_DISTRIBUTED", "1"), ("REDIS_URL", url)]).unwrap();
    let (redis, _) = config.store(config.settings.listen).unwrap();
    assert_eq!(
        (redis.host.as_str(), redis.port, redis.db),
        ("db.example", 6380, 3)
    );
    assert!(redis.tls && redis.password.is_some());
    assert!(!config.to_toml().contains("s3cret"));
}

#[test]
fn what_the_store_cannot_work_with_is_refused_by_name() {
    let distributed = |name, value| {
        let on = [("USE_DISTRIBUTED", "1"), ("REDIS_HOST", "db")];
        problem(with_environment(&[on[0], on[1], (name, value)]))
    };
    let beats = distributed("TRELLIS_REDIS__DEATH_AFTER", "2s");
    assert!(
        beats.contains("TRELLIS_REDIS__DEATH_AFTER = \"2s\""),
        "{beats}"
    );
    assert!(beats.contains("at least 3 heartbeat_interval"), "{beats}");
    let id = distributed("TRELLIS_DAEMON_ID", "a b");
    assert!(id.contains("TRELLIS_DAEMON_ID"), "{id}");
    assert!(
        with_environment(&[("TRELLIS_REDIS__DEATH_AFTER", "2s")]).is_ok(),
        "embedded"
    );
}

#[test]
fn the_default_time_of_a_reservation_is_at_most_the_longest() {
    let refused = problem(Config::from_toml("limits.max_reservation_ttl = \"30s\""));
    assert!(
        refused.contains("must be at most limits.max_reservation_ttl"),
        "{refused}"
    );
}

#[test]
fn the_defaults_are_those_of_the_parts() {
    let config = Config::from_toml("").unwrap();
    assert_eq!(config.service(), ServiceConfig::default());
    assert_eq!(config.memory_limits(), MemoryLimitsConfig::default());
}

#[test]
fn a_dump_loads_again_and_means_the_same() {
    let text = r#"
        listen = "127.0.0.1:0"
        insecure = "yes"
        log.level = "info,trellis_daemon=debug"
        limits.max_wait = "90s"
        kafka.bootstrap_servers = "a:1,b:2"
        redis.username = "quo\"te"
        [[limits.declared]]
        name = "requests"
        rate = { amount = 10, period = "60s" }
        overrides = [{ key = "vip", concurrency = { slots = 1 } }]
        [[limits.declared]]
        namespace = "other"
        name = "a day"
        window = { amount = 5, calendar = "day", time_zone = "Europe/Berlin" }
    "#;
    let first = Config::from_toml(text).unwrap();
    let second = Config::from_toml(&first.to_toml()).unwrap();
    assert_eq!(second.to_toml(), first.to_toml());
    assert_eq!(second.limits, first.limits);
    assert_eq!(second.limits.len(), 2);
}

#[test]
fn the_file_in_deploy_is_the_dump_of_the_defaults() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/trellis.toml");
    let file = std::fs::read_to_string(path).unwrap_or_default();
    let dump = Config::from_toml("").unwrap().to_toml();
    assert!(
        file == dump,
        "in an empty directory, run trellisd --dump-config > deploy/trellis.toml"
    );
}

#[test]
fn a_declared_limit_is_what_it_says() {
    let config = Config::from_toml(
        "[[limits.declared]]\nname = \"a\"\nrate = { amount = 5, period = \"1s\", burst = 9 }\n\
         [[limits.declared]]\nname = \"b\"\nwindow = { amount = 5, period = \"1m\" }",
    )
    .unwrap();
    let [rate, window] = &config.limits[..] else {
        panic!("two limits are declared")
    };
    assert_eq!(
        (rate.namespace.as_str(), rate.source),
        ("default", SpecSource::Configuration)
    );
    assert_eq!(rate.spec.capacity(), 9);
    assert!(matches!(window.spec, LimitSpec::Window(_)));
}

#[test]
fn a_bad_declared_limit_is_refused_by_its_index_and_field() {
    let good = "[[limits.declared]]\nname = \"good\"\nconcurrency = { slots = 1 }\n";
    for (bad, field, allowed) in [
        (
            "name = \"\"\nconcurrency = { slots = 1 }",
            ".name = \"\"",
            "must be 1 to 256 bytes",
        ),
        (
            "name = \"x\"",
            "",
            "needs exactly one of rate, window, concurrency",
        ),
        ("concurrency = { slots = 1 }", "", "needs a field \"name\""),
        (
            "name = \"x\"\nconcurrency = { slots = 0 }",
            ".concurrency.slots = 0",
            "must be 1 to",
        ),
        (
            "name = \"x\"\nrate = { amount = 1, period = \"1us\" }",
            ".rate.period = \"1us\"",
            "1 ms",
        ),
        (
            "name = \"x\"\nrate = { amount = 1, period = 1 }",
            ".rate.period = 1",
            "must be",
        ),
        (
            "name = \"x\"\nrate = { amonut = 1 }",
            ".rate",
            "has no field \"amonut\"",
        ),
        (
            "name = \"x\"\nwindow = { amount = 1 }",
            ".window.period",
            "either period or calendar",
        ),
        (
            "name = \"x\"\nwindow = { amount = 1, calendar = \"day\", time_zone = \"Mars\" }",
            ".window.time_zone = \"Mars\"",
            "IANA",
        ),
        (
            "name = \"x\"\nconcurrency = { slots = 1 }\n\
             overrides = [{ key = \"k\", concurrency = { slots = 0 } }]",
            ".overrides[0].concurrency.slots = 0",
            "must be 1 to",
        ),
        (
            "name = \"good\"\nconcurrency = { slots = 1 }",
            ".name = \"good\"",
            "declared[0]",
        ),
    ] {
        let text = format!("{good}[[limits.declared]]\n{bad}");
        let refused = problem(Config::from_toml(&text));
        let start = format!("limits.declared[1]{field}");
        assert!(refused.starts_with(&start), "{refused}");
        assert!(refused.contains(allowed), "{refused}");
    }
}

#[test]
fn a_broken_dot_env_is_told_by_name_without_the_value() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(".env"), "REDIS_PASSWORD='hunter2").unwrap();
    let refused = problem(Config::load(&sources(&directory)));
    assert!(
        refused.contains("the line of REDIS_PASSWORD is not"),
        "{refused}"
    );
    assert!(!refused.contains("hunter2"), "{refused}");
}
