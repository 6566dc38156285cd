//! One run: the same calls on the machine and on the scripts, at the same times.

use super::calls::*;
use super::scripts::{Scripts, daemon_named};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use trellis_conformance::leases::Random;
use trellis_core::limits::{
    Charge, LevelPolicy, LimitSpec, Machine, MachineConfig, Receipt, ReservationId, Ticket,
};
use trellis_core::{Micros, Now, Time};

pub const MAX_WAITERS: usize = 30;
pub const MAX_RESERVATIONS: usize = 300;
/// 2026-11-25 00:00:00 UTC.
const START: u64 = 1_795_564_800 * SECOND;
pub(super) const IDS: usize = 12;

/// What a waiting call without a request id was granted.
pub struct Granted {
    pub name: String,
    pub receipt: Receipt,
    pub charges: Vec<Charge>,
    pub reservation: Option<String>,
    pub at: u64,
}

pub struct Run {
    pub(super) machine: Machine,
    pub(super) scripts: Scripts,
    pub(super) random: Random,
    seed: u64,
    pub(super) now: u64,
    pub(super) calls: usize,
    /// Waiting calls: what the scripts call them, and when they give up.
    pub(super) waiting: BTreeMap<Ticket, (String, u64)>,
    /// The charges of waiting calls without a request id.
    pub(super) waiting_charges: BTreeMap<String, Vec<Charge>>,
    /// What the machine granted waiting calls, until both sides have told it.
    receipts: BTreeMap<String, Receipt>,
    /// Grants that may be taken back.
    pub(super) granted: Vec<Granted>,
    /// When which daemon is to look at which bucket.
    looks: BTreeMap<(usize, String), u64>,
    /// Ends of waiting calls that only one side has told so far.
    machine_ends: BTreeMap<String, Value>,
    script_ends: BTreeMap<String, Value>,
    /// Reservations: the machine's and the scripts' names.
    pub(super) reservations: Vec<(ReservationId, String)>,
    names: BTreeMap<String, ReservationId>,
    pub(super) declared: BTreeSet<String>,
    seen: BTreeMap<String, usize>,
    log: Vec<String>,
}

