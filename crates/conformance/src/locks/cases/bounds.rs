//! Every bound has an answer, and room again is used again.

use crate::locks::prelude::*;

pub async fn a_lock_above_the_bound_is_refused(bench: &Bench) {
    let mut last = None;
    for number in 0..Settings::default().machine.max_locks {
        last = Some(bench.lock(&format!("lock-{number}")).granted().await);
    }
    let error = bench.lock("one-more").send().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::TooManyLocks);
    assert!(error.retry_after.is_some());
    bench.lock("lock-0").held().await;
    bench.release(last.unwrap().lease).await.unwrap();
    bench.lock("one-more").granted().await;
}

pub async fn a_lease_above_the_bound_is_refused(bench: &Bench) {
    let mut first = None;
    for _ in 0..Settings::default().machine.max_leases {
        let grant = bench.lock("a*").granted().await;
        first.get_or_insert(grant.lease);
    }
    assert_eq!(
        code(bench.lock("a*").send().await),
        ErrorCode::TooManyLeases
    );
    let session = bench.session(HOUR, OnBreak::Keep).await;
    assert_eq!(
        session.map(|_| ()).unwrap_err().code,
        ErrorCode::TooManyLeases
    );
    bench.release(first.unwrap()).await.unwrap();
    bench.lock("a*").granted().await;
}

pub async fn a_waiting_call_above_the_bound_is_refused(bench: &Bench) {
    bench.lock("a").granted().await;
    let mut line = Vec::new();
    for place in 1..=Settings::default().machine.max_waiters {
        line.push(bench.lock("a").wait(HOUR).start());
        bench.until_waiting("a", place).await;
    }
    assert_eq!(
        code(bench.lock("a").wait(HOUR).send().await),
        ErrorCode::TooManyWaiters
    );
    line.pop().unwrap().cancel().await;
    bench.until_waiting("a", line.len()).await;
    bench.lock("a").wait(ms(1)).timed_out().await;
}

pub async fn a_request_id_above_the_bound_is_refused_and_none_is_forgotten_early(bench: &Bench) {
    let max = Settings::default().machine.max_request_ids;
    let mut leases = Vec::new();
    for number in 0..max {
        leases.push(
            bench
                .lock(&format!("l{number}"))
                .id(&format!("r{number}"))
                .granted()
                .await
                .lease,
        );
    }
    let error = bench.lock("x").id("one-more").send().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::TooManyRequestIds);
    let again = bench.lock("l0").id("r0").granted().await;
    assert_eq!(again.lease, leases[0]);
    bench.elapse(error.retry_after.unwrap()).await;
    bench.elapse_until_late().await;
    bench.lock("x").id("one-more").granted().await;
}

pub async fn a_watch_above_the_bound_is_refused(bench: &Bench) {
    let mut watches = Vec::new();
    for _ in 0..Settings::default().max_watchers {
        let mut watch = bench.watch("a").await.unwrap();
        watch.next().await.unwrap();
        watches.push(watch);
    }
    // Over a stream the refusal comes in the place of the first state.
    let refused = match bench.watch("a").await {
        Ok(mut watch) => watch.next().await.map(drop),
        Err(error) => Err(error),
    };
    assert_eq!(code(refused), ErrorCode::TooManyStreams);
    drop(watches.pop());
    // One that has ended counts no more.
    let begins = async || match bench.watch("a").await {
        Ok(mut watch) => watch.next().await.is_ok(),
        Err(_) => false,
    };
    bench.until(begins, |begins| *begins).await;
}

pub async fn a_namespace_above_the_bound_is_refused(bench: &Bench) {
    let max = Settings::default().max_namespaces;
    for number in 0..max {
        bench.beside(&number.to_string()).lock("a").granted().await;
    }
    let more = bench.beside("more");
    let error = more.lock("a").send().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::TooManyNamespaces);
    // A look needs no place.
    assert_eq!(more.inspect("a").await.holder_count, 0);
}
