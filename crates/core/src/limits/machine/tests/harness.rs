//! A machine on a clock that the test moves. Time goes from one due moment to the next, as a driver's
//! does, and the machine's inner consistency is checked at each.

use crate::limits::{
    AcquireRequest, Acquired, Answer, CalendarSpec, CalendarUnit, Charge, ConcurrencySpec,
    ExtendReservation, FairShare, LimitSpec, Machine, MachineConfig, Mode, Outcome, Priority,
    RateSpec, ReportThrottled, ReservationId, ResetLimit, SetLimit, Settle, SpecSource, Step,
    Ticket, Usage, WindowSpec,
};
use crate::{Error, Key, Micros, Name, Namespace, Now, RequestId, Result, Time};

pub const MS: u64 = 1_000;
pub const SECOND: u64 = 1_000_000;
/// Wall-clock time at the start: 2026-11-25 00:00:00 UTC.
pub const EPOCH: u64 = 1_795_564_800 * SECOND;

/// A machine, its clock and the answers it has given.
#[derive(Debug)]
pub struct Sim {
    pub machine: Machine,
    pub now: Now,
    pub answers: Vec<(Time, Answer)>,
    /// How often the driver had to wake up.
    pub wakes: usize,
}

impl Sim {
    pub fn new() -> Self {
        Self::with(MachineConfig::default())
    }

    pub fn with(config: MachineConfig) -> Self {
        let now = Now {
            mono: Time(1),
            wall: Time(EPOCH),
        };
        Self {
            machine: Machine::new(config, 7),
            now,
            answers: Vec::new(),
            wakes: 0,
        }
    }

    /// Declares limits.
    pub fn declare(mut self, limits: &[(&str, LimitSpec)]) -> Self {
        for (name, spec) in limits {
            self.set(&set_limit(name, spec.clone()));
        }
        self
    }

    /// Lets so many microseconds pass, stopping whenever something is due.
    pub fn pass(&mut self, micros: u64) {
        let end = self.now.mono + Micros(micros);
        while let Some(due) = self.machine.next_due()
            && due <= end
        {
            self.jump((due - self.now.mono).0);
            self.wakes += 1;
            self.machine.advance(self.now);
            self.collect();
            let next = self.machine.next_due();
            assert!(next.is_none_or(|next| next > self.now.mono), "{next:?}");
        }
        self.jump((end - self.now.mono).0);
        self.machine.advance(self.now);
        self.collect();
    }

    /// Lets so many microseconds pass while the driver is busy elsewhere.
    pub fn stall(&mut self, micros: u64) {
        self.jump(micros);
        self.machine.advance(self.now);
        self.collect();
    }

    /// Moves the clock only.
    fn jump(&mut self, micros: u64) {
        self.now.mono = self.now.mono + Micros(micros);
        self.now.wall = self.now.wall + Micros(micros);
    }

    pub fn collect(&mut self) {
        let at = self.now.mono;
        let new = self.machine.take_answers();
        self.answers
            .extend(new.into_iter().map(|answer| (at, answer)));
        self.machine.check();
    }

    pub fn step(&mut self, request: &AcquireRequest) -> Result<Step> {
        let step = self.machine.acquire(request, self.now);
        self.collect();
        step
    }

    /// Acquires something that must be decided at once.
    pub fn acquire(&mut self, request: &AcquireRequest) -> Acquired {
        match self.step(request).unwrap() {
            Step::Done(acquired) => acquired,
            Step::Waiting(_) => panic!("must be decided at once"),
        }
    }

    pub fn granted(&mut self, request: &AcquireRequest) -> bool {
        matches!(self.acquire(request).outcome, Outcome::Granted(_))
    }

    /// Acquires what must be granted with a reservation.
    pub fn reserve(&mut self, request: &AcquireRequest) -> ReservationId {
        match self.acquire(request).outcome {
            Outcome::Granted(Some(granted)) => granted.id,
            other => panic!("{other:?}"),
        }
    }

    /// Acquires something that must wait.
    pub fn wait(&mut self, request: &AcquireRequest) -> Ticket {
        match self.step(request).unwrap() {
            Step::Waiting(ticket) => ticket,
            Step::Done(acquired) => panic!("must wait: {acquired:?}"),
        }
    }

    pub fn error(&mut self, request: &AcquireRequest) -> Error {
        self.step(request).unwrap_err()
    }

    pub fn cancel(&mut self, ticket: Ticket) {
        self.machine.cancel(ticket, self.now);
        self.collect();
    }

    /// The answer to a waiting call, and after how many microseconds of the test it came.
    pub fn answer(&mut self, ticket: Ticket) -> Option<(u64, Answer)> {
        let index = self
            .answers
            .iter()
            .position(|(_, it)| it.ticket == ticket)?;
        let (at, answer) = self.answers.remove(index);
        Some((at.0 - 1, answer))
    }

    /// When a waiting call was granted, in microseconds of the test.
    pub fn granted_at(&mut self, ticket: Ticket) -> Option<u64> {
        let (at, answer) = self.answer(ticket)?;
        let outcome = answer.result.unwrap().outcome;
        assert!(matches!(outcome, Outcome::Granted(_)), "{outcome:?}");
        Some(at)
    }

    pub fn outcome(&mut self, ticket: Ticket) -> Outcome {
        self.answer(ticket).unwrap().1.result.unwrap().outcome
    }

    pub fn set(&mut self, set: &SetLimit) {
        self.machine.set_limit(set, self.now).unwrap();
        self.collect();
    }

    pub fn reset(&mut self, limit: &str, bucket: Option<&str>) -> usize {
        let reset = ResetLimit {
            namespace: namespace(),
            name: name(limit),
            key: bucket.map(key),
            request_id: None,
        };
        let count = self.machine.reset_limit(&reset, self.now).unwrap();
        self.collect();
        count
    }