impl Run {
    pub fn new(scripts: Scripts, seed: u64) -> Self {
        let config = MachineConfig {
            max_limits: 100,
            max_buckets: 1_000,
            max_waiters: MAX_WAITERS,
            max_reservations: MAX_RESERVATIONS,
            max_request_ids: 1_000,
            ..MachineConfig::default()
        };
        Self {
            machine: Machine::new(config, 7),
            scripts,
            random: Random::new(seed),
            seed,
            now: START + seed * 13 * SECOND,
            calls: 0,
            waiting: BTreeMap::new(),
            waiting_charges: BTreeMap::new(),
            receipts: BTreeMap::new(),
            granted: Vec::new(),
            looks: BTreeMap::new(),
            machine_ends: BTreeMap::new(),
            script_ends: BTreeMap::new(),
            reservations: Vec::new(),
            names: BTreeMap::new(),
            declared: BTreeSet::new(),
            seen: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    pub async fn declare(&mut self) {
        let second = Micros(SECOND);
        let rate = LimitSpec::Rate(trellis_core::limits::RateSpec::new(10, second, 15).unwrap());
        let window = LimitSpec::Window(
            trellis_core::limits::WindowSpec::new(12, Micros(2 * SECOND)).unwrap(),
        );
        let slots = LimitSpec::Concurrency(trellis_core::limits::ConcurrencySpec::new(6).unwrap());
        let unit = trellis_core::limits::CalendarUnit::Minute;
        let calendar = trellis_core::limits::CalendarSpec::new(80, unit, "UTC").unwrap();
        let big = big_spec(&mut self.random);
        let all = [
            ("rate", rate),
            ("window", window),
            ("slots", slots),
            ("calendar", LimitSpec::Calendar(calendar)),
            ("big", big),
        ];
        for (limit, spec) in all {
            self.set(limit, spec, LevelPolicy::KeepAmount).await;
        }
    }

    /// Lets some time pass, then makes one random call.
    pub async fn step(&mut self) {
        let pass = match self.random.between(0, 5) {
            0 => self.random.between(1, 50),
            1 => self.random.between(1, 30_000),
            2 => 100_000,
            3 => self.random.between(1, 50_000),
            _ if self.random.percent(30) => self.random.between(1, SECOND),
            _ => self.random.between(1, 200_000),
        };
        self.pass(pass).await;
        match self.random.between(0, 100) {
            0..60 => self.acquire().await,
            60..64 => self.cancel().await,
            64..68 => self.take_back().await,
            68..80 => self.settle().await,
            80..86 => self.extend().await,
            86..89 => self.reset().await,
            89..92 => self.throttle().await,
            92..95 => {
                let limit = LIMITS[self.random.index(LIMITS.len())];
                let spec = if limit == "big" {
                    big_spec(&mut self.random)
                } else {
                    spec(&mut self.random)
                };
                let policy = [
                    LevelPolicy::KeepAmount,
                    LevelPolicy::KeepProportion,
                    LevelPolicy::Refill,
                ][self.random.index(3)];
                self.set(limit, spec, policy).await;
            }
            95..97 => self.delete().await,
            _ => {
                self.script("sweep", vec![json!(1_000)]).await;
            }
        }
        self.compare_buckets().await;
    }

    pub(super) fn at(&self) -> Now {
        Now {
            mono: Time(self.now),
            wall: Time(self.now),
        }
    }

    /// Lets time pass from one due moment to the next.
    pub(super) async fn pass(&mut self, micros: u64) {
        let end = self.now + micros;
        loop {
            let machine = self.machine.next_due().map(|due| due.0);
            let looks = self.looks.values().min().copied();
            let deadlines = self.waiting.values().map(|(_, at)| *at).min();
            let due = machine.into_iter().chain(looks).chain(deadlines).min();
            let Some(due) = due.filter(|due| *due <= end) else {
                break;
            };
            self.now = due.max(self.now);
            self.machine.advance(self.at());
            self.collect_machine();
            self.look().await;
            self.give_up().await;
            self.compare_all().await;
        }
        self.now = end;
        self.machine.advance(self.at());
        self.collect_machine();
        self.look().await;
        self.compare_all().await;
    }

    pub(super) async fn look(&mut self) {
        for _ in 0..100 {
            let due = |(_, at): &(&(usize, String), &u64)| **at <= self.now;
            let Some(((daemon, _), _)) = self.looks.iter().find(due) else {
                return;
            };
            let daemon = *daemon;
            let mut ids = Vec::new();
            self.looks.retain(|(of, id), at| {
                let looks = *of == daemon && *at <= self.now;
                if looks {
                    ids.push(id.clone());
                }
                !looks
            });
            self.script_by(daemon, "serve", vec![json!(ids)]).await;
        }
        panic!("looks go on at {}: {:?}", self.now, self.looks);
    }

    pub(super) async fn give_up(&mut self) {
        let due: Vec<(Ticket, String)> = self
            .waiting
            .iter()
            .filter(|(_, (_, at))| *at <= self.now)
            .map(|(ticket, (name, _))| (*ticket, name.clone()))
            .collect();
        for (_, name) in &due {
            let daemon = self.scripts.daemon_of(name);
            let reply = self
                .script_by(daemon, "leave", vec![json!([[name, 1]])])
                .await;
            let left = &reply[2][0];
            if left[1] == false {
                self.script_ends
                    .insert(name.clone(), json!([left[2], left[3], left[4]]));
            }
        }
        for (ticket, _) in due {
            self.waiting.remove(&ticket);
        }
    }

    /// Calls an operation by any daemon.
    pub(super) async fn script(&mut self, operation: &'static str, args: Vec<Value>) -> Value {
        let daemon = self.random.index(self.scripts.count());
        self.script_by(daemon, operation, args).await
    }

    /// Calls an operation and takes note of what its reply tells besides.
    pub(super) async fn script_by(
        &mut self,
        daemon: usize,
        operation: &'static str,
        args: Vec<Value>,
    ) -> Value {
        let asked = format!("{} {daemon} {operation} {}", self.now, json!(args));
        let reply = self.scripts.call(daemon, operation, args, self.now).await;
        if operation != "peek" {
            self.log.extend([asked, format!("    {reply}")]);
        }
        if reply[0] == "ok" {
            for result in reply[3].as_array().unwrap() {
                let name = result[0].as_str().unwrap().to_owned();
                assert_eq!(self.scripts.daemon_of(&name), daemon, "{result}");
                self.script_ends
                    .insert(name, json!([result[1], result[2], result[3]]));
            }
            self.note_looks(daemon, &reply[4]);
            for published in reply[5].as_array().unwrap() {
                self.receive(&published[0], &published[1]);
            }
        }
        reply
    }

    /// A message in a daemon's mailbox.
    fn receive(&mut self, daemon: &Value, message: &Value) {
        let daemon = daemon_named(daemon.as_str().unwrap());
        match message[0].as_str().unwrap() {
            "look" => self.note_looks(daemon, &message[2]),
            "ended" => {
                self.looks.insert((daemon, "0:".to_owned()), self.now);
            }
            _ => {}
        }
    }

    fn note_looks(&mut self, daemon: usize, looks: &Value) {
        for look in looks.as_array().unwrap() {
            let (id, at) = (look[0].as_str().unwrap(), look[1].as_u64().unwrap());
            self.looks.insert((daemon, id.to_owned()), at);
        }
    }

    pub(super) fn collect_machine(&mut self) {
        for answer in self.machine.take_answers() {
            let name = self.scripts_name(answer.ticket);
            let value = match &answer.result {
                Ok(acquired) => {
                    if let trellis_core::limits::Outcome::Granted(Some(granted)) = &acquired.outcome
                    {
                        self.names.insert(name.clone(), granted.id.clone());
                    }
                    acquired_value(acquired)
                }
                Err(error) => error_value(error),
            };
            self.log
                .push(format!("{} machine ends {name}: {value}", self.now));
            if let Some(receipt) = answer.receipt {
                self.receipts.insert(name.clone(), receipt);
            }
            self.machine_ends.insert(name, value);
        }
    }

    /// What the scripts call a waiting call.
    pub(super) fn scripts_name(&self, ticket: Ticket) -> String {
        self.waiting
            .get(&ticket)
            .map_or_else(|| panic!("{ticket:?} is unknown"), |(name, _)| name.clone())
    }

    /// Lets daemons do what they were told, then compares who has ended how.
    pub(super) async fn compare_all(&mut self) {
        self.look().await;
        self.compare_ends();
    }

    pub(super) fn compare_ends(&mut self) {
        let names: BTreeSet<String> = self
            .machine_ends
            .keys()
            .chain(self.script_ends.keys())
            .cloned()
            .collect();
        for name in names {
            let machine = self.machine_ends.remove(&name);
            let script = self.script_ends.remove(&name);
            let script = script.map(|mut value| {
                if value[0] == 7 {
                    return json!("LIMIT_DELETED");
                }
                let (without, id) = without_id(&value);
                let receipt = self.receipts.remove(&name);
                let charges = self.waiting_charges.remove(&name);
                if let (Some(receipt), Some(charges)) = (receipt, charges) {
                    self.granted.push(Granted {
                        name: name.clone(),
                        receipt,
                        charges,
                        reservation: id.clone(),
                        at: self.now,
                    });
                }
                if let (Some(id), Some(machine)) = (id, self.names.remove(&name)) {
                    self.reservations.push((machine, id));
                }
                value = without;
                value
            });
            let (machine, script) = (self.told(machine), self.told(script));
            self.assert_same(
                &format!("the end of {name}"),
                machine.as_ref(),
                script.as_ref(),
            );
            self.waiting.retain(|_, (waiting, _)| *waiting != name);
            self.count(&format!("waited {}", script.unwrap()[0]));
        }
    }

    /// What is compared of an end. Among several daemons, those whom a call lets pass by giving up are
    /// granted a moment after it, each by its own daemon: what a refusal tells of levels may differ.
    pub(super) fn told(&self, end: Option<Value>) -> Option<Value> {
        let refused = |end: &Value| end[0] == 3 || end[0] == 4;
        end.map(|end| {
            if refused(&end) && self.scripts.count() > 1 {
                json!([end[0]])
            } else {
                end
            }
        })
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "reads better where it is called"
    )]
    pub(super) fn assert_same<T: PartialEq + std::fmt::Debug>(
        &self,
        what: &str,
        machine: T,
        script: T,
    ) {
        if machine != script {
            let from = self.log.len().saturating_sub(120);
            panic!(
                "{what} at {} of seed {}:\n machine {machine:?}\n script  {script:?}\n{}",
                self.now,
                self.seed,
                self.log[from..].join("\n")
            );
        }
    }

    pub(super) fn count(&mut self, what: &str) {
        *self.seen.entry(what.to_owned()).or_default() += 1;
    }

    /// Every bucket shows the same.
    async fn compare_buckets(&mut self) {
        for limit in LIMITS {
            for of in KEYS {
                let machine = self.machine.peek(&name(limit), &key(of), self.at());
                let mut reply = self.script("peek", vec![json!(limit), json!(of)]).await;
                if let Some(shown) = reply[2].as_array_mut() {
                    shown.truncate(8);
                }
                self.compare(limit, &machine, &reply, bucket_value);
            }
        }
    }

    /// How often what happened.
    pub fn seen(&self) -> &BTreeMap<String, usize> {
        &self.seen
    }
}
