//! A world in which daemons spend slices, and everything goes wrong that may.

use super::{Admission, Granted, Random, SliceStore};
use std::collections::{BTreeMap, BTreeSet};
use trellis_core::limits::leases::{
    Answer, Ask, BucketRef, Held, LeaseConfig, Leases, Return, Verdict, Wanted,
};
use trellis_core::limits::{LimitSpec, SpecSource};
use trellis_core::{Micros, Time};

/// The slices of different lives of daemons are named apart.
const LIFE: u64 = 1_000_000;
const HOT: BucketRef<'_> = BucketRef {
    hash: 7,
    namespace: "world",
    limit: "hot",
    key: "",
};

/// What a daemon does wrong, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// Its clock stands still while it does.
    ClockStops,
    /// It spends without looking at the clock: as if no time had passed since its slices came.
    NeverLooks,
    /// It goes on spending what it has given back.
    SpendsReturned,
}

/// A clock that runs a little wrong.
#[derive(Clone, Copy)]
struct Skewed {
    offset: u64,
    /// Thousandths of its speed.
    speed: u64,
    /// How long it has stood still.
    stood: u64,
}

impl Skewed {
    fn at(self, time: u64) -> Time {
        Time(self.offset + (time - self.stood) * self.speed / 1_000)
    }
}

struct Daemon {
    leases: Leases,
    /// What a broken daemon goes on spending.
    stale: Option<(Leases, Time)>,
    clock: Skewed,
    life: u64,
    paused_until: u64,
}

/// What is on its way.
enum Event {
    Lease(usize, u64, Ask),
    Return(usize, Return),
    Answered(usize, u64, Ask, Granted, u64),
    Unanswered(usize, u64, Ask),
    NotReturned(usize, u64, Return),
    Recall(usize),
    Decided(usize, u64, Held, Option<Admission>),
}

/// What has happened.
#[derive(Debug, Default)]
pub struct History {
    /// Everything admitted.
    pub admissions: Vec<Admission>,
    /// Units spent out of slices.
    pub leased: i64,
    /// Slices granted, returns sent, pauses, crashes.
    pub counts: BTreeMap<&'static str, u64>,
}

/// Some daemons on one store.
pub struct World<'a, S> {
    store: &'a mut S,
    random: Random,
    config: LeaseConfig,
    spec: LimitSpec,
    mishap: Option<Mishap>,
    /// How many messages in a hundred are lost, and how many come twice. Without losses nothing hides an excess.
    chaos: u64,
    /// Messages may take longer than a slice lasts.
    slow: bool,
    now: u64,
    quiet_until: u64,
    daemons: Vec<Daemon>,
    events: BTreeMap<(u64, u64), Event>,
    /// Asks that are answered once at most.
    open: BTreeSet<(usize, u64)>,
    sent: u64,
    lives: u64,
    colds: u64,
    history: History,
}

impl<'a, S: SliceStore> World<'a, S> {
    /// Three daemons on a store whose bucket is full at `start`.
    pub fn new(
        store: &'a mut S,
        spec: LimitSpec,
        seed: u64,
        start: u64,
        mishap: Option<Mishap>,
    ) -> Self {
        let mut world = Self {
            store,
            random: Random::new(seed),
            config: LeaseConfig::default(),
            spec,
            mishap,
            chaos: [0, 0, 5, 15][usize::try_from(seed % 4).unwrap_or(0)],
            slow: seed % 4 % 2 == 1,
            now: start,
            quiet_until: 0,
            daemons: Vec::new(),
            events: BTreeMap::new(),
            open: BTreeSet::new(),
            sent: 0,
            lives: 0,
            colds: 0,
            history: History::default(),
        };
        for _ in 0..3 {
            let daemon = world.born();
            world.daemons.push(daemon);
        }
        world
    }

    /// Lives through some microseconds of the store's time, then until every slice has ended.
    #[must_use]
    pub fn run(mut self, span: u64) -> History {
        let end = self.now + span;
        while self.now < end {
            self.step();
        }
        for daemon in 0..self.daemons.len() {
            self.daemons[daemon].paused_until = 0;
            let now = self.clock(daemon);
            self.daemons[daemon].leases.recall_all(now);
            self.send(daemon);
        }
        self.now += 10_000_000;
        self.deliver();
        self.history
    }

    fn born(&mut self) -> Daemon {
        self.lives += 1;
        // The margin is a tenth of a slice's time: clocks may drift apart by so much.
        let speed = self.random.between(910, 1_090);
        Daemon {
            leases: Leases::new(self.config, self.lives * LIFE, 1),
            stale: None,
            clock: Skewed {
                offset: self.random.between(1, 1_000_000_000),
                speed,
                stood: 0,
            },
            life: self.lives,
            paused_until: 0,
        }
    }

