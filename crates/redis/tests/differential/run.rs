//! One run: the same calls on the machine and on the scripts, at the same times.

use super::calls::*;
use super::random::Random;
use super::scripts::Scripts;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use trellis_core::limits::{
    AcquireRequest, ActualAmount, Charge, DeleteLimit, ExtendReservation, KeyOverride, LevelPolicy,
    LimitSpec, Machine, MachineConfig, Mode, ReportThrottled, ReservationId, ResetLimit, SetLimit,
    Settle, SpecSource, Step, Ticket, Usage,
};
use trellis_core::{Error, Micros, Now, Result, Time};

pub const MAX_WAITERS: usize = 30;
pub const MAX_RESERVATIONS: usize = 300;
/// 2026-11-25 00:00:00 UTC.
const START: u64 = 1_795_564_800 * SECOND;
const IDS: usize = 12;

pub struct Run {
    machine: Machine,
    scripts: Scripts,
    random: Random,
    seed: u64,
    now: u64,
    calls: usize,
    /// Waiting calls: what the scripts call them, and when they give up.
    waiting: BTreeMap<Ticket, (String, u64)>,
    /// When which daemon is to look at which bucket.
    looks: BTreeMap<(usize, String), u64>,
    /// Ends of waiting calls that only one side has told so far.
    machine_ends: BTreeMap<String, Value>,
    script_ends: BTreeMap<String, Value>,
    /// Reservations: the machine's and the scripts' names.
    reservations: Vec<(ReservationId, String)>,
    names: BTreeMap<String, ReservationId>,
    declared: BTreeSet<String>,
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
            60..68 => self.cancel().await,
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

    fn at(&self) -> Now {
        Now {
            mono: Time(self.now),
            wall: Time(self.now),
        }
    }

