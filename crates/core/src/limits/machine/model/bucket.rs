//! A bucket as the list of its events.

use crate::limits::machine::tests::harness::EPOCH;
use crate::limits::{LevelPolicy, LimitSpec, SUB_WINDOWS};

/// What happened to a bucket.
#[derive(Clone, Debug)]
pub enum Event {
    /// Units were taken; negative when they came back.
    Take(i64),
    /// No more than this is available.
    Lower(i64),
    /// Another spec applies; whether the bucket was idle and full, that is, as good as none.
    Spec(LimitSpec, LevelPolicy, bool),
    /// It was made full.
    Fill,
}

/// A bucket: its first spec and its events, each at its time.
#[derive(Clone, Debug)]
pub struct Model {
    pub first: LimitSpec,
    pub events: Vec<(u64, Event)>,
    pub paused_until: u64,
    /// Slots held: by whom, how many, until when.
    pub held: Vec<(usize, i64, u64)>,
}

impl Model {
    pub fn new(spec: LimitSpec) -> Self {
        Self {
            first: spec,
            events: Vec::new(),
            paused_until: 0,
            held: Vec::new(),
        }
    }

    pub fn spec(&self) -> &LimitSpec {
        let newest_first = self.events.iter().rev();
        let mut specs = newest_first.filter_map(|(_, event)| match event {
            Event::Spec(spec, ..) => Some(spec),
            _ => None,
        });
        specs.next().unwrap_or(&self.first)
    }

    /// The last time at which it was made full: what was taken before does not come back.
    pub fn filled_after(&self, event: usize) -> bool {
        self.events[event..]
            .iter()
            .any(|(_, event)| matches!(event, Event::Fill | Event::Spec(_, LevelPolicy::Refill, _)))
    }

    /// The least and the most that may be available; the same wherever the contract is exact.
    pub fn available(&self, now: u64) -> (i64, i64) {
        match self.spec() {
            LimitSpec::Rate(_) => twice(self.rate(now)),
            LimitSpec::Calendar(_) => twice(self.calendar(now)),
            LimitSpec::Window(spec) => {
                let late = spec.period().0 / SUB_WINDOWS;
                (self.window(now, late), self.window(now, 0))
            }
            LimitSpec::Concurrency(spec) => {
                let held = self.held.iter().filter(|(_, _, until)| *until > now);
                twice(spec.slots() - held.map(|(_, amount, _)| amount).sum::<i64>())
            }
        }
    }

    /// Whether a charge fits: surely, possibly.
    pub fn fits(&self, amount: i64, now: u64) -> (bool, bool) {
        let (least, most) = self.available(now);
        let open = now >= self.paused_until;
        (open && least >= amount, open && most >= amount)
    }

    /// The level in fractions of one unit, as many as the period has microseconds.
    fn rate(&self, now: u64) -> i64 {
        let LimitSpec::Rate(mut spec) = self.first.clone() else {
            panic!("a rate stays a rate");
        };
        let mut at = 0;
        let mut level = i128::from(spec.burst()) * i128::from(spec.period().0);
        for (time, event) in self
            .events
            .iter()
            .map(|(time, event)| (*time, Some(event)))
            .chain([(now, None)])
        {
            let period = i128::from(spec.period().0);
            let full = i128::from(spec.burst()) * period;
            level = full.min(level + i128::from(time - at) * i128::from(spec.amount()));
            at = time;
            match event {
                None => break,
                Some(Event::Take(amount)) => level -= i128::from(*amount) * period,
                Some(Event::Lower(to)) => {
                    if level.div_euclid(period) > i128::from(*to) {
                        level = i128::from(*to) * period;
                    }
                }
                Some(Event::Fill) => level = full,
                Some(Event::Spec(LimitSpec::Rate(new), policy, idle)) => {
                    let new_period = i128::from(new.period().0);
                    let new_burst = i128::from(new.burst());
                    let whole = level.div_euclid(period);
                    level = match policy {
                        _ if *idle => new_burst * new_period,
                        LevelPolicy::KeepAmount => (level * new_period).div_euclid(period),
                        LevelPolicy::Refill => new_burst * new_period,
                        LevelPolicy::KeepProportion => {
                            (whole * new_burst).div_euclid(i128::from(spec.burst())) * new_period
                        }
                    };
                    level = level.min(new_burst * new_period);
                    spec = new.clone();
                }
                Some(Event::Spec(..)) => panic!("a rate stays a rate"),
            }
            let full = i128::from(spec.burst()) * i128::from(spec.period().0);
            level = level.min(full);
        }
        i64::try_from(level.div_euclid(i128::from(spec.period().0))).unwrap()
    }

    /// Minutes of the clock, each with what was used in it.
    fn calendar(&self, now: u64) -> i64 {
        let mut amount = self.first.capacity();
        let (mut minute, mut used) = (0, 0);
        for (time, event) in self
            .events
            .iter()
            .map(|(time, event)| (*time, Some(event)))
            .chain([(now, None)])
        {
            let this = (EPOCH + time) / 60_000_000;
            if this != minute {
                (minute, used) = (this, 0);
            }
            match event {
                None => break,
                Some(Event::Take(units)) => used += units,
                Some(Event::Lower(to)) => used = used.max(amount - to),
                Some(Event::Fill) => used = 0,
                Some(Event::Spec(spec, policy, _)) => {
                    let new = spec.capacity();
                    used = match policy {
                        LevelPolicy::KeepAmount => used,
                        LevelPolicy::Refill => 0,
                        LevelPolicy::KeepProportion => {
                            new - ((amount - used) * new).div_euclid(amount)
                        }
                    };
                    amount = new;
                }
            }
        }
        amount - used
    }

    /// Every charge counts for one period, and `late` longer. Periods do not change here, and a level
    /// lowered by report counts as a charge.
    fn window(&self, now: u64, late: u64) -> i64 {
        let LimitSpec::Window(spec) = self.spec() else {
            panic!("a window stays a window");
        };
        let last = self.events.iter().rposition(|(_, event)| {
            matches!(event, Event::Fill | Event::Spec(_, LevelPolicy::Refill, _))
        });
        let since = &self.events[last.map_or(0, |last| last + 1)..];
        let used: i64 = since
            .iter()
            .filter(|(time, _)| time + spec.period().0 + late > now)
            .map(|(_, event)| match event {
                Event::Take(units) => *units,
                _ => 0,
            })
            .sum();
        spec.amount() - used
    }
}

fn twice(level: i64) -> (i64, i64) {
    (level, level)
}