    fn clock(&self, daemon: usize) -> Time {
        self.daemons[daemon].clock.at(self.now)
    }

    fn count(&mut self, what: &'static str) {
        *self.history.counts.entry(what).or_default() += 1;
    }

    fn step(&mut self) {
        let pass = match self.random.between(0, 200) {
            0 => self.random.between(100_000, 1_500_000),
            1..10 => self.random.between(5_000, 60_000),
            _ => self.random.between(0, 1_500),
        };
        self.now += pass;
        self.deliver();
        let daemon = self.random.index(self.daemons.len());
        if self.daemons[daemon].paused_until.max(self.quiet_until) > self.now {
            return;
        }
        match self.random.between(0, 2_000) {
            0..4 => self.pause(daemon),
            4..6 if self.chaos > 0 => {
                self.count("crashes");
                self.daemons[daemon] = self.born();
            }
            6..10 => {
                let amount = self.random.amount(1, 60);
                self.charge(daemon, amount);
            }
            10..50 => {
                for _ in 0..40 {
                    self.call(daemon);
                }
            }
            _ => self.call(daemon),
        }
        let now = self.clock(daemon);
        self.daemons[daemon].leases.tick(now);
        self.send(daemon);
    }

    fn pause(&mut self, daemon: usize) {
        self.count("pauses");
        let span = self.random.between(50_000, 2_500_000);
        self.daemons[daemon].paused_until = self.now + span;
        if self.random.percent(40) {
            // Nobody else asks meanwhile, so that the store fills up.
            self.quiet_until = self.now + span;
        }
        if self.mishap == Some(Mishap::ClockStops) {
            self.daemons[daemon].clock.stood += span;
        }
    }

    /// A charge that is decided in the store.
    fn charge(&mut self, daemon: usize, units: i64) {
        if self.store.charge(self.now, daemon, units) {
            let at = self.now;
            self.history.admissions.push(Admission { at, units });
        }
        for told in self.store.recalled() {
            self.count("recalls");
            // A hint: late, lost or doubled.
            for _ in 0..self.random.between(0, 3) {
                let delay = self.random.between(100, 400_000);
                self.later(delay, Event::Recall(told));
            }
        }
    }

    fn call(&mut self, daemon: usize) {
        let both = self.random.percent(10);
        let amount = self.random.amount(1, if both { 40 } else { 6 });
        let now = match (self.mishap, &self.daemons[daemon].stale) {
            (Some(Mishap::NeverLooks), Some((_, frozen))) => *frozen,
            _ => self.clock(daemon),
        };
        let hot = Wanted {
            bucket: HOT,
            amount,
            spec: None,
            require_spec: false,
        };
        self.colds += 1;
        let cold = Wanted {
            bucket: BucketRef {
                hash: 1_000 + self.colds,
                limit: "cold",
                ..HOT
            },
            ..hot
        };
        let charges = if both { &[hot, cold][..] } else { &[hot][..] };
        let leases = &mut self.daemons[daemon].leases;
        let at = self.now;
        let units = amount;
        match leases.decide(now, charges, false, true) {
            Verdict::Granted(states) => {
                debug_assert_eq!(states.len(), 1);
                self.history.leased += units;
                self.history.admissions.push(Admission { at, units });
            }
            Verdict::Mixed(held) => {
                let kept = self.random.percent(50);
                let admission = kept.then_some(Admission { at, units });
                let life = self.daemons[daemon].life;
                let delay = self.random.between(100, 900_000);
                self.later(delay, Event::Decided(daemon, life, held, admission));
            }
            Verdict::Exact => self.charge(daemon, amount),
            Verdict::Denied(..) | Verdict::Join(_) => {}
        }
        self.spend_stale(daemon, &hot);
    }

    /// What a daemon does that goes on spending slices that it has given back.
    fn spend_stale(&mut self, daemon: usize, hot: &Wanted<'_>) {
        if self.mishap != Some(Mishap::SpendsReturned) {
            return;
        }
        let (at, units) = (self.now, hot.amount);
        let now = self.clock(daemon);
        if let Some((stale, _)) = &mut self.daemons[daemon].stale
            && matches!(stale.decide(now, &[*hot], false, true), Verdict::Granted(_))
        {
            self.history.admissions.push(Admission { at, units });
        }
    }

    fn later(&mut self, delay: u64, event: Event) {
        self.sent += 1;
        self.events.insert((self.now + delay, self.sent), event);
    }

    fn delay(&mut self) -> u64 {
        match self.random.between(0, 10) {
            0 if self.slow => self.random.between(100_000, 2_000_000),
            1..4 => self.random.between(10_000, 100_000),
            _ => self.random.between(100, 3_000),
        }
    }

