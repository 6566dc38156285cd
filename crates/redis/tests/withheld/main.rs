//! The scripts while shares of silent members are withheld, with the test's time: the others get exactly their
//! part, and are told exactly when they get more.

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
    pub const MAX_RESERVATIONS: usize = 10_000;
}

use scripts::Scripts;
use serde_json::{Value, json};
use support::{Daemon, Server};
use trellis_conformance::leases::Random;

const SECOND: u64 = 1_000_000;
/// 2026-11-25 00:00:00 UTC.
const START: u64 = 1_795_564_800 * SECOND;
const WAIT: u8 = 1;

/// A daemon's calls of one limit.
struct Limit {
    scripts: Scripts,
    calls: usize,
    now: u64,
}

impl Limit {
    async fn of(store: &Daemon, namespace: &str, spec: Value) -> Self {
        let daemons = [(store.store.clone(), store.attached().await.incarnation)];
        let mut limit = Self {
            scripts: Scripts::new(&daemons, namespace, None),
            calls: 0,
            now: START,
        };
        let args = json!(["api", spec, [], 0, 2, false, 0]);
        limit.call("set_limit", args).await;
        limit
    }

    async fn call(&mut self, operation: &'static str, args: Value) -> Value {
        let args = args.as_array().unwrap().clone();
        let reply = self.scripts.call(0, operation, args, self.now).await;
        assert_eq!(reply[0], "ok", "{operation}: {reply}");
        reply
    }

    /// Withholds one of three shares from a time to another, in seconds since the start.
    fn withhold(&mut self, from: u64, til: u64) {
        let (from, til) = (START + from * SECOND, START + til * SECOND);
        self.scripts.withheld = json!([[from, til, 2, 3, 2, 3]]);
    }

    async fn acquire(&mut self, amount: i64, mode: u8) -> Value {
        self.calls += 1;
        let (ticket, id) = (self.scripts.ticket(0, self.calls), self.calls.to_string());
        let charge = json!(["api", "", amount, false, false]);
        let args = json!([[charge], mode, -1, false, 0, false, ticket, "", 1, id]);
        self.call("acquire", args).await
    }

    /// Nothing, or how long to wait: 0 for never.
    async fn attempt(&mut self, amount: i64) -> Option<u64> {
        let reply = self.acquire(amount, 0).await;
        match reply[2][0].as_u64().unwrap() {
            1 => None,
            2 => reply[2][1].as_u64(),
            other => panic!("{other}: {reply}"),
        }
    }

    /// Takes single units until there are no more; tells how many.
    async fn drain(&mut self) -> usize {
        let mut taken = 0;
        while self.attempt(1).await.is_none() {
            taken += 1;
        }
        taken
    }

    async fn remaining(&mut self) -> i64 {
        self.call("peek", json!(["api", ""])).await[2][4]
            .as_i64()
            .unwrap()
    }
}

fn rate(amount: i64, period: u64, burst: i64) -> Value {
    json!([1, amount, period, burst])
}

