//! The machine and the model side by side: each call is made of both, and the answers compared.

use super::bucket::{Event, Model};
use crate::ErrorCode;
use crate::limits::machine::tests::harness::*;
use crate::limits::{
    Acquired, LevelPolicy, LimitSpec, MachineConfig, Outcome, ReservationId, SetLimit, Usage,
};
use crate::{Micros, Result};

/// The buckets in play.
pub const BUCKETS: [&str; 6] = ["r", "r/k", "fast", "w", "c", "s"];

/// A charge that a reservation holds: of which bucket, how much, which event of it, when.
#[derive(Clone, Debug)]
struct Held {
    bucket: usize,
    amount: i64,
    event: usize,
    at: u64,
}

/// What was said to be used of each bucket, and the answer: refunded and remaining.
type Usages = (Vec<i64>, Vec<(i64, i64)>);

#[derive(Debug)]
struct Reserved {
    id: ReservationId,
    until: u64,
    held: Vec<Held>,
    settled: Option<Usages>,
}

/// A machine and its model.
#[derive(Debug)]
pub struct Pair {
    pub sim: Sim,
    pub buckets: Vec<Model>,
    reserved: Vec<Reserved>,
    /// What the last denied call was, and how long it should wait.
    pub denied: Option<(Vec<(usize, i64)>, u64)>,
}

pub fn first_spec(limit: &str) -> LimitSpec {
    match limit {
        "r" | "r/k" => rate(7, 20),
        "fast" => rate(3_000_000, 50),
        "w" => window(20),
        "c" => minute(20),
        _ => slots(20),
    }
}

impl Pair {
    pub fn new() -> Self {
        let config = MachineConfig {
            // A dropped bucket is tested elsewhere: here a spec changes what is there.
            sweep_every: Micros::from_secs(1_000_000),
            ..MachineConfig::default()
        };
        let limits = ["r", "fast", "w", "c", "s"].map(|name| (name, first_spec(name)));
        let mut pair = Self {
            sim: Sim::with(config).declare(&limits),
            buckets: BUCKETS.map(|name| Model::new(first_spec(name))).to_vec(),
            reserved: Vec::new(),
            denied: None,
        };
        let all: Vec<_> = (0..BUCKETS.len()).map(|bucket| (bucket, 1)).collect();
        pair.acquire(&all, Some(SECOND), false);
        pair
    }

    pub fn now(&self) -> u64 {
        self.sim.now.mono.0 - 1
    }

    /// Every level agrees, and none is above its capacity.
    pub fn compare_levels(&mut self) {
        for (index, name) in BUCKETS.iter().enumerate() {
            let (least, most) = self.buckets[index].available(self.now());
            let remaining = self.sim.remaining(name);
            assert!(
                (least..=most).contains(&remaining),
                "{name}: {remaining}, not {least} to {most}"
            );
            assert!(remaining <= self.buckets[index].spec().capacity());
        }
    }

    pub fn acquire(&mut self, charges: &[(usize, i64)], ttl: Option<u64>, dry: bool) {
        let mut request = call(&named(charges));
        request.reservation_ttl = ttl.map(Micros);
        request.dry_run = dry;
        let acquired = self.sim.acquire(&request);
        if !self.expect(charges, &acquired) || dry {
            return;
        }
        let now = self.now();
        let Outcome::Granted(granted) = acquired.outcome else {
            panic!("must be granted");
        };
        let has_slots = charges.iter().any(|(bucket, _)| self.holds_slots(*bucket));
        assert_eq!(granted.is_some(), ttl.is_some() || has_slots);
        let until = now + ttl.unwrap_or(60 * SECOND);
        if let Some(granted) = granted {
            assert_eq!(granted.ttl.0, until - now);
            self.reserved.push(Reserved {
                id: granted.id,
                until,
                held: Vec::new(),
                settled: None,
            });
        }
        self.take(
            charges,
            until,
            self.reserved.len().wrapping_sub(1),
            ttl.is_some() || has_slots,
        );
        self.compare_levels();
    }