    /// Sends what a daemon has to send; a message is lost, or comes twice, now and then.
    fn send(&mut self, daemon: usize) {
        let now = self.clock(daemon);
        let life = self.daemons[daemon].life;
        let work = self.daemons[daemon].leases.take_work(now);
        for ask in work.asks {
            self.count("asks");
            self.open.insert((daemon, ask.slice));
            let timeout = self.random.between(200_000, 3_000_000);
            self.later(timeout, Event::Unanswered(daemon, life, ask.clone()));
            for _ in 0..self.copies() {
                let delay = self.delay();
                self.later(delay, Event::Lease(daemon, life, ask.clone()));
            }
        }
        for one in work.returns {
            self.count("returns");
            if self.random.percent(self.chaos) {
                let timeout = self.random.between(100_000, 1_000_000);
                self.later(timeout, Event::NotReturned(daemon, life, one.clone()));
            }
            for _ in 0..self.copies() {
                let delay = self.delay();
                self.later(delay, Event::Return(daemon, one.clone()));
            }
        }
    }

    fn copies(&mut self) -> u64 {
        match self.random.between(0, 100) {
            drawn if drawn < self.chaos => 0,
            drawn if drawn < 2 * self.chaos => 2,
            _ => 1,
        }
    }

    fn deliver(&mut self) {
        let until = self.now;
        while let Some(first) = self.events.first_entry()
            && first.key().0 <= until
        {
            let ((at, _), event) = first.remove_entry();
            self.now = at;
            self.happen(event);
        }
        self.now = until;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Lease(daemon, life, ask) => {
                let granted = self.store.lease(self.now, daemon, &ask, &self.config);
                if granted.units > 0 {
                    self.count("slices");
                }
                if !self.random.percent(self.chaos) {
                    let delay = self.delay();
                    let event = Event::Answered(daemon, life, ask, granted, self.now);
                    self.later(delay, event);
                }
            }
            Event::Return(daemon, one) => self.store.give_back(self.now, daemon, one.report),
            Event::Recall(daemon) => self.at_daemon(daemon, None, event),
            Event::Answered(daemon, life, ..)
            | Event::Unanswered(daemon, life, _)
            | Event::NotReturned(daemon, life, _)
            | Event::Decided(daemon, life, ..) => self.at_daemon(daemon, Some(life), event),
        }
    }

    /// A daemon takes note of something, once it runs again; one that has died does not.
    fn at_daemon(&mut self, daemon: usize, life: Option<u64>, event: Event) {
        let paused_until = self.daemons[daemon].paused_until;
        if paused_until > self.now {
            return self.later(paused_until - self.now, event);
        }
        let lives = life.is_none_or(|life| life == self.daemons[daemon].life);
        let now = self.clock(daemon);
        let mishap = self.mishap;
        let spec = self.spec.clone();
        let this = &mut self.daemons[daemon];
        match event {
            Event::Decided(_, _, held, admission) => {
                if lives && admission.is_none() {
                    this.leases.release(&held);
                } else if lives {
                    this.leases.keep(&held);
                }
                // A call of a daemon that has died may have been admitted all the same.
                self.history.admissions.extend(admission);
            }
            _ if !lives => {}
            Event::Recall(_) => this.leases.recall(now, HOT),
            Event::NotReturned(_, _, one) => this.leases.not_returned(now, one),
            Event::Unanswered(_, _, ask) => {
                if self.open.remove(&(daemon, ask.slice)) {
                    this.leases.unanswered(now, &ask);
                }
            }
            Event::Answered(_, _, ask, granted, at) => {
                if !self.open.remove(&(daemon, ask.slice)) {
                    return;
                }
                let again = granted
                    .again
                    .map(|again| now + Micros(again.saturating_sub(at)));
                let answer = Answer {
                    granted: granted.units,
                    again,
                    level: granted.level,
                    spec: Some((spec, SpecSource::SetLimit)),
                    share: granted.share,
                    rule: granted.rule,
                    ttl: Micros(granted.ttl),
                };
                this.leases.answered(now, &ask, answer.clone());
                if mishap.is_some() {
                    this.remember(now, &ask, &answer);
                }
            }
            Event::Lease(..) | Event::Return(..) => {}
        }
        self.send(daemon);
    }
}

impl Daemon {
    /// Keeps, for a broken daemon, what it would not have any more.
    fn remember(&mut self, now: Time, ask: &Ask, answer: &Answer) {
        if answer.granted == 0 {
            return;
        }
        let mut copy = Leases::new(LeaseConfig::default(), ask.slice, 1);
        let hot = Wanted {
            bucket: HOT,
            amount: 1,
            spec: None,
            require_spec: false,
        };
        for _ in 0..100 {
            let _ = copy.decide(now, &[hot], false, true);
        }
        for one in copy.take_work(now).asks {
            copy.answered(now, &one, answer.clone());
        }
        self.stale = Some((copy, now));
    }
}
