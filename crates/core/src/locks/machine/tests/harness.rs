//! A machine on a clock that the test moves. Time goes from one due moment to the next, as a driver's
//! does, and the machine's inner consistency is checked at each.

use super::super::{Machine, MachineConfig, Start, Step, Ticket};
use crate::locks::{
    AcquireLocks, Effects, Holder, LockGrant, LockMode, LockOutcome, LockPurpose, LockSet,
    LockTarget, SessionKey, Wait,
};
use crate::{Micros, Name, Namespace, Now, RequestId, Result, Time};

pub const SECOND: u64 = 1_000_000;
/// Wall-clock time at the start: 2026-11-25 00:00:00 UTC.
pub const EPOCH: u64 = 1_795_564_800 * SECOND;

/// A machine, its clock and what it has brought about.
#[derive(Debug)]
pub struct Sim {
    pub machine: Machine,
    pub now: Now,
    pub effects: Vec<Effects>,
    secrets: u128,
}

impl Sim {
    pub fn new() -> Self {
        Self::with(MachineConfig::default(), Start::default())
    }

    pub fn with(config: MachineConfig, start: Start) -> Self {
        Self {
            machine: Machine::new(config, start),
            now: Now {
                mono: Time(1),
                wall: Time(EPOCH),
            },
            effects: Vec::new(),
            secrets: 0,
        }
    }

    /// Lets so many microseconds pass, stopping whenever something is due.
    pub fn pass(&mut self, micros: u64) {
        let end = self.now.mono + Micros(micros);
        while let Some(due) = self.machine.next_due()
            && due <= end
        {
            self.jump((due - self.now.mono).0);
            self.machine.advance(self.now);
            self.collect();
            let next = self.machine.next_due();
            assert!(next.is_none_or(|next| next > self.now.mono), "{next:?}");
        }
        self.jump((end - self.now.mono).0);
        self.collect();
    }

    fn jump(&mut self, micros: u64) {
        self.now.mono = self.now.mono + Micros(micros);
        self.now.wall = self.now.wall + Micros(micros);
    }

    pub fn collect(&mut self) {
        self.effects.extend(self.machine.take_effects());
        check(&self.machine);
    }

    pub fn step(&mut self, acquire: &AcquireLocks) -> Result<Step> {
        self.secrets += 1;
        let step = self.machine.acquire(acquire, self.secrets, self.now);
        self.collect();
        step
    }

    /// Acquires what must be granted at once.
    pub fn granted(&mut self, acquire: &AcquireLocks) -> LockGrant {
        match self.step(acquire).unwrap() {
            Step::Done(acquired) => grant(acquired.outcome),
            Step::Waiting(..) => panic!("must be granted at once"),
        }
    }

    /// Acquires what must wait.
    pub fn wait(&mut self, acquire: &AcquireLocks) -> (Ticket, u32) {
        match self.step(acquire).unwrap() {
            Step::Waiting(ticket, place) => (ticket, place),
            Step::Done(acquired) => panic!("must wait: {acquired:?}"),
        }
    }

    /// As [`Sim::wait`], without a look at the machine's consistency, which costs what it holds.
    pub fn wait_unchecked(&mut self, acquire: &AcquireLocks) {
        self.secrets += 1;
        let step = self.machine.acquire(acquire, self.secrets, self.now);
        assert!(matches!(step, Ok(Step::Waiting(..))));
    }

    /// How a call that waited has ended, if it has.
    pub fn ended(&self, ticket: Ticket) -> Option<Result<LockOutcome>> {
        let answers = self.effects.iter().flat_map(|it| &it.answers);
        let answer = answers.into_iter().find(|it| it.ticket == ticket)?;
        let result = answer.result.clone();
        Some(result.map(|acquired| acquired.outcome))
    }
}

/// The grant of an outcome that must be one.
pub fn grant(outcome: LockOutcome) -> LockGrant {
    match outcome {
        LockOutcome::Granted(grant) => grant,
        other => panic!("{other:?}"),
    }
}

/// Panics when the machine's collections contradict each other.
pub fn check(machine: &Machine) {
    machine.requests.check();
    machine.ended.check();
    let mut holds = 0;
    let mut places = 0;
    for (name, entry) in machine.table.after(None) {
        assert!(
            !entry.holders.is_empty() || !entry.line.is_empty(),
            "{name} is not in use"
        );
        assert!(
            entry.mode == LockMode::Shared || entry.holders.len() <= 1,
            "{name} is held twice"
        );
        assert!(entry.token <= machine.last_token);
        holds += entry.holders.len();
        places += entry.line.len();
        for holder in &entry.holders {
            let lease = &machine.leases[holder];
            assert!(
                lease
                    .locks
                    .iter()
                    .any(|lock| lock.name == *name && lock.token == entry.token)
            );
        }
    }
    let held: usize = machine.leases.values().map(|it| it.locks.len()).sum();
    let waiters = machine.waiters.values();
    let awaited: usize = waiters.map(|it| it.claim.locks.targets().len()).sum();
    assert_eq!((holds, places), (held, awaited));
}

pub fn namespace() -> Namespace {
    Namespace::new("default", "namespace").unwrap()
}

pub fn name(name: &str) -> Name {
    Name::new(name, "name").unwrap()
}

/// A try of these locks for a second; `a*` is shared.
pub fn call(locks: &[&str]) -> AcquireLocks {
    let targets = locks.iter().map(|text| LockTarget {
        name: name(text.trim_end_matches('*')),
        mode: if text.ends_with('*') {
            LockMode::Shared
        } else {
            LockMode::Exclusive
        },
    });
    AcquireLocks {
        namespace: namespace(),
        locks: LockSet::new(targets.collect()).unwrap(),
        holder: Holder::Lease {
            ttl: Micros(SECOND),
            owner: "".into(),
        },
        value: Vec::new().into(),
        wait: Wait::Try,
        purpose: LockPurpose::default(),
        request_id: None,
    }
}

/// What makes a try another call.
pub trait Build: Sized {
    fn wait(self, micros: u64) -> Self;
    fn ttl(self, micros: u64) -> Self;
    fn of(self, session: SessionKey) -> Self;
    fn id(self, id: &str) -> Self;
}

impl Build for AcquireLocks {
    fn wait(mut self, micros: u64) -> Self {
        self.wait = Wait::For(Micros(micros));
        self
    }

    fn ttl(mut self, micros: u64) -> Self {
        self.holder = Holder::Lease {
            ttl: Micros(micros),
            owner: "".into(),
        };
        self
    }

    fn of(mut self, session: SessionKey) -> Self {
        self.holder = Holder::Session(session);
        self
    }

    fn id(mut self, id: &str) -> Self {
        self.request_id = Some(RequestId::new(id, "request_id").unwrap());
        self
    }
}
