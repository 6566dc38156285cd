//! Many callers at a time, and what they do under a lock.

use crate::locks::prelude::*;
use crate::spawn;
use parking_lot::Mutex;
use std::sync::Arc;

/// As many callers as there may be, each with its turns under one lock.
const CALLERS: usize = 16;
const TURNS: u64 = 20;

pub async fn what_is_counted_under_a_lock_is_never_counted_twice(bench: &Bench) {
    // Read, let others run, write: without the lock counts would be lost.
    let counter = Arc::new(Mutex::new(0_u64));
    let callers = (0..CALLERS).map(|_| {
        let (bench, counter) = (bench.clone(), counter.clone());
        spawn(async move {
            for _ in 0..TURNS {
                let grant = bench.lock("counter").wait(HOUR).granted().await;
                let seen = *counter.lock();
                tokio::task::yield_now().await;
                *counter.lock() = seen + 1;
                bench.release(grant.lease).await.unwrap();
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    assert_eq!(*counter.lock(), CALLERS as u64 * TURNS);
}

/// A resource that takes no token lower than the highest it has seen.
#[derive(Default)]
struct Fenced {
    highest: Token,
    writes: Vec<Token>,
    refused: usize,
}

impl Fenced {
    fn write(&mut self, token: Token) {
        if token < self.highest {
            self.refused += 1;
            return;
        }
        self.highest = token;
        self.writes.push(token);
    }
}

pub async fn a_late_holder_never_writes_over_a_newer_one(bench: &Bench) {
    let mut resource = Fenced::default();
    let mut late = Vec::new();
    for _ in 0..5 {
        // Paused for longer than its lease, it does not know that others have come.
        let paused = bench.lock("file").ttl(ms(300)).granted().await;
        let next = bench.lock("file").wait(HOUR).granted().await;
        resource.write(next.locks[0].token);
        late.push(paused.locks[0].token);
        bench.release(next.lease).await.unwrap();
    }
    for token in &late {
        resource.write(*token);
    }
    assert_eq!((resource.writes.len(), resource.refused), (5, late.len()));
    assert!(resource.writes.is_sorted());
}

pub async fn every_waiting_call_of_many_is_let_in(bench: &Bench) {
    let order = Arc::new(Mutex::new(Vec::new()));
    let holder = bench.lock("a").granted().await;
    let mut callers = Vec::new();
    for place in 1..=40 {
        let (bench_, order) = (bench.clone(), order.clone());
        callers.push(spawn(async move {
            let grant = bench_.lock("a").wait(HOUR).granted().await;
            order.lock().push((place, grant.locks[0].token));
            bench_.release(grant.lease).await.unwrap();
        }));
        bench.until_waiting("a", place).await;
    }
    bench.release(holder.lease).await.unwrap();
    for caller in callers {
        caller.await.unwrap();
    }
    let order = order.lock();
    assert!(order.is_sorted_by_key(|(place, _)| *place), "{order:?}");
    assert!(order.is_sorted_by_key(|(_, token)| *token));
}
