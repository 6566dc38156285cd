//! Fair keys: whose waiting calls are served by turns, and in what proportion.

use crate::limits::ask::Pending;
use crate::limits::prelude::*;
use trellis_core::limits::LimitSpec;

/// Calls in line for `tokens`, each with the letter of its fair key, in order of arrival.
#[derive(Default)]
struct Line(Vec<(char, Pending)>);

impl Line {
    /// Puts calls of one key in line, one behind the other.
    async fn join(&mut self, bench: &Bench, key: char, weight: u32, count: usize) {
        self.join_with(bench, (key, weight), 1, count).await;
    }

    async fn join_with(&mut self, bench: &Bench, (key, weight): (char, u32), n: i64, count: usize) {
        for _ in 0..count {
            let call = bench.take("tokens", n).wait(HOUR);
            self.0
                .push((key, call.fair(&key.to_string(), weight).start()));
            bench.until_waiting("tokens", self.0.len()).await;
        }
    }

    /// Lets `limit` come into force and waits until all are served; tells their keys in that order. Calls
    /// of a key must have been served in order of arrival.
    async fn served(self, bench: &Bench, limit: LimitSpec) -> String {
        bench.declare("tokens", limit).await;
        let mut served: Vec<(Instant, usize, char)> = Vec::new();
        for (place, (key, pending)) in self.0.into_iter().enumerate() {
            let (_, at) = pending.granted().await;
            let same = served.iter().filter(|(.., other)| *other == key);
            assert!(
                same.map(|(at, ..)| *at).all(|before| before <= at),
                "{key} {place}"
            );
            served.push((at, place, key));
        }
        served.sort_unstable();
        served.into_iter().map(|(.., key)| key).collect()
    }
}

/// So many tokens at most; none is left, and none comes back while a line is made.
pub(super) async fn spent(bench: &Bench, capacity: i64) -> Bench {
    let bench = bench.on_one_daemon();
    bench.declare("tokens", rate(1, HOUR, capacity)).await;
    bench.take("tokens", capacity).granted().await;
    bench
}

/// A token every 100 ms.
fn one_at_a_time() -> LimitSpec {
    rate(10, SECOND, 1)
}

/// Serves three calls of so many, one after the other.
async fn serve_three(bench: &Bench, waiting: usize) {
    for served in 1..=3 {
        bench.reset("tokens").send().await.unwrap();
        bench.until_waiting("tokens", waiting - served).await;
    }
}

pub async fn keys_with_queues_of_different_lengths_are_served_by_turns(bench: &Bench) {
    let bench = &spent(bench, 1).await;
    let mut line = Line::default();
    line.join(bench, 'a', 0, 8).await;
    line.join(bench, 'b', 0, 3).await;
    line.join(bench, 'c', 0, 1).await;
    let empty = Instant::now();
    assert_eq!(line.served(bench, one_at_a_time()).await, "abcababaaaaa");
    // What a key leaves goes to the others at once.
    bench.assert_took(empty, Instant::now(), ms(1_200));
}

pub async fn keys_are_served_in_proportion_to_their_weights(bench: &Bench) {
    let bench = &spent(bench, 1).await;
    let mut line = Line::default();
    line.join(bench, 'a', 1, 6).await;
    line.join(bench, 'b', 3, 12).await;
    let served = line.served(bench, one_at_a_time()).await;
    for turns in 1..=4 {
        let of_a = served[..4 * turns].matches('a').count();
        assert_eq!(of_a, turns, "{served}");
    }
}

pub async fn calls_without_a_key_are_one_key(bench: &Bench) {
    let bench = &spent(bench, 1).await;
    let mut line = Line::default();
    for _ in 0..4 {
        let call = bench.take("tokens", 1).wait(HOUR).start();
        line.0.push(('-', call));
        bench.until_waiting("tokens", line.0.len()).await;
    }
    line.join(bench, 'a', 0, 2).await;
    assert_eq!(line.served(bench, one_at_a_time()).await, "-a-a--");
}

pub async fn units_count_and_not_calls(bench: &Bench) {
    let bench = &spent(bench, 3).await;
    let mut line = Line::default();
    line.join_with(bench, ('a', 0), 3, 3).await;
    line.join_with(bench, ('b', 0), 1, 6).await;
    let limit = rate(10, SECOND, 3);
    assert_eq!(line.served(bench, limit).await, "abbbabbba");
}

