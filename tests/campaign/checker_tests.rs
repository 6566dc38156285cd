//! The checker against histories whose truth is known: of limiters that keep their promise, seen through
//! calls of any length, it never accuses one; of limiters that do not, it does. And against a checker
//! that looks at every pair of moments.

use crate::checker::{self, Rule, Verdict};
use crate::history::{Grant, Micros, Settled, Span};
use proptest::prelude::*;

const PERIOD: Micros = 1_000_000;

fn grant(amount: u64, sent: Micros, received: Micros) -> Grant {
    Grant {
        bucket: 0,
        amount,
        at: Span { sent, received },
        degraded: false,
        ttl: None,
        settled: None,
    }
}

fn check(rule: Rule, grants: &[Grant]) -> Verdict {
    let first = grants.iter().map(|grant| grant.at.sent).min();
    let last = grants.iter().map(|grant| grant.at.received).max();
    let time = last.unwrap_or(0) - first.unwrap_or(0);
    checker::check(rule, grants, time)
}

fn refunded(grant: Grant, refunded: u64, sent: Micros, received: Micros) -> Grant {
    let at = Span { sent, received };
    let settled = Some(Settled { at, refunded });
    Grant { settled, ..grant }
}

/// What is asked of a limiter: after so long, so many units, decided and answered so much later; then
/// perhaps a refund of so many, so much later.
#[derive(Clone, Copy, Debug)]
struct Ask {
    after: Micros,
    amount: u64,
    decided: Micros,
    answered: Micros,
    refund: Option<(Micros, u64)>,
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let refund = proptest::option::of((1..400_000_u64, 1..20_u64));
    let ask = (
        0..60_000_u64,
        1..20_u64,
        0..30_000_u64,
        0..30_000_u64,
        refund,
    );
    let ask = ask.prop_map(|(after, amount, decided, answered, refund)| Ask {
        after,
        amount,
        decided,
        answered,
        refund,
    });
    proptest::collection::vec(ask, 1..200)
}

/// What happens to a bucket, in the order of decision.
#[derive(Clone, Copy)]
enum Decision {
    Acquire(usize),
    Refund(usize),
}

/// The history that clients of a limiter see. The limiter says whether it takes an amount at a time, and
/// is told of refunds: of how many units, taken when, and when they come.
fn history(
    asks: &[Ask],
    mut takes: impl FnMut(Micros, u64) -> bool,
    mut refund: impl FnMut(Micros, u64, Micros),
) -> Vec<Grant> {
    let (mut now, mut order) = (0, Vec::new());
    let mut grants = Vec::new();
    for (number, ask) in asks.iter().enumerate() {
        now += ask.after;
        let received = now + ask.decided + ask.answered;
        let mut seen = grant(ask.amount, now, received);
        order.push((now + ask.decided, Decision::Acquire(number)));
        if let Some((after, units)) = ask.refund {
            let sent = received + after;
            let at = sent + ask.decided;
            seen = refunded(seen, units.min(ask.amount), sent, at + ask.answered);
            order.push((at, Decision::Refund(number)));
        }
        grants.push((seen, false));
    }
    order.sort_by_key(|(time, _)| *time);
    for (time, decision) in order {
        match decision {
            Decision::Acquire(number) => grants[number].1 = takes(time, asks[number].amount),
            Decision::Refund(number) if grants[number].1 => {
                let seen = &grants[number].0;
                let granted_at = seen.at.sent + asks[number].decided;
                refund(time, seen.refunded(), granted_at);
            }
            Decision::Refund(_) => {}
        }
    }
    let granted = grants.into_iter().filter(|(_, granted)| *granted);
    granted.map(|(seen, _)| seen).collect()
}

/// A token bucket of exact parts that refills `speed` percent as fast as it says.
fn rate_history(asks: &[Ask], amount: u64, burst: u64, speed: u64) -> Vec<Grant> {
    // In units / (100 * PERIOD).
    let full = burst * 100 * PERIOD;
    let state = std::cell::Cell::new((full, 0));
    let level = |now: Micros| {
        let (level, then) = state.get();
        full.min(level + (now - then) * amount * speed)
    };
    history(
        asks,
        |now, units| {
            let (level, units) = (level(now), units * 100 * PERIOD);
            state.set((level - if level >= units { units } else { 0 }, now));
            level >= units
        },
        |now, units, _| state.set((full.min(level(now) + units * 100 * PERIOD), now)),
    )
}

