//! The scripts' slices never exceed a limit, in the world where everything goes wrong that may, with the world's
//! time; and when a rule of the scripts is broken on purpose, the world notices.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code"
)]
#![allow(dead_code, reason = "shared with the differential test")]

#[path = "../differential/scripts.rs"]
mod scripts;
#[path = "../support/mod.rs"]
mod support;

/// Bounds that the scripts are given.
mod run {
    pub const MAX_WAITERS: usize = 100;
    pub const MAX_RESERVATIONS: usize = 100;
}

use scripts::{Mutation, Scripts, daemon_named};
use serde_json::{Value, json};
use std::time::Duration;
use support::{Daemon, Server};
use tokio::runtime::Handle;
use trellis_conformance::leases::{Admission, Granted, History, Promise, SliceStore, World};
use trellis_core::Micros;
use trellis_core::limits::leases::{Ask, BucketName, LeaseConfig, Report, Rule};
use trellis_core::limits::{LimitSpec, RateSpec, WindowSpec};
use trellis_redis::{RedisConfig, Store};

const START: u64 = 1_800_000_000_000_000;

fn rate(amount: i64, burst: i64) -> LimitSpec {
    LimitSpec::Rate(RateSpec::new(amount, Micros::from_secs(1), burst).unwrap())
}

fn window(amount: i64, seconds: u64) -> LimitSpec {
    LimitSpec::Window(WindowSpec::new(amount, Micros::from_secs(seconds)).unwrap())
}

/// The scripts, with the world's time.
struct Lua {
    scripts: Scripts,
    recalled: Vec<usize>,
    calls: usize,
    seen: u64,
}

impl Lua {
    fn new(
        daemons: &[(Store, u64)],
        namespace: &str,
        spec: &LimitSpec,
        mutation: Option<Mutation>,
    ) -> Self {
        let mut lua = Self {
            scripts: Scripts::new(daemons, namespace, mutation),
            recalled: Vec::new(),
            calls: 0,
            seen: 0,
        };
        let spec = match spec {
            LimitSpec::Rate(it) => json!([1, it.amount(), it.period().0, it.burst()]),
            LimitSpec::Window(it) => json!([2, it.amount(), it.period().0]),
            other => panic!("{other:?}"),
        };
        // Leased: also shares of less than 8 units.
        lua.call(
            0,
            "set_limit",
            vec![
                json!("hot"),
                spec,
                json!([]),
                json!(0),
                json!(2),
                json!(false),
                json!(2),
            ],
            START,
        );
        lua
    }

    fn call(
        &mut self,
        daemon: usize,
        operation: &'static str,
        args: Vec<Value>,
        now: u64,
    ) -> Value {
        assert!(now >= self.seen, "the store's time goes back");
        self.seen = now;
        self.calls += 1;
        let call = self.scripts.call(daemon, operation, args, now);
        let reply = tokio::task::block_in_place(|| Handle::current().block_on(call));
        assert_eq!(reply[0], "ok", "{operation}: {reply}");
        for published in reply[5].as_array().unwrap() {
            if published[1][0] == "recall" {
                self.recalled
                    .push(daemon_named(published[0].as_str().unwrap()));
            }
        }
        reply[2].clone()
    }
}

fn slice(number: u64) -> String {
    format!("s{number}")
}

impl SliceStore for Lua {
    fn lease(&mut self, now: u64, daemon: usize, ask: &Ask, config: &LeaseConfig) -> Granted {
        let left = |report: &Report| report.left.unwrap_or(-1);
        let reports: Vec<Value> = ask
            .reports
            .iter()
            .map(|report| json!([slice(report.slice), left(report), report.done]))
            .collect();
        let args = vec![
            json!("hot"),
            json!(""),
            json!(ask.wanted),
            json!(ask.need),
            json!(ask.demand),
            json!(slice(ask.slice)),
            json!(config.ttl.0),
            json!(config.margin.0),
            json!(config.horizon.0),
            json!(reports),
        ];
        let answer = self.call(daemon, "lease", args, now);
        Granted {
            units: answer[0].as_i64().unwrap(),
            again: answer[1].as_u64(),
            level: answer[2].as_i64().unwrap(),
            share: answer[5].as_i64().unwrap(),
            rule: match answer[6].as_u64().unwrap() {
                0 => Rule::Given,
                1 => Rule::Exact,
                _ => Rule::NotNow,
            },
            ttl: answer[7].as_u64().unwrap(),
        }
    }

    fn give_back(&mut self, now: u64, daemon: usize, report: Report) {
        let left = report.left.unwrap_or(-1);
        let args = vec![json!([["hot", "", slice(report.slice), left]])];
        self.call(daemon, "lease_return", args, now);
    }

    fn charge(&mut self, now: u64, daemon: usize, amount: i64) -> bool {
        let ticket = self.scripts.ticket(daemon, self.calls);
        let args = vec![
            json!([["hot", "", amount, false, false]]),
            json!(0),
            json!(-1),
            json!(false),
            json!(0),
            json!(false),
            json!(ticket),
            json!(""),
            json!(1),
            json!("00"),
        ];
        self.call(daemon, "acquire", args, now)[0] == 1
    }

    fn recalled(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.recalled)
    }

    fn missing(&mut self, now: u64) -> i64 {
        let state = self.call(0, "peek", vec![json!("hot"), json!("")], now);
        assert_eq!(
            (&state[10], &state[11]),
            (&json!(0), &json!(0)),
            "open slices: {state}"
        );
        state[5].as_i64().unwrap() - state[4].as_i64().unwrap()
    }
}

