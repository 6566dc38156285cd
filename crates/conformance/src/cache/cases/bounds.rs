//! Every bound has its answer.

use crate::cache::Settings;
use crate::cache::prelude::*;

fn settings() -> Settings {
    Settings::default()
}

pub async fn a_value_above_the_bound_is_refused_with_the_field(bench: &Bench) {
    let max = settings().machine.max_value_bytes;
    let large = vec![0; max + 1];
    let refused = bench.set_if("k", entry(large.clone()), Precondition::Always);
    assert_eq!(field(refused.await), "value");
    let lease = bench.lease("k").await;
    let half = vec![1; 1_000_000];
    let mut sent = 0;
    while sent + half.len() <= max {
        let appended = bench.append(lease, sent, half.clone()).await;
        sent = appended.unwrap().unwrap().size;
    }
    let refused = bench.append(lease, sent, half.clone()).await;
    assert_eq!(field(refused), "part");
    let refused = bench.try_fill(lease, entry(half), true).await;
    assert_eq!(field(refused), "value");
    // The lease is as it was.
    bench.fill(lease, "end").await.unwrap();
    assert_eq!(bench.get("k").await.unwrap().content.len(), sent + 3);
}

pub async fn unfinished_values_above_the_bound_are_refused(bench: &Bench) {
    let max = settings().machine.max_fill_bytes;
    let (one, two) = (bench.lease("1").await, bench.lease("2").await);
    let part = vec![1; 1_000_000];
    for number in 0..3 {
        for lease in [one, two] {
            let offset = number * part.len();
            if (2 * number + 2) * part.len() <= max {
                let appended = bench.append(lease, offset, part.clone()).await;
                appended.unwrap().unwrap();
            }
        }
    }
    let full = bench.append(one, 2 * part.len(), part.clone()).await;
    full.unwrap().unwrap();
    let full = bench.append(two, 2 * part.len(), part.clone()).await;
    assert_eq!(code(full), ErrorCode::TooManyBytes);
    bench.give_up(one).await.unwrap();
    let appended = bench.append(two, 2 * part.len(), part).await;
    appended.unwrap().unwrap();
}

pub async fn a_lease_above_the_bound_is_refused(bench: &Bench) {
    let max = settings().machine.max_leases;
    let mut last = None;
    for number in 0..max {
        last = Some(bench.lease(&format!("k{number}")).await);
    }
    let refused = bench.ask(&["more"]).one().await;
    assert_eq!(code(refused), ErrorCode::TooManyLeases);
    // What is there is still served.
    bench.set("hit", "v").await;
    bench.ask(&["hit"]).hit().await;
    bench.give_up(last.unwrap()).await.unwrap();
    bench.lease("more").await;
}

pub async fn a_waiting_call_above_the_bound_is_refused(bench: &Bench) {
    let max = settings().machine.max_waiters;
    let lease = bench.lease("k").await;
    let mut line = Vec::new();
    for _ in 0..max {
        line.push(bench.wait("k").await);
    }
    let refused = bench.ask(&["k"]).one().await;
    assert_eq!(code(refused), ErrorCode::TooManyWaiters);
    bench.fill(lease, "v").await.unwrap();
    for waiter in line {
        waiter.value().await;
    }
}

pub async fn a_namespace_above_the_bound_is_refused_while_none_is_empty(bench: &Bench) {
    let max = settings().max_namespaces;
    for number in 0..max {
        bench.beside(&number.to_string()).set("k", "v").await;
    }
    let more = bench.beside("more");
    let refused = more.set_if("k", "v", Precondition::Always).await;
    assert_eq!(code(refused), ErrorCode::TooManyNamespaces);
    assert_eq!(more.get("k").await, None);
    assert_eq!(more.delete("k").await, Deleted::Absent);
    bench.beside("0").delete("k").await;
    more.set("k", "v").await;
    assert!(more.get("k").await.is_some());
    assert!(bench.beside("1").get("k").await.is_some());
}