async fn store() -> Option<(Server, Daemon)> {
    let server = Server::start()?;
    let daemon = Daemon::on(&server, "a").await;
    Some((server, daemon))
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn of_every_kind_the_others_get_all_but_the_share_and_all_when_the_hold_ends() {
    let Some((_server, daemon)) = store().await else {
        return;
    };
    let calendar = json!([3, 30, 0, "UTC"]);
    let kinds = [
        ("window", json!([2, 30, 10 * SECOND])),
        ("calendar", calendar),
        ("slots", json!([4, 30])),
        ("rate", rate(30, 100_000 * SECOND, 30)),
    ];
    for (name, spec) in kinds {
        let mut limit = Limit::of(&daemon, name, spec).await;
        limit.withhold(1, 5);
        limit.now = START + SECOND - 1;
        assert_eq!(limit.remaining().await, 30, "{name}: not yet");
        limit.now = START + SECOND;
        assert_eq!(limit.remaining().await, 20, "{name}");
        assert_eq!(limit.drain().await, 20, "{name}");
        assert_eq!(limit.remaining().await, 0, "{name}");
        let wait = limit.attempt(10).await;
        assert_eq!(wait, Some(4 * SECOND), "{name}: until the hold ends");
        limit.now = START + 5 * SECOND - 1;
        assert_eq!(limit.attempt(1).await, Some(1), "{name}");
        limit.now = START + 5 * SECOND;
        assert_eq!(limit.drain().await, 10, "{name}");
    }
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_rate_is_refilled_at_the_others_part_however_often_it_is_read() {
    let Some((_server, daemon)) = store().await else {
        return;
    };
    for (name, step) in [("seldom", 3 * SECOND), ("often", 1_001)] {
        let mut limit = Limit::of(&daemon, name, rate(100, SECOND, 90)).await;
        assert_eq!(limit.drain().await, 90);
        // From now on: 60 of the burst, and two thirds of the rate.
        limit.withhold(0, 60);
        let mut reads = 0;
        while limit.now < START + 900_000 {
            limit.now = (limit.now + step).min(START + 900_000);
            limit.remaining().await;
            reads += 1;
        }
        assert_eq!(limit.remaining().await, 60 - 30, "{name}: {reads} readings");
        assert_eq!(limit.drain().await, 30);
        // What nobody has looked at meanwhile is refilled alike: 100 ms at two thirds, then all of it.
        limit.withhold(0, 1);
        limit.now = START + 1_100_000;
        assert_eq!(limit.remaining().await, 30 + 6 + 10, "{name}");
    }
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_charge_above_what_is_available_meanwhile_waits_for_the_end_of_the_hold() {
    let Some((_server, daemon)) = store().await else {
        return;
    };
    let mut limit = Limit::of(&daemon, "large", json!([2, 30, SECOND])).await;
    limit.withhold(0, 20);
    let reply = limit.acquire(25, WAIT).await;
    assert_eq!(reply[2][0], 6, "queued: {reply}");
    let looks = reply[4].as_array().unwrap();
    assert!(
        looks.iter().any(|look| look[1] == START + 20 * SECOND),
        "{reply}"
    );
    limit.now = START + 20 * SECOND;
    let served = limit.call("serve", json!([[looks[0][0]]])).await;
    assert_eq!(
        (&served[3][0][1], served[3].as_array().unwrap().len()),
        (&json!(1), 1)
    );
    let above = limit.acquire(31, 0).await;
    assert_eq!(above[2][0], 3, "never: {above}");
}

/// Spans as a daemon may hand them in: up to three, some of them over, with one or two shares of a few members.
fn spans(random: &mut Random) -> Value {
    let mut at = START - random.between(0, 3) * SECOND - random.between(0, SECOND);
    let mut spans = Vec::new();
    for _ in 0..random.between(1, 4) {
        let til = at + random.between(1, 3 * SECOND);
        let count = random.between(2, 8);
        let mut span = vec![at, til, count - 1, count, random.between(0, count), count];
        if random.percent(30) {
            span[2] = count.saturating_sub(2);
            span.extend([random.between(0, count), count]);
        }
        spans.push(span);
        let gap = random.between(1, SECOND);
        at = til + if til + gap < START { gap } else { 0 };
    }
    json!(spans)
}

fn spec(random: &mut Random) -> Value {
    let period = random.between(1_000, 4 * SECOND);
    match random.between(0, 3) {
        0 => json!([1, random.between(1, 400), period, random.between(1, 40)]),
        1 => json!([2, random.between(1, 40), period]),
        _ => json!([3, random.between(1, 40), 0, "UTC"]),
    }
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn whoever_is_refused_is_told_the_very_microsecond_at_which_the_same_call_is_admitted() {
    let Some((_server, daemon)) = store().await else {
        return;
    };
    let (mut refused, mut later) = (0, 0);
    for seed in 1..=60 {
        let mut random = Random::new(seed);
        let spec = spec(&mut random);
        let capacity = spec[if spec[0] == 1 { 3 } else { 1 }].as_u64().unwrap();
        let mut limit = Limit::of(&daemon, &format!("exact-{seed}"), spec.clone()).await;
        limit.scripts.withheld = spans(&mut random);
        for _ in 0..25 {
            let amount = i64::try_from(random.between(1, capacity + 1)).unwrap();
            if let Some(wait) = limit.attempt(amount).await {
                refused += 1;
                later += usize::from(wait > SECOND);
                let about = format!(
                    "seed {seed}: {amount} of {spec} at {}, {}",
                    limit.now, limit.scripts.withheld
                );
                limit.now += wait - 1;
                assert_eq!(limit.attempt(amount).await, Some(1), "{about}, {wait}");
                limit.now += 1;
                assert_eq!(limit.attempt(amount).await, None, "{about}, {wait}");
            }
            limit.now += random.between(0, 300_000);
        }
    }
    assert!(refused > 300 && later > 10, "{refused} {later}");
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn what_daemons_tell_after_a_loss_counts_once_and_what_was_spent_before_is_kept() {
    let Some((_server, daemon)) = store().await else {
        return;
    };
    let kinds = [
        ("window", json!([2, 100, 100_000 * SECOND])),
        ("calendar", json!([3, 100, 0, "UTC"])),
        ("rate", rate(1, 100_000 * SECOND, 100)),
    ];
    for (name, spec) in kinds {
        let mut limit = Limit::of(&daemon, name, spec.clone()).await;
        limit.scripts.lost = json!(START);
        limit.now = START + SECOND;
        // A stranger spends of what it takes for a full bucket.
        assert_eq!(limit.attempt(15).await, None, "{name}");
        for (level, left) in [(60, 45), (60, 45), (70, 45), (40, 25), (90, 25)] {
            let view = json!([[["api", "", spec, level, START]], []]);
            limit.call("reassert", view).await;
            assert_eq!(limit.remaining().await, left, "{name}, told {level}");
        }
        assert_eq!(limit.attempt(5).await, None, "{name}");
        let view = json!([[["api", "", spec, 40, START]], []]);
        limit.call("reassert", view).await;
        assert_eq!(
            limit.remaining().await,
            20,
            "{name}: a repeat, after spending"
        );
        // After the time in which the beginning is known: to what was seen, if less.
        limit.now = START + 59 * SECOND;
        limit.scripts.lost = json!(START - 60 * SECOND);
        let view = json!([[["api", "", spec, 12, START + 58 * SECOND]], []]);
        limit.call("reassert", view).await;
        assert_eq!(limit.remaining().await, 12, "{name}");
    }
}
