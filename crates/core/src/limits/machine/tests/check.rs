//! The machine's inner consistency: what must hold between any two calls.

use crate::Now;
use crate::limits::machine::line::Waiter;
use crate::limits::machine::queue::Caller;
use crate::limits::machine::reservations::State;
use crate::limits::machine::standing::Standing;
use crate::limits::machine::store::{BucketId, Entry};
use crate::limits::machine::{Ticket, Timer};
use crate::limits::{Bucket, Machine, Priority};
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
            self.check_queue(id, entry);
        }
    }

    fn check_queue(&self, id: BucketId, entry: &Entry) {
        let mut wanted = 0;
        let (mut line, mut kept_off) = (BTreeMap::new(), BTreeMap::new());
        let (mut holds, mut units) = (BTreeMap::new(), [0, 0]);
        for (ticket, waiter) in &self.waiters {
            let pairs = waiter.wants.iter().zip(&waiter.stands);
            for (want, stand) in pairs.filter(|(want, _)| want.bucket == id) {
                wanted += 1;
                match stand.place {
                    Standing::Aside => continue,
                    Standing::Line => _ = line.insert(*ticket, want.amount),
                    Standing::KeptOff => _ = kept_off.insert(*ticket, want.amount),
                    Standing::Hold(root) => {
                        let has_root = root.is_none_or(|root| waiter.stands_in_line_at(root));
                        assert!(has_root, "a hold has its root");
                        holds.insert(*ticket, root);
                    }
                }
                units[ticket.priority as usize] += want.amount;
            }
        }
        let Some(queue) = &entry.queue else {
            assert_eq!((wanted, entry.wake), (0, None), "nobody waits");
            return;
        };
        assert_eq!(queue.wanted, wanted, "who wants it is counted");
        assert!(wanted > 0, "nothing is kept while nobody waits");
        assert!(!line.is_empty() || entry.wake.is_none());
        assert_eq!((&queue.line.tickets, &queue.holds.all), (&line, &holds));
        assert_eq!(queue.kept_off.tickets, kept_off);
        let claimed = Priority::Batch;
        assert_eq!(queue.claimed_before(claimed), units[0] + units[1]);
        assert_eq!(queue.claimed_before(Priority::Interactive), units[0]);
        let rank = |ticket: &Ticket| {
            let waiter = &self.waiters[ticket];
            queue.rank(*ticket, waiter.fair.account(), waiter.since(id))
        };
        assert_eq!(queue.line.head(), line.keys().map(rank).min());
        assert_eq!(queue.kept_off.head(), kept_off.keys().map(rank).min());
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
            let places = || waiter.stands.iter().map(|stand| stand.place);
            let blocked = |it| matches!(it, Standing::Line | Standing::KeptOff);
            assert!(places().any(blocked), "it stands in some line");
            if waiter.holding {
                assert!(places().all(|it| it != Standing::Aside), "it holds all");
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

    /// Panics when a waiting call could be served, or when nothing would ever bring it a look.
    pub(in crate::limits::machine) fn check_nobody_is_forgotten(&mut self, now: Now) {
        for (ticket, waiter) in &self.waiters {
            let caller = Caller {
                ticket: *ticket,
                fair: &waiter.fair,
            };
            // Holds that it may pass because of their roots do not count: a root may change unseen, and
            // the next look tells.
            let mut open = true;
            for (want, stand) in waiter.wants.iter().zip(&waiter.stands) {
                let entry = self.store.entry_mut(want.bucket);
                let lacks = entry.lacks(want.amount, caller, stand.since, now);
                let queue = entry.queue.as_ref();
                open &= !lacks && !queue.is_some_and(|it| it.holds.stop(*ticket, |_| false));
            }
            assert!(!open, "{ticket:?} could be served");
        }
        // Of every line, whoever is next waits for time or for slots.
        for (_, entry) in &mut self.store.buckets {
            let units = entry.open_units(now);
            let slots = entry.bucket.holds_slots() && entry.paused_until <= now.mono;
            let Some(queue) = &entry.queue else { continue };
            if let Some(amount) = queue.line.head_amount() {
                assert!(units < amount, "the head should have been looked at");
                assert!(slots || entry.wake.is_some(), "the head is never woken");
            }
            // Unless behind that head, whoever is kept off waits for a hold to end.
            if let Some(head) = queue.kept_off.head()
                && queue.line.head().is_none_or(|line| head < line)
            {
                let first = queue.holds.all.keys().next();
                assert!(first.is_some_and(|first| *first < head.ticket));
            }
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
            let bucket = (&entry.bucket, entry.paused_until.max(now.mono));
            let queue = entry.queue.as_ref();
            let queue = queue.map(|queue| (queue.wanted, queue.len(), queue.turns()));
            let state = format!("{bucket:?} {queue:?} {:?}", entry.wake);
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

impl Waiter {
    fn stands_in_line_at(&self, bucket: BucketId) -> bool {
        let mut pairs = self.wants.iter().zip(&self.stands);
        pairs.any(|(want, stand)| want.bucket == bucket && stand.place == Standing::Line)
    }

    fn since(&self, bucket: BucketId) -> u64 {
        let mut pairs = self.wants.iter().zip(&self.stands);
        let here = pairs.find(|(want, _)| want.bucket == bucket);
        here.map_or(0, |(_, stand)| stand.since)
    }
}