    pub fn throttle(&mut self, limit: &str, retry_after: u64, remaining: Option<i64>) -> u64 {
        let report = ReportThrottled {
            namespace: namespace(),
            limit: name(limit),
            key: key(""),
            retry_after: Micros(retry_after),
            remaining,
            spec: None,
            request_id: None,
        };
        let paused = self.machine.report_throttled(&report, self.now).unwrap();
        self.collect();
        paused.0
    }

    pub fn remaining(&mut self, limit: &str) -> i64 {
        let (limit, key) = bucket(limit);
        let state = self.machine.peek(&limit, &key, self.now);
        state.unwrap().remaining
    }

    pub fn settle(&mut self, settle: &Settle) -> Result<Vec<(i64, i64)>> {
        let settled = self.machine.settle(settle, self.now);
        self.collect();
        let pairs = |it: crate::limits::SettledCharge| (it.refunded, it.remaining);
        settled.map(|settled| settled.charges.into_iter().map(pairs).collect())
    }

    pub fn extend(&mut self, extend: &ExtendReservation) -> Result<Acquired> {
        let extended = self.machine.extend(extend, self.now);
        self.collect();
        extended
    }
}

pub fn namespace() -> Namespace {
    Namespace::new("default", "namespace").unwrap()
}

pub fn name(name: &str) -> Name {
    Name::new(name, "limit").unwrap()
}

pub fn key(key: &str) -> Key {
    Key::new(key, "key").unwrap()
}

/// `limit` or `limit/key`.
pub fn bucket(text: &str) -> (Name, Key) {
    let (limit, bucket) = text.split_once('/').unwrap_or((text, ""));
    (name(limit), key(bucket))
}

/// A TRY of these amounts from `limit` or `limit/key`.
pub fn call(charges: &[(&str, i64)]) -> AcquireRequest {
    let charge = |(text, amount): &(&str, i64)| {
        let (limit, key) = bucket(text);
        Charge::new(limit, key, *amount).unwrap()
    };
    AcquireRequest {
        namespace: namespace(),
        charges: charges.iter().map(charge).collect(),
        mode: Mode::Try,
        reservation_ttl: None,
        request_id: None,
        priority: Priority::Interactive,
        fair: FairShare::UNNAMED,
        dry_run: false,
    }
}

/// What makes a TRY another call.
pub trait Build: Sized {
    fn wait(self, micros: u64) -> Self;
    fn batch(self) -> Self;
    fn fair(self, key: &str, weight: u32) -> Self;
    fn id(self, id: &str) -> Self;
    fn ttl(self, micros: u64) -> Self;
    fn dry(self) -> Self;
    fn spec(self, spec: &LimitSpec) -> Self;
}

impl Build for AcquireRequest {
    fn wait(mut self, micros: u64) -> Self {
        self.mode = Mode::Wait(Micros(micros));
        self
    }

    fn batch(mut self) -> Self {
        self.priority = Priority::Batch;
        self
    }

    fn fair(mut self, key: &str, weight: u32) -> Self {
        self.fair = FairShare::new(key, weight).unwrap();
        self
    }

    fn id(mut self, id: &str) -> Self {
        self.request_id = Some(RequestId::new(id, "request_id").unwrap());
        self
    }

    fn ttl(mut self, micros: u64) -> Self {
        self.reservation_ttl = Some(Micros(micros));
        self
    }

    fn dry(mut self) -> Self {
        self.dry_run = true;
        self
    }

    fn spec(mut self, spec: &LimitSpec) -> Self {
        for charge in &mut self.charges {
            charge.spec = Some(spec.clone());
        }
        self
    }
}

pub fn set_limit(limit: &str, spec: LimitSpec) -> SetLimit {
    SetLimit {
        namespace: namespace(),
        name: name(limit),
        spec,
        overrides: Vec::new(),
        level_policy: crate::limits::LevelPolicy::KeepAmount,
        source: SpecSource::SetLimit,
        sharing: crate::limits::Sharing::default(),
        request_id: None,
    }
}

pub fn settle(reservation: &ReservationId, usage: Usage) -> Settle {
    Settle {
        namespace: namespace(),
        reservation: reservation.clone(),
        usage,
    }
}

/// These amounts were really used.
pub fn used(amounts: &[(&str, i64)]) -> Usage {
    let actual = |(text, amount): &(&str, i64)| {
        let (limit, key) = bucket(text);
        crate::limits::ActualAmount {
            limit,
            key,
            amount: *amount,
        }
    };
    Usage::Actual(amounts.iter().map(actual).collect())
}

pub fn extend(id: &ReservationId, ttl: u64, charges: &[(&str, i64)]) -> ExtendReservation {
    ExtendReservation {
        namespace: namespace(),
        reservation: id.clone(),
        ttl: Micros(ttl),
        charges: call(charges).charges,
        request_id: None,
    }
}

/// So many a second, at most `burst` at once.
pub fn rate(amount: i64, burst: i64) -> LimitSpec {
    LimitSpec::Rate(RateSpec::new(amount, Micros(SECOND), burst).unwrap())
}

/// So many in any second.
pub fn window(amount: i64) -> LimitSpec {
    LimitSpec::Window(WindowSpec::new(amount, Micros(SECOND)).unwrap())
}

/// So many in each minute of the clock.
pub fn minute(amount: i64) -> LimitSpec {
    LimitSpec::Calendar(CalendarSpec::new(amount, CalendarUnit::Minute, "").unwrap())
}

pub fn slots(slots: i64) -> LimitSpec {
    LimitSpec::Concurrency(ConcurrencySpec::new(slots).unwrap())
}
