//! A log that does all the harm that the port allows, by the numbers of a seed.
//!
//! It stands before another log and is driven by its calls alone: the same seed and the same calls, one after the
//! other, bring the same harm. Whatever is built on a log must be right on this one.

use super::bench::record;
use crate::leases::Random;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use trellis_core::Time;
use trellis_core::log::{
    Appending, Batch, Bounds, Durability, Log, LogError, LogLimits, LogRecord, LogResult, Offset,
    Partition, Read, Record,
};

/// Marks the records that only make gaps; readers never see them.
const FILLER: &[u8] = b"hostile-filler";

/// How often each kind of harm is done, in percent of the calls that can bring it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Odds {
    /// Appends that end as unknown: a third of them stand, a third land later, a third never.
    pub unknown: u64,
    /// Appends that stand a second time, now or later.
    pub duplicate: u64,
    /// Appends before which offsets are left out.
    pub gap: u64,
    /// Looks that do not see the newest records.
    pub lag: u64,
    /// Trims whose records come back.
    pub returning: u64,
}

impl Default for Odds {
    fn default() -> Self {
        Self {
            unknown: 12,
            duplicate: 12,
            gap: 25,
            lag: 40,
            returning: 50,
        }
    }
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Harm {
    /// Appends that ended as unknown and stand.
    pub unknown_stands: u64,
    /// Appends that ended as unknown and landed after other calls.
    pub unknown_late: u64,
    /// Appends that ended as unknown and never land.
    pub unknown_never: u64,
    /// Copies of batches.
    pub duplicates: u64,
    /// Gaps.
    pub gaps: u64,
    /// Looks that did not see the newest records.
    pub lags: u64,
    /// Trims whose records came back.
    pub returned: u64,
}

/// A batch that lands after so many more calls.
struct Late {
    partition: Partition,
    batch: Batch,
    calls: u64,
}

/// Records that are told to be gone for so many more calls, and then are there again.
struct Returning {
    partition: Partition,
    before: Offset,
    calls: u64,
}

struct State {
    random: Random,
    late: VecDeque<Late>,
    returning: Vec<Returning>,
    /// What was shown once stays visible: the highest end told.
    shown: BTreeMap<Partition, Offset>,
    harm: Harm,
}

/// See the module.
pub struct HostileLog {
    inner: Arc<dyn Log>,
    odds: Odds,
    state: Mutex<State>,
}

impl fmt::Debug for HostileLog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HostileLog")
            .field("odds", &self.odds)
            .field("harm", &self.harm())
            .finish_non_exhaustive()
    }
}

impl HostileLog {
    /// Stands before `inner`, which nobody else appends to.
    #[must_use]
    pub fn new(inner: Arc<dyn Log>, seed: u64, odds: Odds) -> Self {
        let state = State {
            random: Random::new(seed),
            late: VecDeque::new(),
            returning: Vec::new(),
            shown: BTreeMap::new(),
            harm: Harm::default(),
        };
        Self {
            inner,
            odds,
            state: Mutex::new(state),
        }
    }

    /// What was done so far.
    #[must_use]
    pub fn harm(&self) -> Harm {
        self.state.lock().harm
    }

    /// Lands what was to land later. From here on only new calls bring harm.
    pub fn land(&self) {
        let late: Vec<Late> = self.state.lock().late.drain(..).collect();
        for late in late {
            drop(self.inner.append(late.partition, late.batch));
        }
    }

    /// Counts a call: what was waiting for it happens.
    fn pass(&self, state: &mut State) {
        for late in &mut state.late {
            late.calls = late.calls.saturating_sub(1);
        }
        while state.late.front().is_some_and(|late| late.calls == 0) {
            let Some(late) = state.late.pop_front() else {
                break;
            };
            drop(self.inner.append(late.partition, late.batch));
        }
        for back in &mut state.returning {
            back.calls = back.calls.saturating_sub(1);
        }
        let before = state.returning.len();
        state.returning.retain(|back| back.calls > 0);
        state.harm.returned += u64::try_from(before - state.returning.len()).unwrap();
    }

    fn later(state: &mut State, partition: Partition, batch: Batch) {
        let calls = state.random.between(1, 12);
        state.late.push_back(Late {
            partition,
            batch,
            calls,
        });
    }

    /// The bounds as they are told: behind, at either end.
    fn told(&self, state: &mut State, partition: Partition, real: Bounds) -> Bounds {
        let shown = state.shown.entry(partition).or_insert(real.start);
        let mut end = real.end;
        if real.end > *shown && state.random.percent(self.odds.lag) {
            let hidden = state.random.between(0, real.end.0 - shown.0) + 1;
            end = Offset(real.end.0 - hidden);
            state.harm.lags += 1;
        }
        let returning = state.returning.iter();
        let own = returning.filter(|back| back.partition == partition);
        let start = own.map(|back| back.before).fold(real.start, Offset::max);
        *shown = end.max(*shown).max(start);
        Bounds {
            start,
            end: *shown,
            ..real
        }
    }

