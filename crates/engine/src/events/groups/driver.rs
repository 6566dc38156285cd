//! What time and the topic bring to groups: one task for all of them.
//!
//! A group reads its topic only while somebody waits for its events, so one that nobody serves costs nothing.

use super::super::control::Control;
use super::super::reader::{Reader, Spot};
use super::group::Group;
use futures::stream::{FuturesUnordered, StreamExt};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use trellis_core::events::control::ControlRecord;
use trellis_core::events::group::GroupRecord;
use trellis_core::events::{Filter, Heard, Room};
use trellis_core::{Micros, Result, Time};

/// Taken in at once.
const ROOM: Room = Room {
    events: 256,
    bytes: 1024 * 1024,
};

/// A reader whom nobody needs any more is kept so long, for those who come back.
const LINGER: Micros = Micros::from_secs(10);

/// How long to wait when the topic cannot be read.
const PAUSE: Duration = Duration::from_millis(100);

/// Drives all groups, for ever.
pub(in crate::events) async fn run(control: Arc<Control>) {
    let mut driven = FuturesUnordered::new();
    loop {
        tokio::select! {
            fresh = control.groups.fresh() => {
                driven.extend(fresh.into_iter().map(|group| drive(group, Arc::clone(&control))));
            }
            Some(()) = driven.next(), if !driven.is_empty() => {}
        }
    }
}

/// What is to be done next.
struct Plan {
    records: Vec<ControlRecord>,
    replayed: Vec<u64>,
    /// Somebody waits, and there is room.
    feed: bool,
    /// Somebody's time is over, and it is not known yet that there is nothing.
    over: bool,
    wake: Option<Time>,
}

/// A read of the topic under way, which is left to end by itself whatever comes between.
type Reading = Pin<Box<dyn Future<Output = (Reader, Result<Heard>)> + Send>>;

async fn drive(group: Arc<Group>, control: Arc<Control>) {
    let (mut reader, mut reading) = (None::<Reader>, None::<Reading>);
    let (mut spot, mut last_fed) = (None, Time(0));
    loop {
        let now = control.groups.clock.now();
        let Some(plan) = group.plan(now, spot.as_ref()) else {
            return;
        };
        if !plan.records.is_empty() {
            drop(control.propose(plan.records));
        }
        for offset in plan.replayed {
            group.bring_back(&control, offset).await;
        }
        let mut wake = plan.wake;
        if plan.feed {
            last_fed = now;
            if reading.is_none() {
                let reader = reader.take().unwrap_or_else(|| group.reader());
                spot = Some(reader.spot());
                reading = Some(read(reader, group.room()));
            }
        } else if last_fed + LINGER <= now {
            (reader, reading, spot) = (None, None, None);
        } else {
            wake = wake.into_iter().chain([last_fed + LINGER]).min();
        }
        let (back, heard) = tokio::select! {
            biased;
            read = ended(&mut reading) => read,
            () = group.changed.notified() => continue,
            () = until(wake, now) => continue,
            () = group.fold_end(), if plan.over => continue,
        };
        (reading, spot, reader) = (None, Some(back.spot()), Some(back));
        if let Err(error) = group.hear(&control, heard) {
            group.state.lock().line.fail(&error);
            if group.lane.ended().is_some() {
                group.end(&error);
                return;
            }
            sleep(PAUSE).await;
        }
    }
}

fn read(mut reader: Reader, room: Room) -> Reading {
    Box::pin(async move {
        let heard = reader.next(room).await;
        (reader, heard)
    })
}

/// Waits for the end of a read, if there is one.
async fn ended(reading: &mut Option<Reading>) -> (Reader, Result<Heard>) {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}

/// Waits until a time that is known at `now`.
async fn until(wake: Option<Time>, now: Time) {
    match wake {
        Some(wake) => sleep((wake - now).into()).await,
        None => std::future::pending().await,
    }
}

impl Group {
    fn reader(&self) -> Reader {
        let next = self.state.lock().machine.next();
        let (lane, entry) = (Arc::clone(&self.lane), Arc::clone(&self.entry));
        Reader::new(lane, entry, Filter::default(), (next, None))
    }

    fn room(&self) -> Room {
        Room {
            events: ROOM.events.min(self.state.lock().machine.room()),
            ..ROOM
        }
    }

    /// Waits until all is folded that was acknowledged; for ever if it is.
    async fn fold_end(&self) {
        let acked = self.lane.acked();
        if self.lane.is_folded() || self.lane.until_folded(acked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Carries out what is due, serves those who wait, and tells what is left to be done; `None` when the group is gone.
    fn plan(&self, now: Time, spot: Option<&Spot>) -> Option<Plan> {
        let start = self.entry.held.lock().start;
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return None;
        }
        let mut records = state.expire(now);
        if start > state.gone && state.machine.fold().is_anything_below(start) {
            records.push(GroupRecord::Gone { before: start });
        }
        state.gone = state.gone.max(start);
        state.serve(now);
        let full = state.machine.room() == 0;
        if state.line.is_over(now) && (full || spot.is_some_and(Spot::is_caught_up)) {
            state.line.end_waits(now);
        }
        // What became due is in hand now, so the next is still to come.
        state.machine.peek(now);
        let due = state.machine.next_due().into_iter();
        let wake = due.chain(state.line.next_end(now)).min();
        Some(Plan {
            records: records.into_iter().map(|it| self.record(it)).collect(),
            replayed: std::mem::take(&mut state.replayed),
            feed: !state.line.is_empty() && !full,
            over: state.line.is_over(now),
            wake,
        })
    }

    /// Takes in what the topic has.
    fn hear(&self, control: &Control, heard: Result<Heard>) -> Result<()> {
        // What a gap took is settled by the topic's start.
        if let Heard::Events(events) = heard? {
            let mut state = self.state.lock();
            let records = events.into_iter().filter_map(|event| state.take_in(event));
            let records: Vec<_> = records.map(|record| self.record(record)).collect();
            drop(state);
            if !records.is_empty() {
                drop(control.propose(records));
            }
        }
        Ok(())
    }

    /// Takes in a dead letter that is to be delivered again.
    async fn bring_back(&self, control: &Control, offset: u64) {
        match self.fetch(offset).await {
            Ok(Some(event)) => self.state.lock().take_back(event),
            Ok(None) => {
                let gone = GroupRecord::Done(vec![(offset, offset + 1)]);
                drop(control.propose(vec![self.record(gone)]));
            }
            Err(_) => {
                self.state.lock().replayed.push(offset);
                sleep(PAUSE).await;
                self.changed.notify_one();
            }
        }
    }
}
