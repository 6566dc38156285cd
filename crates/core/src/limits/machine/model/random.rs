//! Random calls at random times, made of the machine and the model.

use super::namespace::{BUCKETS, Pair};
use crate::Micros;
use crate::limits::machine::tests::harness::*;
use crate::limits::{LevelPolicy, LimitSpec, RateSpec};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Pass(u64),
    Acquire(Vec<(usize, i64)>, Option<u64>, bool),
    Settle(usize, Option<Vec<i64>>),
    Extend(usize, u64, Vec<(usize, i64)>),
    Reset(usize),
    Set(usize, i64, usize, LevelPolicy),
    Report(usize, u64, Option<i64>),
    Retry,
}

fn op() -> impl Strategy<Value = Op> {
    let ttl = || prop_oneof![1..3 * SECOND, Just(90 * SECOND)];
    let policy = prop_oneof![
        Just(LevelPolicy::KeepAmount),
        Just(LevelPolicy::KeepProportion),
        Just(LevelPolicy::Refill),
    ];
    let bucket = || 0..BUCKETS.len();
    prop_oneof![
        8 => pass().prop_map(Op::Pass),
        12 => (charges(1), prop::option::of(ttl()), prop::bool::weighted(0.2))
            .prop_map(|(charges, ttl, dry)| Op::Acquire(charges, ttl, dry)),
        4 => (any::<usize>(), prop::option::of(prop::collection::vec(0..7_i64, BUCKETS.len())))
            .prop_map(|(which, quarters)| Op::Settle(which, quarters)),
        3 => (any::<usize>(), ttl(), charges(0))
            .prop_map(|(which, ttl, charges)| Op::Extend(which, ttl, charges)),
        1 => bucket().prop_map(Op::Reset),
        2 => (bucket(), 1..40_i64, 0..3_usize, policy)
            .prop_map(|(bucket, capacity, period, policy)| Op::Set(bucket, capacity, period, policy)),
        1 => (bucket(), 1..2 * SECOND, prop::option::of(0..25_i64))
            .prop_map(|(bucket, pause, left)| Op::Report(bucket, pause, left)),
        3 => Just(Op::Retry),
    ]
}

/// Steps from none to a minute: most within a sub-window or a period.
fn pass() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..3_u64,
        0..50 * MS,
        0..1_200 * MS,
        Just(SECOND),
        0..70 * SECOND
    ]
}

fn charges(least: usize) -> impl Strategy<Value = Vec<(usize, i64)>> {
    prop::collection::btree_map(0..BUCKETS.len(), 1..22_i64, least..4)
        .prop_map(|map| map.into_iter().collect())
}

fn apply(pair: &mut Pair, op: Op) {
    match op {
        Op::Pass(micros) => {
            pair.sim.pass(micros);
            pair.compare_levels();
        }
        Op::Acquire(charges, ttl, dry) => pair.acquire(&charges, ttl, dry),
        Op::Settle(which, quarters) => pair.settle(which, quarters.as_deref()),
        Op::Extend(which, ttl, charges) => pair.extend(which, ttl, &charges),
        Op::Reset(bucket) => pair.reset(bucket),
        Op::Set(bucket, capacity, period, policy) => {
            let spec = match pair.buckets[bucket].spec() {
                LimitSpec::Rate(_) => {
                    let period = [SECOND, 7_301, 61 * SECOND].map(Micros)[period];
                    LimitSpec::Rate(RateSpec::new(capacity, period, capacity).unwrap())
                }
                LimitSpec::Window(_) => window(capacity),
                LimitSpec::Calendar(_) => minute(capacity),
                LimitSpec::Concurrency(_) => slots(capacity),
            };
            // How a window's sub-windows are scaled is not the contract's; `bucket` tests the sum.
            let window = matches!(spec, LimitSpec::Window(_));
            if !(window && policy == LevelPolicy::KeepProportion) {
                pair.set_limit(bucket, &spec, policy);
            }
        }
        Op::Report(bucket, pause, left) => pair.report(bucket, pause, left),
        Op::Retry => pair.retry(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_machine_decides_as_the_model_does(ops in prop::collection::vec(op(), 1..80)) {
        let mut pair = Pair::new();
        for op in ops {
            // What was told holds only while nothing else happens.
            if !matches!(op, Op::Retry) {
                pair.denied = None;
            }
            apply(&mut pair, op);
        }
    }

    // Pitfall 4.
    #[test]
    fn no_interval_admits_more_than_burst_and_refill(
        (amount, period, burst) in (1..1_000_i64, 1_000..2_000_000_u64, 1..500_i64),
        steps in prop::collection::vec((0..300_000_u64, 1..100_i64), 1..150),
    ) {
        let spec = RateSpec::new(amount, Micros(period), burst).unwrap();
        let mut sim = Sim::new().declare(&[("l", LimitSpec::Rate(spec))]);
        let mut admitted: Vec<(u64, i64)> = Vec::new();
        for (step, units) in steps {
            sim.pass(step);
            if sim.granted(&call(&[("l", units)])) {
                admitted.push((sim.now.mono.0, units));
            }
        }
        for from in 0..admitted.len() {
            let mut sum = 0;
            for (at, units) in &admitted[from..] {
                sum += i128::from(*units);
                let elapsed = i128::from(at - admitted[from].0);
                let refill = i128::from(amount) * elapsed / i128::from(period);
                prop_assert!(sum <= i128::from(burst) + refill);
            }
        }
    }
}
