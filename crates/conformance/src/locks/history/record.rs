//! Callers that use one lock at random and write down what they see.

use super::{Event, Operation, Stamp};
use crate::locks::Bench;
use crate::locks::bench::ms;
use crate::locks::session::TestSession;
use crate::spawn;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use trellis_core::locks::{LockOutcome, OnBreak};
use trellis_core::{ErrorCode, Micros, Result};

const CALLERS: u64 = 4;
const TURNS: usize = 5;

/// A rule that is broken on purpose, to show that the check finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// None: the backend as it is.
    Nothing,
    /// Renewals are acknowledged and not done.
    Renewals,
    /// A release ends whoever holds the lock.
    Releases,
}

/// Random numbers of a seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

#[derive(Default)]
struct Written {
    operations: Vec<Operation>,
    stamps: u64,
    leases: usize,
}

#[derive(Clone)]
struct Caller {
    bench: Bench,
    written: Arc<Mutex<Written>>,
    start: Instant,
    broken: Broken,
    faults: Faults,
}

/// Whether calls may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Faults {
    /// None may.
    None,
    /// What a failed call has done is not known; and a try may be refused though nobody holds the lock, because the
    /// backend does not know yet that nobody does.
    Some,
}

/// What callers of a seed see of one lock.
pub async fn record(bench: &Bench, seed: u64, broken: Broken) -> Vec<Operation> {
    recorded(bench, seed, broken, Faults::None).await
}

/// As [`record`], of a backend whose store or daemons fail meanwhile.
pub async fn record_under_faults(bench: &Bench, seed: u64) -> Vec<Operation> {
    recorded(bench, seed, Broken::Nothing, Faults::Some).await
}

async fn recorded(bench: &Bench, seed: u64, broken: Broken, faults: Faults) -> Vec<Operation> {
    let caller = Caller {
        bench: bench.clone(),
        written: Arc::default(),
        start: Instant::now(),
        broken,
        faults,
    };
    let callers = (0..CALLERS).map(|number| {
        let caller = caller.clone();
        let random = Random((seed * CALLERS + number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        spawn(caller.run(random))
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    std::mem::take(&mut caller.written.lock().operations)
}

impl Caller {
    async fn run(self, mut random: Random) {
        for _ in 0..TURNS {
            self.rest(random.below(200)).await;
            self.turn(&mut random).await;
        }
    }

    async fn rest(&self, millis: u64) {
        sleep_until(Instant::now() + Duration::from_millis(millis)).await;
    }

    fn stamp(&self) -> Stamp {
        let mut written = self.written.lock();
        written.stamps += 1;
        (Micros::from(self.start.elapsed()).0, written.stamps)
    }

    fn number(&self) -> usize {
        let mut written = self.written.lock();
        written.leases += 1;
        written.leases
    }

    /// A call has failed: it may have been granted, until it was taken back or ended.
    fn untold(&self, invoked: Stamp, shared: bool) {
        let lease = self.number();
        self.write(invoked, None, Event::Untold { lease, shared });
        self.write(invoked, None, Event::Expired(lease));
    }

    /// A holder is told that its lease is lost. Where the store loses data that may be before its time, as a higher token wins; but not
    /// before the holder asks: until then it counts on its lease.
    fn lost(&self, invoked: Stamp, returned: Option<Stamp>, lease: usize) {
        if self.faults == Faults::Some {
            self.write(invoked, None, Event::Expired(lease));
        }
        self.write(invoked, returned, Event::Lost(lease));
    }

    fn write(&self, invoked: Stamp, returned: Option<Stamp>, event: Event) {
        self.written.lock().operations.push(Operation {
            invoked,
            returned,
            event,
        });
    }

    /// A session for half of the turns.
    async fn session(&self, random: &mut Random, ttl: Micros) -> Result<Option<TestSession>> {
        if random.below(2) == 0 {
            return Ok(None);
        }
        let session = self.bench.session(ttl, OnBreak::Keep).await?;
        Ok(Some(session))
    }

    /// Asks for the lock, by itself or in a session; with it renews, and releases it or goes silent.
    async fn turn(&self, random: &mut Random) {
        let shared = random.below(3) == 0;
        let ttl = ms(100 + 100 * random.below(3));
        let opened = self.stamp();
        let Ok(session) = self.session(random, ttl).await else {
            assert_eq!(self.faults, Faults::Some);
            return;
        };
        let mut ask = self.bench.lock(if shared { "a*" } else { "a" }).ttl(ttl);
        if let Some(session) = &session {
            ask = ask.of(session);
        }
        if random.below(2) == 0 {
            ask = ask.wait(ms(400));
        }
        let asked = self.stamp();
        let acquired = ask.send().await;
        let answered = self.stamp();
        let acquired = match acquired {
            Ok(acquired) => acquired,
            Err(error) => {
                // A session may end while its call waits.
                let is_over = session.is_some() && is_lost(&error);
                assert!(is_over || self.faults == Faults::Some, "{error:?}");
                return self.untold(asked, shared);
            }
        };
        let mut renewed = if session.is_some() { opened } else { asked };
        let grant = match acquired.outcome {
            LockOutcome::Granted(grant) => grant,
            LockOutcome::Held { .. } if self.faults == Faults::None => {
                return self.write(asked, Some(answered), Event::Refused);
            }
            _ => return,
        };
        let lease = self.number();
        let token = grant.locks[0].token;
        let event = Event::Granted {
            lease,
            shared,
            token: token.get(),
        };
        self.write(asked, Some(answered), event);
        if random.below(2) == 0 {
            self.rest(random.below(300)).await;
            let invoked = self.stamp();
            let keeping = session.as_ref().map(TestSession::keep);
            let kept = match keeping {
                _ if self.broken == Broken::Renewals => Ok(ttl),
                Some(keeping) => keeping.await,
                None => self.bench.keep_alive(grant.lease).await,
            };
            let returned = Some(self.stamp());
            match &kept {
                Ok(_) => self.write(invoked, returned, Event::Renewed(lease)),
                Err(error) if is_lost(error) => self.lost(invoked, returned, lease),
                Err(_) => {}
            }
            if kept.is_ok() {
                renewed = invoked;
            }
        }
        // From here on it may end by itself, if it does not before.
        self.write((renewed.0 + ttl.0, 0), None, Event::Expired(lease));
        if random.below(3) > 0 {
            self.rest(random.below(200)).await;
            self.release(lease, grant.lease, random).await;
        }
    }

    async fn release(&self, lease: usize, id: trellis_core::locks::LeaseId, random: &mut Random) {
        let invoked = self.stamp();
        if self.broken == Broken::Releases {
            let held = self.bench.inspect("a").await;
            if let Some(holder) = held.holders.first() {
                let _ = self.bench.force("a", holder.token, None).await;
            }
            return self.write(invoked, None, Event::Released(lease));
        }
        let released = self.bench.release(id).await;
        // Some replies are lost: then nobody knows.
        let returned = (random.below(4) > 0).then(|| self.stamp());
        match released {
            Ok(()) => self.write(invoked, returned, Event::Released(lease)),
            Err(error) if is_lost(&error) => self.lost(invoked, returned, lease),
            Err(_) => self.write(invoked, None, Event::Released(lease)),
        }
    }
}

/// Whether an error says that the lease has ended.
fn is_lost(error: &trellis_core::Error) -> bool {
    matches!(error.code, ErrorCode::LeaseLost | ErrorCode::LeaseNotFound)
}
