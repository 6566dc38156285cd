//! What members say of deliveries: proposed as records, answered once those were read back.

use super::super::control::Control;
use super::super::lane::draining;
use super::group::{Group, State};
use trellis_core::events::Settlement;
use trellis_core::events::control::ControlRecord;
use trellis_core::events::group::{GroupRecord, LeaseKey, Refused};
use trellis_core::{Error, ErrorCode, Micros, Result, Time};

/// What a settlement waits for.
enum Said {
    /// Nothing.
    Answered(Result<Option<Micros>>),
    /// Its records.
    Proposed,
    /// A record that was on its way before.
    Acked(LeaseKey),
}

impl Group {
    /// A record of the group.
    pub(super) fn record(&self, record: GroupRecord) -> ControlRecord {
        ControlRecord::Group {
            id: self.id.clone(),
            record,
        }
    }

    /// Settles or extends deliveries, in order; what is to be written begins with the first poll.
    pub async fn settle(
        &self,
        control: &Control,
        settlements: &[(LeaseKey, Settlement)],
    ) -> Result<Vec<Result<Option<Micros>>>> {
        let (said, told) = {
            let now = control.groups.clock.now();
            let mut state = self.state.lock();
            if let Some(error) = &state.ended {
                return Err(error.clone());
            }
            let (mut said, mut records) = (Vec::with_capacity(settlements.len()), Vec::new());
            for (lease, settlement) in settlements {
                said.push(state.say(*lease, *settlement, (now, &mut records)));
            }
            let records = records.into_iter().map(|record| self.record(record));
            let records: Vec<ControlRecord> = records.collect();
            drop(state);
            self.changed.notify_one();
            let waits = said.iter().any(|said| !matches!(said, Said::Answered(_)));
            (said, waits.then(|| control.propose(records)))
        };
        let written = match told {
            Some(told) => told.await.unwrap_or_else(|_| Err(draining())),
            None => Ok(0),
        };
        let state = self.state.lock();
        let answers = said.into_iter().map(|said| match said {
            Said::Answered(answer) => answer,
            Said::Proposed => written.clone().map(|_| None),
            Said::Acked(lease) => {
                if state.machine.fold().is_settled(lease.offset) {
                    Ok(None)
                } else {
                    Err(lost())
                }
            }
        });
        Ok(answers.collect())
    }
}

impl State {
    fn say(
        &mut self,
        lease: LeaseKey,
        settlement: Settlement,
        (now, records): (Time, &mut Vec<GroupRecord>),
    ) -> Said {
        let spec = self.spec;
        let machine = &mut self.machine;
        let proposed = match settlement {
            Settlement::Ack => machine.ack(lease),
            Settlement::Nack(delay) => {
                let attempts = machine.attempts(lease.offset);
                let delay = delay.unwrap_or_else(|| spec.backoff(attempts));
                machine.nack(lease, delay, now)
            }
            Settlement::Reject => machine.reject(lease),
            Settlement::Extend(span) => {
                let until = machine.extend(lease, span.unwrap_or(spec.lease), now);
                let answer = until.map(|until| Some(until - now)).map_err(|_| lost());
                return Said::Answered(answer);
            }
        };
        match proposed {
            Ok(GroupRecord::Done(_)) => {
                records.push(GroupRecord::Done(self.stretches(lease.offset)));
                Said::Proposed
            }
            Ok(record @ GroupRecord::Dead { .. }) => {
                records.extend(self.gaps(lease.offset));
                records.push(record);
                Said::Proposed
            }
            Ok(record) => {
                records.push(record);
                Said::Proposed
            }
            Err(Refused::Settled) if settlement == Settlement::Ack => Said::Answered(Ok(None)),
            // Perhaps by a call before, which was not heard of.
            Err(Refused::Lost) if settlement == Settlement::Ack => Said::Acked(lease),
            Err(_) => Said::Answered(Err(lost())),
        }
    }

    /// Ends the leases that are over; what is to be written.
    pub fn expire(&mut self, now: Time) -> Vec<GroupRecord> {
        let spec = self.spec;
        let mut records = Vec::new();
        for record in self.machine.expire(now) {
            match record {
                GroupRecord::Retry {
                    offset, attempts, ..
                } => records.push(GroupRecord::Retry {
                    offset,
                    attempts,
                    due: now + spec.backoff(attempts),
                }),
                other => {
                    if let GroupRecord::Dead { offset, .. } = &other {
                        records.extend(self.gaps(*offset));
                    }
                    records.push(other);
                }
            }
        }
        records
    }
}

fn lost() -> Error {
    Error::new(
        ErrorCode::LeaseLost,
        "the lease is over, and the event is somebody else's or about to be",
    )
}