struct Bed {
    _server: Server,
    _daemons: Vec<Daemon>,
    handles: Vec<(Store, u64)>,
}

async fn bed() -> Option<Bed> {
    let server = Server::start()?;
    let (mut daemons, mut handles) = (Vec::new(), Vec::new());
    for name in scripts::NAMES {
        let config = RedisConfig {
            port: server.port,
            store_timeout: Duration::from_secs(10),
            death_after: Duration::from_mins(1),
            ..RedisConfig::default()
        };
        let daemon = Daemon::with(config, name);
        handles.push((daemon.store.clone(), daemon.attached().await.incarnation));
        daemons.push(daemon);
    }
    Some(Bed {
        _server: server,
        _daemons: daemons,
        handles,
    })
}

impl Bed {
    fn history(&self, spec: &LimitSpec, seed: u64, mutation: Option<Mutation>) -> (History, Lua) {
        let namespace = format!("{}-{seed}-{mutation:?}", spec.capacity());
        let mut lua = Lua::new(&self.handles, &namespace, spec, mutation);
        let span = match spec {
            LimitSpec::Window(it) => it.period().0 * 3 / 2,
            _ => 6_000_000,
        };
        let history = World::new(&mut lua, spec.clone(), seed, START, None).run(span);
        (history, lua)
    }

    /// Whether one of some histories breaks the promise.
    fn breaks(&self, specs: &[LimitSpec], mutation: Mutation, seeds: u64) -> bool {
        (1..=seeds).any(|seed| {
            specs.iter().any(|spec| {
                let (history, _) = self.history(spec, seed, Some(mutation));
                Promise(spec.clone()).broken(history.admissions).is_some()
            })
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_admitted_above_a_limit_and_no_unit_is_lost() {
    let Some(bed) = bed().await else { return };
    let (mut leased, mut all, mut calls) = (0, 0, 0);
    for spec in [
        rate(1_000, 100),
        rate(300, 1_000),
        rate(5_000, 5_000),
        window(3_000, 6),
    ] {
        for seed in 1..=4 {
            let (history, mut lua) = bed.history(&spec, seed, None);
            leased += history.leased;
            all += history.admissions.iter().map(|one| one.units).sum::<i64>();
            let broken = Promise(spec.clone()).broken(history.admissions);
            assert_eq!(broken, None, "seed {seed}, {spec:?}");
            assert_eq!(lua.missing(START + 100_000_000), 0, "seed {seed}, {spec:?}");
            calls += lua.calls;
        }
    }
    println!("{leased} of {all} units leased, {calls} calls of scripts");
    assert!(
        leased > all / 4,
        "histories in which little is leased show little"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_break_a_rule_are_noticed() {
    let Some(bed) = bed().await else { return };
    let (rates, windows) = ([rate(1_000, 100), rate(5_000, 5_000)], [window(3_000, 6)]);
    let twice = (
        "store.give_back(entry, left, {",
        "store.give_back(entry, 2 * left, {",
    );
    let early = (
        "at = now, close_at = close_at}",
        "at = now, close_at = now + 300000}",
    );
    let over_slices = (
        "b.spec[3], b.spec[4] - (b.open or 0)",
        "b.spec[3], b.spec[4]",
    );
    for (specs, mutation) in [
        (&rates[..], over_slices),
        (&rates[..], early),
        (&rates[..], twice),
        (&windows[..], twice),
    ] {
        let noticed = bed.breaks(specs, mutation, 16);
        println!("{:?}: noticed {noticed}", mutation.1);
        assert!(noticed, "{mutation:?} goes unnoticed");
    }
}

/// A slice of all there is, spent just before it ends; then all that the store admits at some later time.
fn spent_at_the_end(
    bed: &Bed,
    spec: &LimitSpec,
    later: u64,
    mutation: Option<Mutation>,
) -> Option<(Admission, i64)> {
    let config = LeaseConfig {
        horizon: Micros::from_secs(1),
        ..LeaseConfig::default()
    };
    let namespace = format!("end-{}-{mutation:?}", spec.capacity());
    let mut lua = Lua::new(&bed.handles, &namespace, spec, mutation);
    let units = spec.capacity();
    let ask = Ask {
        bucket: BucketName {
            hash: 7,
            namespace: namespace.into(),
            limit: "hot".into(),
            key: "".into(),
        },
        slice: 1,
        wanted: units,
        need: units,
        demand: 10_000_000,
        reports: Vec::new(),
    };
    let granted = lua.lease(START, 0, &ask, &config);
    assert_eq!(granted.units, units);
    let at = START + granted.ttl - 1;
    let mut admissions = vec![Admission { at, units }];
    let at = START + later;
    for _ in 0..units {
        if lua.charge(at, 1, 1) {
            admissions.push(Admission { at, units: 1 });
        }
    }
    Promise(spec.clone()).broken(admissions)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_counts_as_spent_at_its_end() {
    let Some(bed) = bed().await else { return };
    let burst = rate(500, 500);
    let closed = 1_100_000;
    assert_eq!(spent_at_the_end(&bed, &burst, closed, None), None);
    let no_refill_before = ("bucket.advance(entry.b, entry.slices[1].close_at)", "");
    assert!(spent_at_the_end(&bed, &burst, closed, Some(no_refill_before)).is_some());
    let all = window(600, 6);
    let period = 6_000_000;
    assert_eq!(spent_at_the_end(&bed, &all, period, None), None);
    let from_grant = (
        "count(b, amount, time, til)\nend\n\nfunction window.counts",
        "count(b, amount, time, time)\nend\n\nfunction window.counts",
    );
    assert!(spent_at_the_end(&bed, &all, period, Some(from_grant)).is_some());
}