    /// Checks an answer against the model; tells whether the charges were granted.
    fn expect(&mut self, charges: &[(usize, i64)], acquired: &Acquired) -> bool {
        let now = self.now();
        let fits = |time: u64| {
            let each = charges
                .iter()
                .map(|(bucket, amount)| self.buckets[*bucket].fits(*amount, time));
            each.fold((true, true), |all, one| (all.0 && one.0, all.1 && one.1))
        };
        let (surely, possibly) = fits(now);
        let capacity = |bucket: usize| self.buckets[bucket].spec().capacity();
        let never = charges
            .iter()
            .any(|(bucket, amount)| *amount > capacity(*bucket));
        for ((bucket, amount), state) in charges.iter().zip(&acquired.charges) {
            let Some(wait) = state.retry_after else {
                continue;
            };
            if *amount <= capacity(*bucket) {
                let model = &self.buckets[*bucket];
                assert!(model.fits(*amount, now + wait.0).1, "told too early");
                assert!(!model.fits(*amount, now + wait.0 - 1).0, "told too late");
            }
        }
        match &acquired.outcome {
            Outcome::Never => assert!(never),
            Outcome::Granted(_) => {
                assert!(
                    !never && possibly,
                    "more than the model allows: {charges:?}"
                );
                return true;
            }
            Outcome::Denied(wait) => {
                assert!(!never && !surely, "less than the model allows: {charges:?}");
                assert!(wait.0 > 0 && fits(now + wait.0).1 && !fits(now + wait.0 - 1).0);
                self.denied = Some((charges.to_vec(), wait.0));
            }
            other => panic!("{other:?}"),
        }
        false
    }

    fn take(&mut self, charges: &[(usize, i64)], until: u64, call: usize, held: bool) {
        let now = self.now();
        for (bucket, amount) in charges {
            let model = &mut self.buckets[*bucket];
            model.events.push((now, Event::Take(*amount)));
            if held {
                self.reserved[call].held.push(Held {
                    bucket: *bucket,
                    amount: *amount,
                    event: model.events.len() - 1,
                    at: now,
                });
            }
            if self.holds_slots(*bucket) {
                self.buckets[*bucket].held.push((call, *amount, until));
            }
        }
    }

    fn holds_slots(&self, bucket: usize) -> bool {
        matches!(self.buckets[bucket].spec(), LimitSpec::Concurrency(_))
    }

    /// Settles a reservation: each of its buckets used as a quarter-fold of what was reserved.
    pub fn settle(&mut self, which: usize, quarters: Option<&[i64]>) {
        let Some(call) = which.checked_rem(self.reserved.len()) else {
            return;
        };
        let now = self.now();
        let mut buckets: Vec<usize> = Vec::new();
        for held in &self.reserved[call].held {
            if !buckets.contains(&held.bucket) {
                buckets.push(held.bucket);
            }
        }
        let reserved = |bucket: usize| -> i64 {
            let mine = self.reserved[call]
                .held
                .iter()
                .filter(|held| held.bucket == bucket);
            mine.map(|held| held.amount).sum()
        };
        let actual: Vec<i64> = buckets
            .iter()
            .map(|bucket| match quarters {
                _ if self.holds_slots(*bucket) => reserved(*bucket),
                Some(quarters) => reserved(*bucket) * quarters[*bucket] / 4,
                None => 0,
            })
            .collect();
        let usage = quarters.map_or(Usage::RefundAll, |_| {
            let pairs: Vec<_> = buckets
                .iter()
                .zip(&actual)
                .map(|(it, n)| (BUCKETS[*it], *n))
                .collect();
            used(&pairs)
        });
        let request = settle(&self.reserved[call].id, usage);
        let answer = self.sim.settle(&request);
        if let Some((first, charges)) = &self.reserved[call].settled {
            match answer {
                Ok(again) => assert!(*first == actual && *charges == again),
                Err(error) if error.code == ErrorCode::ReservationNotFound => {
                    assert!(now > 600 * SECOND, "forgotten after a window");
                }
                Err(error) => {
                    assert!(error.code == ErrorCode::ReservationSettled && *first != actual);
                }
            }
            return;
        }
        let open = now < self.reserved[call].until;
        let owes = buckets
            .iter()
            .zip(&actual)
            .any(|(bucket, n)| *n > reserved(*bucket));
        let gives = buckets
            .iter()
            .zip(&actual)
            .any(|(bucket, n)| *n < reserved(*bucket));
        if now >= self.reserved[call].until + 600 * SECOND {
            assert_eq!(answer.unwrap_err().code, ErrorCode::ReservationNotFound);
        } else if !open && gives && !owes {
            assert_eq!(answer.unwrap_err().code, ErrorCode::ReservationExpired);
        } else {
            self.settle_in_model(call, open, (&buckets, &actual), answer);
        }
        self.compare_levels();
    }

