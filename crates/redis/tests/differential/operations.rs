//! What a run may do: each call on the machine and on the scripts, and its answers compared.

use super::calls::*;
use super::run::{IDS, Run};
use serde_json::{Value, json};
use trellis_core::limits::{
    AcquireRequest, ActualAmount, Charge, DeleteLimit, ExtendReservation, KeyOverride, LevelPolicy,
    LimitSpec, Mode, ReportThrottled, ReservationId, ResetLimit, SetLimit, Settle, SpecSource,
    Step, Usage,
};
use trellis_core::{Error, FairKey, Micros, Result};

impl Run {
    fn any_acquire(&mut self) -> AcquireRequest {
        let steady = self.scripts.count() > 1;
        acquire(&mut self.random, IDS, &self.declared, steady)
    }

    pub(super) async fn acquire(&mut self) {
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
        if request.request_id.is_none() {
            let charges = request.charges.clone();
            self.waiting_charges.insert(name.clone(), charges);
        }
        let args = Self::acquire_args(&request, &name, number);
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

    fn acquire_args(request: &AcquireRequest, name: &str, number: usize) -> Vec<Value> {
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
            json!(request.fair.key().map_or("", FairKey::as_str)),
            json!(request.fair.weight()),
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
            *wait = json!(wait.as_u64().unwrap().saturating_sub(now - at).max(1));
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

    pub(super) async fn cancel(&mut self) {
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

    /// Takes back a grant that nobody received.
    pub(super) async fn take_back(&mut self) {
        if self.granted.is_empty() {
            return;
        }
        let recent = self.granted.len().min(4);
        let index = self.granted.len() - 1 - self.random.index(recent);
        let granted = self.granted.swap_remove(index);
        self.machine.take_back(granted.receipt, self.at());
        self.collect_machine();
        let taken = granted
            .charges
            .iter()
            .map(|charge| json!([charge.limit.as_str(), charge.key.as_str(), charge.amount()]));
        let args = vec![
            granted.reservation.map_or(json!(false), |id| json!(id)),
            json!(taken.collect::<Vec<_>>()),
            json!(granted.at),
            json!(false),
        ];
        let daemon = self.scripts.daemon_of(&granted.name);
        self.script_by(daemon, "give_back", args).await;
        self.compare_all().await;
        self.count("taken back");
    }

    fn pick(&mut self) -> Option<(ReservationId, String)> {
        if self.reservations.is_empty() {
            return None;
        }
        let recent = self.reservations.len().min(8);
        let index = self.reservations.len() - 1 - self.random.index(recent);
        Some(self.reservations[index].clone())
    }

    pub(super) async fn settle(&mut self) {
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

    pub(super) async fn extend(&mut self) {
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

    pub(super) async fn set(&mut self, limit: &str, spec: LimitSpec, policy: LevelPolicy) {
        let mut overrides = Vec::new();
        if self.random.percent(30) && limit != "big" {
            overrides.push(KeyOverride {
                key: key("over"),
                spec: super::calls::spec(&mut self.random),
            });
        }
        let set = SetLimit {
            namespace: namespace(),
            name: name(limit),
            spec,
            overrides,
            level_policy: policy,
            source: SpecSource::SetLimit,
            sharing: trellis_core::limits::Sharing::default(),
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

    pub(super) async fn delete(&mut self) {
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

    pub(super) async fn reset(&mut self) {
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
    pub(super) fn compare<T>(
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

    pub(super) async fn throttle(&mut self) {
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
}