    /// Leaves offsets out.
    fn gap(&self, state: &mut State, partition: Partition) {
        if !state.random.percent(self.odds.gap) {
            return;
        }
        let filler = Record {
            headers: [(FILLER, b"")].into_iter().collect(),
            ..record("")
        };
        let size = state.random.index(3) + 1;
        if let Ok(batch) = Batch::new(vec![filler; size]) {
            drop(self.inner.append(partition, batch));
            state.harm.gaps += 1;
        }
    }
}

fn is_filler(record: &LogRecord) -> bool {
    let first = record.record.headers.iter().next();
    first.is_some_and(|header| header.name == FILLER)
}

fn unknown() -> Appending {
    Appending::Done(Err(LogError::Unknown {
        reason: "the hostile log does not tell".to_owned(),
    }))
}

#[async_trait]
impl Log for HostileLog {
    fn limits(&self) -> LogLimits {
        self.inner.limits()
    }

    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    fn failure(&self) -> Option<String> {
        self.inner.failure()
    }

    fn append(&self, partition: Partition, batch: Batch) -> Appending {
        if let Err(error) = self.limits().check(partition, &batch) {
            return Appending::Done(Err(error));
        }
        let mut state = self.state.lock();
        self.pass(&mut state);
        self.gap(&mut state, partition);
        if state.random.percent(self.odds.unknown) {
            match state.random.index(3) {
                0 => {
                    drop(self.inner.append(partition, batch));
                    state.harm.unknown_stands += 1;
                }
                1 => {
                    Self::later(&mut state, partition, batch);
                    state.harm.unknown_late += 1;
                }
                _ => state.harm.unknown_never += 1,
            }
            return unknown();
        }
        let appending = self.inner.append(partition, batch.clone());
        if state.random.percent(self.odds.duplicate) {
            state.harm.duplicates += 1;
            if state.random.percent(50) {
                drop(self.inner.append(partition, batch));
            } else {
                Self::later(&mut state, partition, batch);
            }
        }
        appending
    }

    async fn read(&self, partition: Partition, from: Offset, max_bytes: usize) -> LogResult<Read> {
        let real = self.inner.bounds(partition).await?;
        let told = {
            let mut state = self.state.lock();
            self.pass(&mut state);
            self.told(&mut state, partition, real)
        };
        if from < told.start || from > told.end {
            return Err(LogError::OutOfRange(told));
        }
        let mut found = self.inner.read(partition, from, max_bytes).await?;
        found
            .records
            .retain(|it| it.offset < told.end && !is_filler(it));
        found.next = found.next.min(told.end);
        Ok(found)
    }

    async fn wait(&self, partition: Partition, from: Offset) -> LogResult<Bounds> {
        let real = self.inner.wait(partition, from).await?;
        let mut state = self.state.lock();
        self.pass(&mut state);
        // A wait that has ended has shown something, however much is hidden behind it.
        let shown = state.shown.entry(partition).or_insert(real.start);
        *shown = from.next().max(*shown);
        Ok(self.told(&mut state, partition, real))
    }

    async fn trim(&self, partition: Partition, before: Offset) -> LogResult<()> {
        let real = self.inner.bounds(partition).await?;
        let returns = {
            let mut state = self.state.lock();
            self.pass(&mut state);
            let returns = real.start < before
                && before <= real.end
                && state.random.percent(self.odds.returning);
            if returns {
                let calls = state.random.between(1, 12);
                state.returning.push(Returning {
                    partition,
                    before,
                    calls,
                });
            }
            returns
        };
        if returns {
            return Ok(());
        }
        self.inner.trim(partition, before).await
    }

    async fn bounds(&self, partition: Partition) -> LogResult<Bounds> {
        let real = self.inner.bounds(partition).await?;
        let mut state = self.state.lock();
        self.pass(&mut state);
        Ok(self.told(&mut state, partition, real))
    }

    async fn seek(&self, partition: Partition, time: Time) -> LogResult<Offset> {
        let offset = self.inner.seek(partition, time).await?;
        let real = self.inner.bounds(partition).await?;
        let mut state = self.state.lock();
        self.pass(&mut state);
        let told = self.told(&mut state, partition, real);
        // Roughly, and within what is told.
        let early = Offset(offset.0.saturating_sub(state.random.between(0, 3)));
        Ok(early.clamp(told.start, told.end))
    }
}