/// An exact sliding window whose period is `percent` of what it says.
fn window_history(asks: &[Ask], amount: u64, percent: u64) -> Vec<Grant> {
    let taken = std::cell::RefCell::new(Vec::<(Micros, u64)>::new());
    let period = PERIOD * percent / 100;
    history(
        asks,
        |now, units| {
            let mut taken = taken.borrow_mut();
            taken.retain(|(time, _)| time + period > now);
            let used: u64 = taken.iter().map(|(_, units)| units).sum();
            let fits = used + units <= amount;
            if fits {
                taken.push((now, units));
            }
            fits
        },
        |_, units, then| {
            let mut taken = taken.borrow_mut();
            if let Some((_, left)) = taken.iter_mut().find(|(time, _)| *time == then) {
                *left = left.saturating_sub(units);
            }
        },
    )
}

const RATE: Rule = Rule::Rate {
    amount: 100,
    period: PERIOD,
    burst: 40,
};
const WINDOW: Rule = Rule::Window {
    amount: 100,
    period: PERIOD,
};

/// The most units surely admitted in an interval from a request to an answer, above what `allowed` says
/// of its length; refunds that can have come in it are taken off.
fn by_every_pair(grants: &[Grant], allowed: impl Fn(Micros) -> f64) -> f64 {
    let mut worst = 0.0_f64;
    for from in grants.iter().map(|grant| grant.at.sent) {
        for to in grants.iter().map(|grant| grant.at.received) {
            let inside = |span: &Span| span.sent >= from && span.received <= to;
            let sum = grants.iter().filter(|grant| inside(&grant.at));
            let sum: u64 = sum.map(|grant| grant.amount).sum();
            let back = grants.iter().filter_map(|grant| grant.settled);
            let back = back.filter(|at| at.at.sent <= to && at.at.received >= from);
            let back: u64 = back.map(|settled| settled.refunded).sum();
            if to > from {
                #[expect(clippy::cast_precision_loss, reason = "small sums")]
                let sum = sum as f64 - back as f64;
                worst = worst.max(sum - allowed(to - from));
            }
        }
    }
    worst
}

proptest! {
    #[test]
    fn a_rate_that_keeps_its_promise_is_never_accused(asks in asks()) {
        let verdict = check(RATE, &rate_history(&asks, 100, 40, 100));
        prop_assert_eq!(verdict.over(), 0);
    }

    #[test]
    fn a_window_that_keeps_its_promise_is_never_accused(asks in asks()) {
        let verdict = check(WINDOW, &window_history(&asks, 100, 100));
        prop_assert_eq!(verdict.over(), 0);
    }

    #[test]
    fn the_tree_finds_what_looking_at_every_pair_finds(asks in asks()) {
        // Twice as fast as it says, so that most are over.
        let grants = rate_history(&asks, 100, 40, 200);
        let found = check(RATE, &grants).over;
        let pairs = by_every_pair(&grants, |time| {
            #[expect(clippy::cast_precision_loss, reason = "small times")]
            let time = time as f64;
            40.0 + 100.0 * time * 1.001 / 1e6
        });
        #[expect(clippy::cast_precision_loss, reason = "small sums")]
        let found = found as f64;
        prop_assert!((found - pairs.ceil()).abs() < 1.5, "{} {}", found, pairs);
        prop_assert_eq!(found > 0.0, pairs > 1e-6);
    }
}

/// Asks for far more than is allowed, in calls of 4 ms.
fn saturating() -> Vec<Ask> {
    let ask = Ask {
        after: 5_000,
        amount: 5,
        decided: 2_000,
        answered: 2_000,
        refund: None,
    };
    vec![ask; 1_000]
}

#[test]
fn a_rate_that_refills_a_twentieth_too_fast_is_found() {
    let good = check(RATE, &rate_history(&saturating(), 100, 40, 100));
    assert_eq!(good.over(), 0);
    assert!(good.fullest > 0.9, "{good:?}");
    assert!(check(RATE, &rate_history(&saturating(), 100, 40, 105)).over() > 0);
}

#[test]
fn a_window_that_forgets_a_twentieth_too_early_is_found() {
    let good = check(WINDOW, &window_history(&saturating(), 100, 100));
    assert_eq!(good.over(), 0);
    assert!(good.fullest > 0.9, "{good:?}");
    assert!(check(WINDOW, &window_history(&saturating(), 100, 95)).over() > 0);
}

#[test]
fn a_window_that_admits_one_too_many_is_found() {
    let grants = window_history(&saturating(), 105, 100);
    assert_eq!(check(WINDOW, &grants).over, 5);
}