    /// Lets time pass from one due moment to the next.
    async fn pass(&mut self, micros: u64) {
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

    async fn look(&mut self) {
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

    async fn give_up(&mut self) {
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
    async fn script(&mut self, operation: &'static str, args: Vec<Value>) -> Value {
        let daemon = self.random.index(self.scripts.count());
        self.script_by(daemon, operation, args).await
    }

    /// Calls an operation and takes note of what its reply tells besides.
    async fn script_by(
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
        let daemon = self.scripts.daemon_named(daemon.as_str().unwrap());
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

    fn collect_machine(&mut self) {
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
            self.machine_ends.insert(name, value);
        }
    }

    /// What the scripts call a waiting call.
    fn scripts_name(&self, ticket: Ticket) -> String {
        self.waiting
            .get(&ticket)
            .map_or_else(|| panic!("{ticket:?} is unknown"), |(name, _)| name.clone())
    }

    /// Lets daemons do what they were told, then compares who has ended how.
    async fn compare_all(&mut self) {
        self.look().await;
        self.compare_ends();
    }

    fn compare_ends(&mut self) {
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
    fn told(&self, end: Option<Value>) -> Option<Value> {
        let refused = |end: &Value| end[0] == 3 || end[0] == 4;
        end.map(|end| match refused(&end) && self.scripts.count() > 1 {
            true => json!([end[0]]),
            false => end,
        })
    }

    fn assert_same<T: PartialEq + std::fmt::Debug>(&self, what: &str, machine: T, script: T) {
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

    fn count(&mut self, what: &str) {
        *self.seen.entry(what.to_owned()).or_default() += 1;
    }

    fn any_acquire(&mut self) -> AcquireRequest {
        let steady = self.scripts.count() > 1;
        acquire(&mut self.random, IDS, &self.declared, steady)
    }

    async fn acquire(&mut self) {
        let request = self.any_acquire();
        let number = self.calls;
        self.calls += 1;
        let daemon = self.random.index(self.scripts.count());
        let name = self.scripts.ticket(daemon, number);
        let step = self.machine.acquire(&request, self.at());
        if let (Ok(Step::Waiting(ticket)), Mode::Wait(wait)) = (&step, request.mode) {
            self.waiting
                .entry(*ticket)
                .or_insert((name.clone(), self.now + wait.0));
        }
        let args = self.acquire_args(&request, &name, number);
        let reply = self.script_by(daemon, "acquire", args).await;
        self.collect_machine();
        match step {
            Ok(Step::Waiting(ticket)) if self.scripts_name(ticket) != name => {
                self.assert_same("a joined call", "running", reply[0].as_str().unwrap());
            }
            Ok(Step::Waiting(_)) => self.assert_same("a call in line", &json!(6), &reply[2][0]),
            Ok(Step::Done(acquired)) => {
                let payload = self.payload(&reply);
                let (payload, id) = without_id(&payload);
                self.assert_same("a decision", &acquired_value(&acquired), &payload);
                if let (Some(id), trellis_core::limits::Outcome::Granted(Some(granted))) =
                    (id, acquired.outcome)
                {
                    self.reservations.push((granted.id, id));
                }
                self.count(&format!("decided {}", payload[0]));
            }
            Err(error) => self.assert_error(&error, &reply),
        }
        // A wait of no time ends at once.
        self.give_up().await;
        self.machine.advance(self.at());
        self.collect_machine();
        self.compare_all().await;
    }

    fn acquire_args(&mut self, request: &AcquireRequest, name: &str, number: usize) -> Vec<Value> {
        let mut body = request.clone();
        if let Mode::Wait(wait) = &mut body.mode {
            *wait = Micros::ZERO;
        }
        vec![
            json!(charge_values(&request.charges)),
            json!(u8::from(request.mode != Mode::Try)),
            request
                .reservation_ttl
                .map_or(json!(-1), |ttl| json!(ttl.0)),
            request_value("acquire", request.request_id.as_ref(), &format!("{body:?}")),
            json!(request.priority as u8),
            json!(request.dry_run),
            json!(name),
            // One fair key for all daemons: the machine serves all in order of arrival.
            json!("all"),
            json!(1),
            json!(format!("{number:032x}")),
        ]
    }

    /// What was answered, the first answer of a repeat brought to the present.
    fn payload(&self, reply: &Value) -> Value {
        if reply[0] != "replay" {
            self.assert_same("an answer", "ok", reply[0].as_str().unwrap());
            return reply[2].clone();
        }
        let (now, at) = (reply[1].as_u64().unwrap(), reply[2].as_u64().unwrap());
        let left = |wait: &mut Value| {
            *wait = json!(wait.as_u64().unwrap().saturating_sub(now - at).max(1))
        };
        let mut payload = reply[3].clone();
        match payload[0].as_u64() {
            Some(1) if payload[1] != false => match reply[4].as_u64() {
                Some(until) => payload[1][1] = json!(until - now),
                None => return json!([5, false, []]),
            },
            Some(2) => left(&mut payload[1]),
            Some(4) => left(&mut payload[1][0]),
            _ => {}
        }
        for state in payload[2].as_array_mut().into_iter().flatten() {
            if state[1] != -1 {
                left(&mut state[1]);
            }
        }
        payload
    }

    fn assert_error(&mut self, error: &Error, reply: &Value) {
        self.assert_same("an error", &error_value(error), &reply[2]);
        self.count(reply[2].as_str().unwrap());
    }

    async fn cancel(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let index = self.random.index(self.waiting.len());
        let (ticket, (name, _)) = self
            .waiting
            .iter()
            .nth(index)
            .map(|(a, b)| (*a, b.clone()))
            .unwrap();
        self.machine.cancel(ticket, self.at());
        self.collect_machine();
        let daemon = self.scripts.daemon_of(&name);
        self.script_by(daemon, "leave", vec![json!([[name, 0]])])
            .await;
        self.look().await;
        self.waiting.remove(&ticket);
        self.compare_all().await;
        self.count("cancelled");
    }

    fn pick(&mut self) -> Option<(ReservationId, String)> {
        if self.reservations.is_empty() {
            return None;
        }
        let recent = self.reservations.len().min(8);
        let index = self.reservations.len() - 1 - self.random.index(recent);
        Some(self.reservations[index].clone())
    }

    async fn settle(&mut self) {
        let Some((id, name)) = self.pick() else {
            return;
        };
        let refund = self.random.percent(30);
        let limit = LIMITS[self.random.index(LIMITS.len())];
        let of = KEYS[self.random.index(KEYS.len())];
        let amount = self.random.amount(0, 9);
        let actual = ActualAmount {
            limit: super::calls::name(limit),
            key: key(of),
            amount,
        };
        let usage = if refund {
            Usage::RefundAll
        } else {
            Usage::Actual(vec![actual])
        };
        let value = if refund {
            json!(true)
        } else {
            json!([[limit, of, amount]])
        };
        let settle = Settle {
            namespace: namespace(),
            reservation: id,
            usage,
        };
        let settled = self.machine.settle(&settle, self.at());
        self.collect_machine();
        let reply = self.script("settle", vec![json!(name), value]).await;
        match settled {
            Ok(settled) => {
                let charges = settled.charges.iter().map(|it| {
                    json!([
                        it.limit.as_str(),
                        it.key.as_str(),
                        it.reserved,
                        it.actual,
                        it.refunded,
                        it.remaining
                    ])
                });
                self.assert_same("a settle", &json!(charges.collect::<Vec<_>>()), &reply[2]);
                self.count("settled");
            }
            Err(error) => self.assert_error(&error, &reply),
        }
        self.compare_all().await;
    }

    async fn extend(&mut self) {
        let Some((id, name)) = self.pick() else {
            return;
        };
        let mut charges: Vec<Charge> = self.any_acquire().charges;
        if self.random.percent(30) {
            charges.clear();
        }
        let ttl = Micros(self.random.between(1, 3 * SECOND));
        let request_id = self.random.percent(20).then(|| request_id("e1"));
        let extend = ExtendReservation {
            namespace: namespace(),
            reservation: id,
            ttl,
            charges,
            request_id,
        };
        let body = format!("{extend:?}");
        let extended = self.machine.extend(&extend, self.at());
        self.collect_machine();
        let args = vec![
            json!(name),
            json!(ttl.0),
            json!(charge_values(&extend.charges)),
            request_value("extend", extend.request_id.as_ref(), &body),
        ];
        let reply = self.script("extend", args).await;
        match extended {
            Ok(acquired) => {
                let payload = without_id(&self.payload(&reply)).0;
                self.assert_same("an extension", &acquired_value(&acquired), &payload);
                self.count(&format!("extended {}", payload[0]));
            }
            Err(error) => self.assert_error(&error, &reply),
        }
        self.compare_all().await;
    }

    async fn set(&mut self, limit: &str, spec: LimitSpec, policy: LevelPolicy) {
        let overrides = match self.random.percent(30) && limit != "big" {
            true => vec![KeyOverride {
                key: key("over"),
                spec: super::calls::spec(&mut self.random),
            }],
            false => Vec::new(),
        };
        let set = SetLimit {
            namespace: namespace(),
            name: name(limit),
            spec,
            overrides,
            level_policy: policy,
            source: SpecSource::SetLimit,
            request_id: None,
        };
        let changed = self.machine.set_limit(&set, self.at());
        self.collect_machine();
        let overrides = set
            .overrides
            .iter()
            .map(|it| json!([it.key.as_str(), spec_value(&it.spec)]));
        let args = vec![
            json!(limit),
            spec_value(&set.spec),
            json!(overrides.collect::<Vec<_>>()),
            json!(policy_value(policy)),
            json!(source_value(set.source)),
            json!(false),
        ];
        let reply = self.script("set_limit", args).await;
        let (state, created) = changed.unwrap();
        self.assert_same(
            "a declaration",
            &json!([limit, spec_value(&state.spec)]),
            &json!([reply[2][0][0], reply[2][0][1]]),
        );
        if !self.declared.insert(limit.to_owned()) {
            self.assert_same("whether it is new", &json!(created), &reply[2][1]);
        }
        self.count("set");
        self.compare_all().await;
    }

    async fn delete(&mut self) {
        let limit = LIMITS[self.random.index(LIMITS.len())];
        let delete = DeleteLimit {
            namespace: namespace(),
            name: name(limit),
            request_id: None,
        };
        let deleted = self.machine.delete_limit(&delete, self.at()).unwrap();
        self.collect_machine();
        let reply = self
            .script("delete_limit", vec![json!(limit), json!(false)])
            .await;
        // An inline limit that is as good as none may have been swept on one side.
        if self.declared.remove(limit) {
            self.assert_same("a deletion", &json!(deleted), &reply[2]);
        }
        self.compare_all().await;
        self.count("deleted");
    }

    async fn reset(&mut self) {
        let limit = LIMITS[self.random.index(LIMITS.len())];
        let of = self
            .random
            .percent(50)
            .then(|| KEYS[self.random.index(KEYS.len())]);
        let reset = ResetLimit {
            namespace: namespace(),
            name: name(limit),
            key: of.map(key),
            request_id: None,
        };
        let filled = self.machine.reset_limit(&reset, self.at());
        self.collect_machine();
        let of = of.map_or(json!(false), |of| json!(of));
        let reply = self
            .script("reset_limit", vec![json!(limit), of, json!(false)])
            .await;
        self.compare(limit, &filled, &reply, |count| json!(count));
        self.count("reset");
        self.compare_all().await;
    }

    /// Compares an answer about a limit; an inline one may have been swept on one side only.
    fn compare<T>(
        &mut self,
        limit: &str,
        machine: &Result<T>,
        reply: &Value,
        value: impl Fn(&T) -> Value,
    ) {
        match machine {
            Ok(answer) if reply[0] == "ok" => self.assert_same(limit, &value(answer), &reply[2]),
            Err(error) if reply[0] == "error" => {
                self.assert_same("an error", &error_value(error), &reply[2]);
            }
            _ if !self.declared.contains(limit) => {}
            _ => self.assert_same(limit, machine.is_ok(), reply[0] == "ok"),
        }
    }

    async fn throttle(&mut self) {
        let limit = LIMITS[self.random.index(LIMITS.len())];
        let retry_after = Micros(self.random.between(1, 2 * SECOND));
        let remaining = self.random.percent(50).then(|| self.random.amount(0, 9));
        let rate =
            LimitSpec::Rate(trellis_core::limits::RateSpec::new(5, Micros(SECOND), 9).unwrap());
        let report = ReportThrottled {
            namespace: namespace(),
            limit: name(limit),
            key: key(""),
            retry_after,
            remaining,
            spec: Some(rate.clone()),
            request_id: None,
        };
        let paused = self.machine.report_throttled(&report, self.at());
        self.collect_machine();
        let args = vec![
            json!(limit),
            json!(""),
            json!(retry_after.0),
            remaining.map_or(json!(false), |remaining| json!(remaining)),
            spec_value(&rate),
            json!(false),
        ];
        let reply = self.script("report_throttled", args).await;
        let now = self.now;
        self.compare(limit, &paused, &reply, |pause| json!(now + pause.0));
        self.count("throttled");
        self.compare_all().await;
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
