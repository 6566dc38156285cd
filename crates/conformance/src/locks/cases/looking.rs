//! Looks at locks, which change nothing.

use crate::locks::prelude::*;

pub async fn a_look_shows_who_holds_and_who_waits(bench: &Bench) {
    let holder = bench
        .lock("a")
        .owner("web-1")
        .value(b"10.0.0.1")
        .granted()
        .await;
    let _first = bench.lock("a*").owner("web-2").wait(HOUR).start();
    bench.until_waiting("a", 1).await;
    bench.elapse(ms(300)).await;
    let _second = bench.lock("a").owner("web-3").wait(HOUR).start();
    bench.until_waiting("a", 2).await;
    let state = bench.inspect("a").await;
    assert_eq!(
        (state.name.as_str(), state.holder_count, state.waiter_count),
        ("a", 1, 2)
    );
    let [shown] = &state.holders[..] else {
        panic!("{state:?}");
    };
    assert_eq!((&*shown.owner, &*shown.value), ("web-1", &b"10.0.0.1"[..]));
    assert_eq!(
        (shown.token, shown.mode),
        (holder.locks[0].token, LockMode::Exclusive)
    );
    bench.assert_left(shown.remaining, Micros(HOUR.0 - ms(300).0));
    bench.assert_left(shown.held_for, ms(300));
    let waiters = state.waiters.iter().map(|it| (&*it.owner, it.mode));
    let waiters: Vec<_> = waiters.collect();
    assert_eq!(
        waiters,
        [("web-2", LockMode::Shared), ("web-3", LockMode::Exclusive)]
    );
    bench.assert_left(state.waiters[0].waiting_for, ms(300));
}

pub async fn a_free_lock_is_shown_as_free(bench: &Bench) {
    let state = bench.inspect("never-seen").await;
    assert_eq!((state.holder_count, state.waiter_count), (0, 0));
    assert!(state.holders.is_empty() && state.waiters.is_empty());
    assert!(bench.page(10, None).await.locks.is_empty());
}

pub async fn pages_of_locks_are_complete_and_in_order(bench: &Bench) {
    for number in (0..10).rev() {
        bench.lock(&format!("lock-{number}")).granted().await;
    }
    let mut seen: Vec<String> = Vec::new();
    loop {
        let page = bench.page(3, seen.last().map(String::as_str)).await;
        seen.extend(page.locks.iter().map(|lock| lock.name.to_string()));
        assert!(page.locks.iter().all(|lock| lock.holder_count == 1));
        if !page.more {
            break;
        }
        assert_eq!(page.locks.len(), 3);
    }
    let expected: Vec<String> = (0..10).map(|number| format!("lock-{number}")).collect();
    assert_eq!(seen, expected);
}

pub async fn a_watch_tells_the_state_now_and_after_each_change(bench: &Bench) {
    let first = bench.lock("leader").value(b"one").granted().await;
    let mut watch = bench.watch("leader").await.unwrap();
    let (state, _) = watch.next().await.unwrap();
    assert_eq!(&*state.holders[0].value, b"one");
    bench.release(first.lease).await.unwrap();
    let (state, _) = watch.next().await.unwrap();
    assert_eq!(state.holder_count, 0);
    let second = bench.lock("leader").value(b"two").granted().await;
    let (state, _) = watch.next().await.unwrap();
    assert_eq!(&*state.holders[0].value, b"two");
    assert_eq!(state.holders[0].token, second.locks[0].token);
}

pub async fn a_slow_watch_misses_states_and_never_the_last(bench: &Bench) {
    let mut watch = bench.watch("leader").await.unwrap();
    assert_eq!(watch.next().await.unwrap().0.holder_count, 0);
    let mut last = Token::NONE;
    for round in 0..50 {
        let grant = bench.lock("leader").granted().await;
        last = grant.locks[0].token;
        if round < 49 {
            bench.release(grant.lease).await.unwrap();
        }
    }
    let mut told = 0;
    loop {
        let (state, _) = watch.next().await.unwrap();
        told += 1;
        if state
            .holders
            .first()
            .is_some_and(|holder| holder.token == last)
        {
            break;
        }
    }
    assert!(told <= 100, "{told} states of 100 changes");
}

pub async fn a_token_is_current_while_its_lease_stands(bench: &Bench) {
    let first = bench.lock("a").ttl(SECOND).granted().await;
    let token = first.locks[0].token;
    let state = bench.check("a", token).await;
    assert_eq!(state.held, token);
    bench.assert_left(state.remaining.unwrap(), SECOND);
    bench.release(first.lease).await.unwrap();
    let state = bench.check("a", token).await;
    assert_eq!((state.held, state.remaining), (Token::NONE, None));
    let second = bench.lock("a").granted().await;
    let state = bench.check("a", token).await;
    assert_eq!((state.held, state.remaining), (second.locks[0].token, None));
}