#[test]
fn a_refund_that_can_have_come_in_time_makes_room() {
    let first = refunded(grant(100, 0, 10), 60, 500, 600);
    let second = grant(60, 550, 700);
    assert_eq!(check(WINDOW, &[first, second]).over(), 0);
    let more = grant(61, 550, 700);
    assert_eq!(check(WINDOW, &[first, more]).over(), 1);
    let long_before = grant(60, 20, 400);
    let more = check(WINDOW, &[first, long_before]);
    assert_eq!(more.over, 0, "the interval goes on after the refund");
}

#[test]
fn a_calendar_period_is_counted_from_where_it_begins() {
    let rule = Rule::Calendar {
        amount: 10,
        period: PERIOD,
        start: -400_000,
    };
    let before = [grant(10, 500_000, 500_100)];
    let after = [grant(10, 650_000, 650_100)];
    let both = [before, after].concat();
    assert_eq!(check(rule, &both).over(), 0);
    let again = [both, vec![grant(3, 700_000, 700_100)]].concat();
    assert_eq!(check(rule, &again).over(), 3);
    // Decided before or after: nobody knows.
    let astride = [before.to_vec(), vec![grant(10, 590_000, 610_000)]].concat();
    assert_eq!(check(rule, &astride).over(), 0);
}

#[test]
fn slots_are_held_until_their_settle_is_sent_or_their_time_is_up() {
    let rule = Rule::Slots(2);
    let held = |sent: Micros| refunded(grant(1, sent, sent + 10), 1, sent + 5_000, sent + 5_010);
    assert_eq!(check(rule, &[held(0), held(100), held(5_001)]).over(), 0);
    assert_eq!(check(rule, &[held(0), held(100), held(200)]).over(), 1);
    let expiring = Grant {
        ttl: Some(1_000),
        ..grant(1, 0, 10)
    };
    assert_eq!(check(rule, &[expiring, held(100), held(1_100)]).over(), 0);
    assert_eq!(check(rule, &[expiring, held(100), held(200)]).over(), 1);
}

#[test]
fn nothing_admitted_is_nothing_over() {
    for rule in [RATE, WINDOW, Rule::Slots(1)] {
        assert_eq!(check(rule, &[]).over(), 0);
    }
}

/// A window of 10 that is used up before and after each loss, and by what lies within one.
fn around_losses(after_second: u64) -> (Rule, Vec<Grant>, [std::ops::Range<Micros>; 2]) {
    let rule = Rule::Window {
        amount: 10,
        period: 100 * PERIOD,
    };
    let at = |amount, time| grant(amount, time, time + 10);
    let grants = vec![
        at(10, 100),
        grant(5, 900, 1_100),
        at(10, 3_000),
        at(6, 5_000),
        at(after_second, 6_000),
    ];
    (rule, grants, [1_000..2_000, 4_000..4_500])
}

#[test]
fn a_loss_allows_one_more_capacity_and_no_more() {
    let (rule, grants, losses) = around_losses(4);
    let apart = |grants: &[Grant]| checker::check_apart(rule, grants, 0..10_000, &losses);
    assert_eq!(apart(&grants[..1]).over(), 0);
    // What may have been decided within a loss is left to the total: 35 of 30.
    assert_eq!((apart(&grants).over, apart(&grants).over()), (0, 5));
    let surely: Vec<Grant> = grants.iter().filter(|it| it.amount != 5).copied().collect();
    assert_eq!(apart(&surely).over(), 0);
    assert_eq!(check(rule, &surely).over(), 20, "without the losses");
    let (_, grants, _) = around_losses(5);
    assert_eq!(apart(&grants).over, 1, "after the second loss");
}

#[test]
fn what_was_granted_within_a_loss_may_come_back_after_it() {
    let rule = Rule::Rate {
        amount: 1,
        period: 1_000_000,
        burst: 10,
    };
    let mut within = grant(5, 1_500, 1_600);
    let after = [grant(10, 2_050, 2_060), grant(5, 2_300, 2_310)];
    let over = |within: Grant| {
        let grants = [within, after[0], after[1]];
        checker::check_apart(
            rule,
            &grants,
            0..10_000,
            std::slice::from_ref(&(1_000..2_000)),
        )
        .over
    };
    assert_eq!(over(within), 5);
    within.settled = Some(Settled {
        at: Span {
            sent: 2_100,
            received: 2_200,
        },
        refunded: 5,
    });
    assert_eq!(over(within), 0);
}
