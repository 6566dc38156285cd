//! The machine's inner consistency: what must hold between any two calls.

use crate::Now;
use crate::limits::machine::reservations::State;
use crate::limits::machine::{Ticket, Timer};
use crate::limits::{Bucket, Machine};
use std::collections::BTreeMap;

impl Machine {
    /// Panics when two parts of the state contradict each other.
    pub(in crate::limits::machine) fn check(&self) {
        self.check_buckets();
        self.check_limits_and_pins();
        self.check_waiters();
        self.check_timers();
        self.check_slots();
        self.requests.check();
        assert!(self.waiters.len() <= self.config.max_waiters);
        assert!(self.reservations.len() <= self.config.max_reservations);
        assert!(self.requests.len() <= self.config.max_request_ids);
    }

    fn check_buckets(&self) {
        for (id, entry) in &self.store.buckets {
            let limit = self.store.limit(entry.limit);
            assert_eq!(
                limit.bucket(&entry.key),
                Some(id),
                "a bucket is found by its name"
            );
            assert!(entry.bucket.available() <= entry.bucket.capacity());
            let wants = self.waiters.values().flat_map(|waiter| &waiter.wants);
            let wanted = wants.filter(|want| want.bucket == id).count();
            assert_eq!(entry.wanted, wanted, "wanted is counted");
            let mut claims = BTreeMap::new();
            for (ticket, waiter) in &self.waiters {
                let mine = waiter
                    .wants
                    .iter()
                    .filter(|want| want.bucket == id && want.claimed);
                claims.extend(mine.map(|want| (*ticket, want.amount)));
            }
            let Some(line) = &entry.line else {
                assert!(claims.is_empty(), "who claims stands in line");
                assert_eq!(entry.wake, None, "nobody waits, nobody is woken");
                continue;
            };
            assert!(!line.claims.is_empty(), "no line is empty");
            assert_eq!(line.claims, claims);
            let sum = |batch: bool| -> i64 {
                let of_class = |ticket: &Ticket| is_batch(*ticket) == batch;
                claims
                    .iter()
                    .filter(|(ticket, _)| of_class(ticket))
                    .map(|(_, it)| it)
                    .sum()
            };
            assert_eq!((line.interactive, line.batch), (sum(false), sum(true)));
        }
    }

    fn check_limits_and_pins(&self) {
        let mut buckets = 0;
        for (id, limit) in &self.store.limits {
            assert_eq!(self.store.find(&limit.name), Some(id));
            buckets += limit.bucket_count();
            let ended = |state: &State| matches!(state, State::Settled(..));
            let open = self.reservations.values().filter(|it| !ended(&it.state));
            let taken = open.flat_map(|reservation| &reservation.taken);
            let pins = taken.filter(|taken| self.store.limit_of(taken) == Some(id));
            assert_eq!(limit.pins, pins.count(), "pins are counted");
        }
        assert_eq!(buckets, self.store.bucket_count());
    }

    fn check_waiters(&self) {
        for (ticket, waiter) in &self.waiters {
            let has = |timer| self.timers.contains(&timer);
            assert!(has((waiter.deadline, Timer::Deadline(*ticket))));
            let waits_to_hold = waiter.wants.len() > 1 && !waiter.holding;
            assert_eq!(has((waiter.hold_at, Timer::Hold(*ticket))), waits_to_hold);
            assert!(
                waiter.wants.iter().any(|want| want.claimed),
                "it stands in some line"
            );
            if waiter.holding {
                assert!(waiter.wants.iter().all(|want| want.claimed), "it holds all");
            }
        }
    }