pub async fn a_key_that_comes_late_begins_at_the_turn_that_is_on(bench: &Bench) {
    let bench = &spent(bench, 1).await;
    let mut line = Line::default();
    line.join(bench, 'a', 0, 9).await;
    serve_three(bench, 9).await;
    let late = [('b', 7), ('b', 8), ('b', 9)];
    for (key, waiting) in late {
        let call = bench.take("tokens", 1).wait(HOUR).fair("b", 0).start();
        line.0.push((key, call));
        bench.until_waiting("tokens", waiting).await;
    }
    // Not behind the queue, and not several times in a row for having been away.
    assert_eq!(line.served(bench, one_at_a_time()).await, "aaaabababaaa");
}

pub async fn calls_that_leave_the_line_are_not_counted_against_their_key(bench: &Bench) {
    let bench = &spent(bench, 1).await;
    let mut given_up = Line::default();
    given_up.join(bench, 'a', 0, 6).await;
    for (_, pending) in given_up.0 {
        pending.cancel().await;
    }
    bench.until_waiting("tokens", 0).await;
    for _ in 0..6 {
        let call = bench.take("tokens", 1).wait(Micros::ZERO).fair("a", 0);
        call.timed_out().await;
    }
    let mut line = Line::default();
    line.join(bench, 'b', 0, 3).await;
    line.join(bench, 'a', 0, 3).await;
    assert_eq!(line.served(bench, one_at_a_time()).await, "bababa");
}

pub async fn every_interactive_key_is_served_before_any_batch_key(bench: &Bench) {
    let bench = &spent(bench, 1).await;
    let mut line = Line::default();
    for _ in 0..2 {
        let call = bench.take("tokens", 1).batch().wait(HOUR);
        line.0.push(('x', call.fair("x", 1_000).start()));
        bench.until_waiting("tokens", line.0.len()).await;
    }
    line.join(bench, 'a', 0, 3).await;
    line.join(bench, 'b', 0, 1).await;
    assert_eq!(line.served(bench, one_at_a_time()).await, "abaaxx");
}

pub async fn a_large_call_is_not_starved_by_small_ones_of_other_keys(bench: &Bench) {
    let bench = &spent(bench, 10).await;
    let mut line = Line::default();
    line.join(bench, 'a', 0, 5).await;
    line.join(bench, 'b', 0, 5).await;
    line.join_with(bench, ('c', 0), 10, 1).await;
    let limit = rate(10, SECOND, 10);
    assert_eq!(line.served(bench, limit).await, "abcabababab");
}

pub async fn a_call_that_does_not_wait_passes_no_key(bench: &Bench) {
    bench.declare("tokens", window(10, HOUR)).await;
    bench.take("tokens", 5).granted().await;
    let waiting = bench.take("tokens", 6).wait(HOUR).fair("a", 0).start();
    bench.until_waiting("tokens", 1).await;
    bench.take("tokens", 1).fair("b", 1_000).denied().await;
    waiting.cancel().await;
    bench.until_waiting("tokens", 0).await;
    bench.take("tokens", 1).fair("b", 1_000).granted().await;
}

pub async fn turns_are_taken_where_calls_lack_units_whatever_else_they_want(bench: &Bench) {
    let bench = &spent(bench, 1).await;
    bench.declare("plenty", window(1_000, HOUR)).await;
    let both = |key: &str| {
        let call = bench.ask([charge("plenty", 1), charge("tokens", 1)]);
        call.wait(HOUR).fair(key, 0).start()
    };
    let mut line = Line::default();
    for place in 1..=9 {
        line.0.push(('a', both("a")));
        bench.until_waiting("tokens", place).await;
    }
    // By now those that are left hold what they do not lack.
    serve_three(bench, 9).await;
    for place in 7..=8 {
        line.0.push(('b', both("b")));
        bench.until_waiting("tokens", place).await;
    }
    assert_eq!(line.served(bench, one_at_a_time()).await, "aaaababaaaa");
}

pub async fn a_request_id_belongs_to_its_key_and_weight(bench: &Bench) {
    bench.declare("tokens", window(10, HOUR)).await;
    let call = || bench.take("tokens", 1).request_id("r");
    call().fair("a", 2).granted().await;
    call().fair("a", 2).granted().await;
    for other in [call(), call().fair("b", 2), call().fair("a", 3)] {
        assert_eq!(other.error().await.code, ErrorCode::RequestIdReused);
    }
    assert_eq!(bench.remaining("tokens").await, 9);
}
