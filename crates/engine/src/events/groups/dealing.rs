//! What members get: events under leases, to those who wait in the order of their coming.

use super::super::control::Control;
use super::super::lane::draining;
use super::group::{Group, State};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::oneshot;
use trellis_core::events::group::{Delivery, GroupRecord};
use trellis_core::events::{Delivered, Room, StoredEvent};
use trellis_core::log::{LogError, Offset};
use trellis_core::{Error, ErrorCode, Micros, Result, Time};

/// An event for a member, as far as it is held.
pub(super) struct Ready {
    pub delivery: Delivery,
    pub event: Option<Arc<StoredEvent>>,
}

struct Waiter {
    room: Room,
    until: Time,
    tell: oneshot::Sender<Result<Vec<Ready>>>,
}

/// Those who wait.
pub(super) struct Line {
    most: usize,
    last: u64,
    waiters: BTreeMap<u64, Waiter>,
    ends: BTreeSet<(Time, u64)>,
}

impl Line {
    pub fn new(most: usize) -> Self {
        Self {
            most,
            last: 0,
            waiters: BTreeMap::new(),
            ends: BTreeSet::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    fn join(&mut self, waiter: Waiter) -> Result<u64> {
        if self.waiters.len() >= self.most {
            let message = format!(
                "{} calls wait for events of this group; raise events.max_waiters",
                self.most
            );
            return Err(Error::new(ErrorCode::TooManyWaiters, message));
        }
        self.last += 1;
        self.ends.insert((waiter.until, self.last));
        self.waiters.insert(self.last, waiter);
        Ok(self.last)
    }

    fn leave(&mut self, number: u64) -> Option<Waiter> {
        let waiter = self.waiters.remove(&number)?;
        self.ends.remove(&(waiter.until, number));
        Some(waiter)
    }

    /// Tells all of them why not.
    pub fn fail(&mut self, error: &Error) {
        self.ends.clear();
        for (_, waiter) in std::mem::take(&mut self.waiters) {
            // Whoever has gone does not need to know.
            let _ = waiter.tell.send(Err(error.clone()));
        }
    }

    /// Those whose time is over get nothing.
    pub fn end_waits(&mut self, now: Time) {
        while let Some((_, number)) = self
            .ends
            .first()
            .copied()
            .filter(|(until, _)| *until <= now)
        {
            if let Some(waiter) = self.leave(number) {
                let _ = waiter.tell.send(Ok(Vec::new()));
            }
        }
    }

    /// When the first wait ends that has not ended at a time.
    pub fn next_end(&self, now: Time) -> Option<Time> {
        let behind = self.ends.range((now, u64::MAX)..);
        behind.map(|(until, _)| *until).next()
    }

    /// Whether somebody's time is over.
    pub fn is_over(&self, now: Time) -> bool {
        self.ends.first().is_some_and(|(until, _)| *until <= now)
    }
}

impl State {
    /// Gives those who wait what there is.
    pub fn serve(&mut self, now: Time) {
        while let Some((number, waiter)) = self.line.waiters.first_key_value() {
            let (number, room) = (*number, waiter.room);
            if waiter.tell.is_closed() {
                self.line.leave(number);
                continue;
            }
            let ready = self.deliver(room, now);
            if ready.is_empty() {
                return;
            }
            if let Some(waiter) = self.line.leave(number) {
                // Whoever goes in this moment leaves the leases to their end.
                let _ = waiter.tell.send(Ok(ready));
            }
        }
    }
}

/// A place in the line, given up when it is dropped.
struct Waiting<'a> {
    group: &'a Group,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.group.state.lock().line.leave(self.number);
    }
}

impl Group {
    /// The next events for a member; waits for them.
    pub async fn receive(
        &self,
        control: &Control,
        room: Room,
        max_wait: Micros,
    ) -> Result<Vec<Delivered>> {
        let until = control.groups.clock.now() + max_wait;
        loop {
            let ready = self.next(control, room, until).await?;
            let none = ready.is_empty();
            let delivered = self.complete(control, ready).await?;
            if none || !delivered.is_empty() {
                return Ok(delivered);
            }
        }
    }

    async fn next(&self, control: &Control, room: Room, until: Time) -> Result<Vec<Ready>> {
        let (waiting, told) = {
            let mut state = self.state.lock();
            if let Some(error) = &state.ended {
                return Err(error.clone());
            }
            if state.line.is_empty() {
                let ready = state.deliver(room, control.groups.clock.now());
                if !ready.is_empty() {
                    return Ok(ready);
                }
            }
            let (tell, told) = oneshot::channel();
            let number = state.line.join(Waiter { room, until, tell })?;
            (
                Waiting {
                    group: self,
                    number,
                },
                told,
            )
        };
        self.changed.notify_one();
        let told = told.await;
        drop(waiting);
        told.unwrap_or_else(|_| Err(draining()))
    }

    /// Reads what is not held. What is gone is settled and left out.
    async fn complete(&self, control: &Control, ready: Vec<Ready>) -> Result<Vec<Delivered>> {
        let mut delivered = Vec::with_capacity(ready.len());
        for Ready { delivery, event } in ready {
            let offset = delivery.lease.offset;
            let event = match event {
                Some(event) => Some(event),
                None => self.fetch(offset).await?,
            };
            let Some(event) = event else {
                let record = GroupRecord::Done(vec![(offset, offset + 1)]);
                drop(control.propose(vec![self.record(record)]));
                continue;
            };
            delivered.push(Delivered {
                event,
                lease: delivery.lease,
                attempt: delivery.attempt,
                remaining: delivery.until - control.groups.clock.now(),
            });
        }
        Ok(delivered)
    }

    /// Reads an event of the topic; `None` when it is gone.
    pub async fn fetch(&self, offset: u64) -> Result<Option<Arc<StoredEvent>>> {
        let (log, partition) = (&self.lane.log, self.lane.partition);
        let read = match log.read(partition, Offset(offset), 1).await {
            Err(LogError::OutOfRange(bounds)) if offset < bounds.start.0 => return Ok(None),
            read => read?,
        };
        let found = read.records.first().filter(|it| it.offset.0 == offset);
        let Some(found) = found else {
            return Ok(None);
        };
        let event = self.lane.event_of(&self.id.topic, found)?;
        Ok(event.map(Arc::new))
    }
}