    fn settle_in_model(
        &mut self,
        call: usize,
        open: bool,
        (buckets, actual): (&[usize], &[i64]),
        answer: Result<Vec<(i64, i64)>>,
    ) {
        let answer = answer.unwrap();
        let now = self.now();
        assert_eq!(answer.len(), buckets.len());
        for ((bucket, actual), (refunded, remaining)) in buckets.iter().zip(actual).zip(&answer) {
            let held = self.reserved[call].held.clone();
            let mine: Vec<_> = held
                .into_iter()
                .filter(|held| held.bucket == *bucket)
                .collect();
            let reserved: i64 = mine.iter().map(|held| held.amount).sum();
            if self.holds_slots(*bucket) {
                let model = &mut self.buckets[*bucket];
                let freed = model.held.iter().filter(|it| it.0 == call && it.2 > now);
                assert_eq!(*refunded, freed.map(|it| it.1).sum::<i64>());
                model.held.retain(|it| it.0 != call);
            } else if *actual > reserved {
                assert_eq!(*refunded, 0);
                let debt = Event::Take(actual - reserved);
                self.buckets[*bucket].events.push((now, debt));
            } else if open {
                let given = self.give_back(&mine, reserved - actual, *refunded);
                assert_eq!(*refunded, given, "refunded of {}", BUCKETS[*bucket]);
            } else {
                assert_eq!(*refunded, 0, "a late refund is refused");
            }
            let (least, most) = self.buckets[*bucket].available(now);
            assert!((least..=most).contains(remaining));
        }
        self.reserved[call].settled = Some((actual.to_vec(), answer));
    }

    /// Gives units back, the newest charge first; what the machine gave back decides only where the
    /// contract leaves it a choice.
    fn give_back(&mut self, mine: &[Held], units: i64, machine: i64) -> i64 {
        let now = self.now();
        let mut given = 0;
        for held in mine.iter().rev() {
            let model = &mut self.buckets[held.bucket];
            let back = held.amount.min(units - given);
            if model.filled_after(held.event) {
                continue;
            }
            let room = match model.spec() {
                LimitSpec::Rate(spec) => spec.burst() - model.available(now).0,
                LimitSpec::Calendar(spec) => {
                    let same = (EPOCH + held.at) / 60_000_000 == (EPOCH + now) / 60_000_000;
                    if same {
                        spec.amount() - model.available(now).0
                    } else {
                        0
                    }
                }
                LimitSpec::Window(spec) => {
                    let age = now - held.at;
                    let late = spec.period().0 / 60;
                    if age < spec.period().0 {
                        back
                    } else if age < spec.period().0 + late {
                        machine - given
                    } else {
                        0
                    }
                }
                LimitSpec::Concurrency(_) => 0,
            };
            let back = back.min(room.max(0));
            if let LimitSpec::Window(_) = model.spec() {
                let Event::Take(amount) = &mut model.events[held.event].1 else {
                    panic!("a charge");
                };
                *amount -= back;
            } else {
                model.events.push((now, Event::Take(-back)));
            }
            given += back;
        }
        given
    }

