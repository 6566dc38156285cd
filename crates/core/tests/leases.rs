//! Prepaid leases never exceed a limit, in a world where everything goes wrong that may; and when a rule is
//! broken on purpose, the world notices.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, and figures"
)]

use trellis_conformance::leases::{
    Admission, Fault, History, Mishap, Model, Promise, SliceStore, World,
};
use trellis_core::Micros;
use trellis_core::limits::leases::{Ask, BucketName, LeaseConfig};
use trellis_core::limits::{LimitSpec, RateSpec, WindowSpec};

const START: u64 = 1_000_000_000;
const SPAN: u64 = 12_000_000;
const SEEDS: u64 = 80;

fn rate(amount: i64, burst: i64) -> LimitSpec {
    LimitSpec::Rate(RateSpec::new(amount, Micros::from_secs(1), burst).unwrap())
}

fn window(amount: i64, seconds: u64) -> LimitSpec {
    LimitSpec::Window(WindowSpec::new(amount, Micros::from_secs(seconds)).unwrap())
}

fn specs() -> [LimitSpec; 5] {
    [
        rate(1_000, 100),
        rate(300, 1_000),
        rate(5_000, 5_000),
        window(1_500, 3),
        window(4_000, 2),
    ]
}

/// `TRELLIS_SEEDS=7-7` runs one again, `TRELLIS_SEEDS=1000-2000` many others.
fn seeds() -> std::ops::RangeInclusive<u64> {
    let asked = std::env::var("TRELLIS_SEEDS").ok();
    let bounds = asked.as_deref().and_then(|asked| asked.split_once('-'));
    let bounds = bounds.and_then(|(from, to)| Some(from.parse().ok()?..=to.parse().ok()?));
    bounds.unwrap_or(1..=SEEDS)
}

fn history(
    spec: &LimitSpec,
    seed: u64,
    fault: Option<Fault>,
    mishap: Option<Mishap>,
) -> (History, Model) {
    let mut store = Model::new(spec.clone(), fault);
    let history = World::new(&mut store, spec.clone(), seed, START, mishap).run(SPAN);
    (history, store)
}

/// How many of the histories break the promise.
fn broken(fault: Option<Fault>, mishap: Option<Mishap>, specs: &[LimitSpec]) -> usize {
    let mut count = 0;
    for spec in specs {
        for seed in seeds() {
            let (history, _) = history(spec, seed, fault, mishap);
            count += usize::from(Promise(spec.clone()).broken(history.admissions).is_some());
        }
    }
    count
}

#[test]
fn nothing_is_admitted_above_a_limit_and_no_unit_is_lost() {
    let mut totals = std::collections::BTreeMap::new();
    let (mut leased, mut all) = (0, 0);
    for spec in specs() {
        for seed in seeds() {
            let (history, mut store) = history(&spec, seed, None, None);
            leased += history.leased;
            all += history.admissions.iter().map(|one| one.units).sum::<i64>();
            let broken = Promise(spec.clone()).broken(history.admissions);
            assert_eq!(broken, None, "seed {seed}, {spec:?}");
            assert_eq!(
                store.missing(START + 1_000 * SPAN),
                0,
                "seed {seed}, {spec:?}"
            );
            for (what, count) in history.counts {
                *totals.entry(what).or_insert(0) += count;
            }
        }
    }
    println!("{leased} of {all} units leased; {totals:?}");
    assert!(
        leased > all / 3,
        "histories in which little is leased show little"
    );
    for what in ["slices", "returns", "recalls", "pauses", "crashes"] {
        assert!(totals[what] > 100, "too few {what}: {totals:?}");
    }
}

#[test]
fn a_store_that_breaks_a_rule_is_noticed() {
    let rates = [rate(1_000, 100), rate(300, 1_000), rate(5_000, 5_000)];
    let windows = [window(1_500, 3), window(4_000, 2)];
    for (fault, specs) in [
        (Fault::ClosesEarly, &rates[..]),
        (Fault::CreditsTwice, &rates[..]),
        (Fault::CreditsTwice, &windows[..]),
        (Fault::RefillsOverSlices, &rates[..]),
        (Fault::CountsFromGrant, &windows[..]),
        (Fault::GivesBackTheDead, &rates[..]),
        (Fault::GivesBackTheDead, &windows[..]),
    ] {
        let broken = broken(Some(fault), None, specs);
        println!(
            "{fault:?}, {} specs: {broken} histories broken",
            specs.len()
        );
        assert!(broken > 0, "{fault:?} goes unnoticed");
    }
}

/// A slice of the whole burst, spent just before it ends, and a store that nobody looks at in between.
fn spent_at_the_end(store: &mut impl SliceStore, spec: &LimitSpec) -> Vec<Admission> {
    let config = LeaseConfig::default();
    let ask = Ask {
        bucket: BucketName {
            hash: 7,
            namespace: "n".into(),
            limit: "hot".into(),
            key: "".into(),
        },
        slice: 1,
        wanted: spec.capacity(),
        need: 1,
        demand: 1_000_000,
        reports: Vec::new(),
    };
    let granted = store.lease(START, 0, &ask, &config);
    assert_eq!(granted.units, spec.capacity());
    let mut admissions = vec![Admission {
        at: START + config.ttl.0 - 1,
        units: granted.units,
    }];
    let at = START + config.ttl.0 + config.margin.0;
    for _ in 0..spec.capacity() {
        if store.charge(at, 1, 1) {
            admissions.push(Admission { at, units: 1 });
        }
    }
    admissions
}

#[test]
fn a_slice_that_is_closed_makes_no_room_for_the_time_before() {
    let spec = rate(500, 500);
    for (fault, is_broken) in [(None, false), (Some(Fault::ClosesBeforeRefill), true)] {
        let admissions = spent_at_the_end(&mut Model::new(spec.clone(), fault), &spec);
        let broken = Promise(spec.clone()).broken(admissions);
        assert_eq!(broken.is_some(), is_broken, "{fault:?}: {broken:?}");
    }
}

#[test]
fn a_daemon_that_breaks_a_rule_is_noticed() {
    for mishap in [
        Mishap::ClockStops,
        Mishap::NeverLooks,
        Mishap::SpendsReturned,
    ] {
        let broken = broken(None, Some(mishap), &specs());
        println!("{mishap:?}: {broken} histories broken");
        assert!(broken > 0, "{mishap:?} goes unnoticed");
    }
}