    fn check_timers(&self) {
        let mut sweeps = 0;
        for (at, timer) in &self.timers {
            match timer {
                Timer::Expire(id) => {
                    let it = &self.reservations[id];
                    assert!(it.until == *at && matches!(it.state, State::Open));
                }
                Timer::Forget(id) => {
                    let it = &self.reservations[id];
                    assert!(it.until == *at && !matches!(it.state, State::Open));
                }
                Timer::Wake(bucket) => assert_eq!(self.store.entry(*bucket).wake, Some(*at)),
                Timer::Hold(ticket) => assert_eq!(self.waiters[ticket].hold_at, *at),
                Timer::Deadline(ticket) => assert_eq!(self.waiters[ticket].deadline, *at),
                Timer::Sweep => sweeps += 1,
            }
        }
        assert_eq!(sweeps, usize::from(self.store.sweeping));
        for id in self.reservations.keys() {
            let until = self.reservations[id].until;
            let timers = [(until, Timer::Expire(*id)), (until, Timer::Forget(*id))];
            let set = timers.iter().filter(|timer| self.timers.contains(timer));
            assert_eq!(set.count(), 1, "a reservation has one end");
        }
    }

    /// Slots held are those of open reservations, unless a reset or a change of kind freed them.
    fn check_slots(&self) {
        for (_, entry) in &self.store.buckets {
            let Bucket::Slots(bucket) = &entry.bucket else {
                continue;
            };
            let open = |id: &u64| matches!(self.reservations[id].state, State::Open);
            for (hold, amount) in bucket.holds() {
                assert!(
                    *amount > 0 && open(&hold.reservation),
                    "slots of a closed reservation"
                );
                assert_eq!(self.reservations[&hold.reservation].until, hold.until);
            }
            let held: i64 = bucket.holds().values().sum();
            assert_eq!(entry.bucket.available(), entry.bucket.capacity() - held);
        }
    }

    /// Panics when a waiting call could be served: every one must be blocked somewhere by the rule.
    pub(in crate::limits::machine) fn check_nobody_is_forgotten(&mut self, now: Now) {
        let waiting: Vec<_> = self
            .waiters
            .iter()
            .map(|(ticket, it)| (*ticket, it.wants.clone()))
            .collect();
        for (ticket, wants) in waiting {
            assert!(
                !self.all_open(&wants, ticket, now),
                "{ticket:?} could be served"
            );
            let timed = |want: &crate::limits::machine::acquire::Want| {
                let entry = self.store.entry(want.bucket);
                let behind = entry.head().is_some_and(|head| head < ticket);
                let slots = entry.bucket.holds_slots() && entry.paused_until <= now.mono;
                want.claimed && (behind || slots || entry.wake.is_some())
            };
            assert!(
                wants.iter().any(timed),
                "{ticket:?} waits for nothing that will come"
            );
        }
    }

    /// What a caller could ever notice, without the names of calls and reservations: idle full buckets,
    /// and the sweep that drops them, are as good as none.
    pub(in crate::limits::machine) fn picture(&mut self, now: Now) -> String {
        let mut buckets = BTreeMap::new();
        for (_, entry) in &mut self.store.buckets {
            if entry.is_idle_and_full(now) {
                continue;
            }
            let line = entry.line.iter();
            let claims: Vec<_> = line.flat_map(|line| line.claims.values()).collect();
            let bucket = (&entry.bucket, entry.paused_until.max(now.mono));
            let state = format!("{bucket:?} {claims:?} {:?} {}", entry.wake, entry.wanted);
            let name = self.store.limits[entry.limit].name.as_str();
            buckets.insert((name, entry.key.as_str()), state);
        }
        let kind = |timer: &Timer| match timer {
            Timer::Expire(_) => "expire",
            Timer::Wake(_) => "wake",
            Timer::Hold(_) => "hold",
            Timer::Deadline(_) => "deadline",
            Timer::Forget(_) => "forget",
            Timer::Sweep => "sweep",
        };
        let timers = self.timers.iter().map(|(at, it)| (*at, kind(it)));
        let timers: Vec<_> = timers.filter(|(_, kind)| *kind != "sweep").collect();
        let requests = (self.requests.len(), self.requests.next_due());
        let counts = (self.waiters.len(), self.reservations.len());
        format!("{buckets:#?} {timers:?} {requests:?} {counts:?}")
    }
}

fn is_batch(ticket: Ticket) -> bool {
    ticket.priority == crate::limits::Priority::Batch
}