    pub fn extend(&mut self, which: usize, ttl: u64, charges: &[(usize, i64)]) {
        let Some(call) = which.checked_rem(self.reserved.len()) else {
            return;
        };
        let now = self.now();
        let request = extend(&self.reserved[call].id, ttl, &named(charges));
        let answer = self.sim.extend(&request);
        if self.reserved[call].settled.is_some() || now >= self.reserved[call].until {
            let code = answer.unwrap_err().code;
            let settled = self.reserved[call].settled.is_some();
            assert!(
                code == ErrorCode::ReservationNotFound
                    || (settled && code == ErrorCode::ReservationSettled)
                    || (!settled && code == ErrorCode::ReservationExpired)
            );
            return;
        }
        if self.expect(charges, &answer.unwrap()) {
            let until = self.reserved[call].until.max(now + ttl);
            self.reserved[call].until = until;
            for model in &mut self.buckets {
                for held in model
                    .held
                    .iter_mut()
                    .filter(|held| held.0 == call && held.2 > now)
                {
                    held.2 = until;
                }
            }
            self.take(charges, until, call, true);
        }
        self.compare_levels();
    }

    pub fn reset(&mut self, bucket: usize) {
        let (name, key) = bucket_of(BUCKETS[bucket]);
        self.sim.reset(name, Some(key));
        let now = self.now();
        let model = &mut self.buckets[bucket];
        // What is full already is not reset: there is nothing to forgive.
        if model.available(now).0 < model.spec().capacity() || now < model.paused_until {
            model.events.push((now, Event::Fill));
        }
        model.held.clear();
        model.paused_until = 0;
        self.compare_levels();
    }

    pub fn set_limit(&mut self, bucket: usize, spec: &LimitSpec, level_policy: LevelPolicy) {
        let (limit, _) = bucket_of(BUCKETS[bucket]);
        self.sim.set(&SetLimit {
            level_policy,
            ..set_limit(limit, spec.clone())
        });
        let now = self.now();
        for (name, model) in BUCKETS.iter().zip(&mut self.buckets) {
            if bucket_of(name).0 == limit {
                let full = model.available(now).0 >= model.spec().capacity();
                let idle = full && now >= model.paused_until;
                let event = Event::Spec(spec.clone(), level_policy, idle);
                model.events.push((now, event));
            }
        }
        self.compare_levels();
    }

    pub fn report(&mut self, bucket: usize, pause: u64, remaining: Option<i64>) {
        let (name, _) = bucket_of(BUCKETS[bucket]);
        let bucket = BUCKETS.iter().position(|it| *it == name).unwrap_or(bucket);
        let before = self.sim.remaining(name);
        let paused = self.sim.throttle(name, pause, remaining);
        let now = self.now();
        let model = &mut self.buckets[bucket];
        model.paused_until = model.paused_until.max(now + pause);
        assert_eq!(paused, model.paused_until - now);
        match (remaining, model.spec()) {
            (Some(left), LimitSpec::Window(_)) if left < before => {
                model.events.push((now, Event::Take(before - left)));
            }
            (None, _) | (_, LimitSpec::Window(_) | LimitSpec::Concurrency(_)) => {}
            (Some(left), _) => model.events.push((now, Event::Lower(left))),
        }
        self.compare_levels();
    }

    /// The call that was denied last fits at exactly the time that was told, when nothing happens.
    pub fn retry(&mut self) {
        let Some((charges, wait)) = self.denied.take() else {
            return;
        };
        self.sim.pass(wait - 1);
        assert!(
            !self.sim.granted(&call(&named(&charges))),
            "granted a microsecond early"
        );
        self.sim.pass(1);
        let acquired = self.sim.acquire(&call(&named(&charges)).dry());
        assert!(
            matches!(acquired.outcome, Outcome::Granted(_)),
            "not granted when told"
        );
    }
}

fn named(charges: &[(usize, i64)]) -> Vec<(&'static str, i64)> {
    charges
        .iter()
        .map(|(bucket, amount)| (BUCKETS[*bucket], *amount))
        .collect()
}

fn bucket_of(name: &'static str) -> (&'static str, &'static str) {
    name.split_once('/').unwrap_or((name, ""))
}
