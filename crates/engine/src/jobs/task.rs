//! The one that writes a partition.

use super::calls::Call;
use super::replay::read_from;
use super::round::{Next, Round};
use super::shard::{Proposal, Shard, Tell};
use super::upkeep::Upkeep;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use trellis_core::jobs::{Attempt, Entry, JobRecord, JobWriter, LeaseId, Sheet, Verdict};
use trellis_core::log::{Batch, Durability, LogError, LogRecord, Offset, Record};
use trellis_core::{Error, ErrorCode, Result, Time};

/// How long to wait when the log cannot be read or does not tell.
const PAUSE: Duration = Duration::from_millis(20);

/// How long what is given back at the end may take.
const PARTING: Duration = Duration::from_secs(1);

/// After how many times that a batch was sent an operator should know.
const TRIES: usize = 8;

/// See the module.
pub(super) struct ShardTask {
    pub shard: Arc<Shard>,
    pub writer: JobWriter,
    /// Everything before was read back.
    pub next: Offset,
    pub upkeep: Upkeep,
    /// Records of owners that the log has lost, as far as it was told.
    pub lost: u64,
    /// Calls of other ports on their way.
    pub calls: FuturesUnordered<Call>,
}

/// Records on their way.
struct Underway {
    /// The sequence of the first.
    first: u64,
    verdicts: Vec<Verdict>,
}

impl ShardTask {
    /// Writes what is to be written, until the shard is closed.
    pub async fn run(mut self) {
        loop {
            let shard = Arc::clone(&self.shard);
            let next = shard.next();
            self.call();
            let mut round = match next {
                Next::Write(round) => round,
                Next::End => return self.part().await,
                Next::Wait(_) if self.upkeep.is_due(&shard) => Round::default(),
                Next::Wait(until) => {
                    let now = shard.now();
                    let woken = async {
                        match until {
                            Some(until) => sleep((until - now).into()).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        () = shard.asked.notified() => {}
                        () = shard.budget.wanted.notified() => {}
                        () = woken => {}
                        Some(called) = self.calls.next() => {
                            shard.state.lock().called(called, shard.now());
                        }
                    }
                    continue;
                }
            };
            self.keep_up(&mut round).await;
            if let Err(error) = self.write(&mut round).await {
                tracing::error!(
                    partition = shard.partition.0,
                    error = %error.message,
                    "a partition of jobs cannot be gone on with; its queues are not served until the daemon is started anew"
                );
                shard.end_with(&error);
                shard.answer(round);
                while !shard.state.lock().closed {
                    shard.asked.notified().await;
                }
                return;
            }
            shard.answer(round);
        }
    }

    /// Gives back at the end what was taken and is not used, as far as that is answered soon.
    async fn part(mut self) {
        let parting = async {
            while let Some(called) = self.calls.next().await {
                let mut state = self.shard.state.lock();
                state.called(called, self.shard.now());
                state.charging.close();
                self.calls.extend(state.take_calls());
            }
        };
        let _ = timeout(PARTING, parting).await;
    }

    /// Carries on the calls of other ports that have begun, as far as they go without waiting.
    fn call(&mut self) {
        let mut calls = self.shard.state.lock().take_calls();
        loop {
            self.calls.extend(calls);
            let Some(Some(called)) = self.calls.next().now_or_never() else {
                return;
            };
            let now = self.shard.now();
            let mut state = self.shard.state.lock();
            state.called(called, now);
            calls = state.take_calls();
            drop(state);
            self.shard.asked.notify_one();
        }
    }

    /// Writes a round in as few batches as the log allows. Errors: the partition cannot be gone on with.
    async fn write(&mut self, round: &mut Round) -> Result<()> {
        let mut proposals = std::mem::take(&mut round.proposals);
        let now = self.shard.now();
        let limits = self.shard.log.limits();
        let mut fatal = None;
        while !proposals.is_empty() && fatal.is_none() {
            let before = self.writer;
            let (mut sheet, mut bytes) = (Sheet::default(), 0);
            for proposal in &proposals {
                let pen = self.writer;
                self.writer.write_on(&mut sheet, &proposal.record, now);
                bytes += sheet.last_bytes();
                let full = sheet.len() > limits.batch_records || bytes > limits.batch_bytes;
                if full && sheet.len() > 1 {
                    sheet.strike_last();
                    self.writer = pen;
                    break;
                }
            }
            let records = sheet.into_records();
            let rest = proposals.split_off(records.len());
            let first = LeaseId {
                sequence: before.last().sequence + 1,
                epoch: before.epoch().number,
            };
            let mut underway = Underway {
                first: first.sequence,
                verdicts: vec![Verdict::Void; records.len()],
            };
            let outcome = self.commit(records, &mut underway).await;
            let verdicts = underway.verdicts;
            let failed = match outcome {
                Ok(None) => None,
                Ok(Some(error)) => {
                    self.writer = before;
                    self.upkeep.give_up(&self.shard);
                    Some(error)
                }
                Err(error) => {
                    fatal = Some(error.clone());
                    Some(error)
                }
            };
            let told = proposals.into_iter().zip(verdicts);
            tell(round, told, failed.as_ref(), first);
            proposals = rest;
        }
        if let Some(error) = fatal {
            let rest = proposals.into_iter().map(|it| (it, Verdict::Void));
            tell(round, rest, Some(&error), LeaseId::default());
            return Err(error);
        }
        if self.shard.log.durability() == Durability::Volatile {
            // What was read back is in memory already; what cannot be dropped now is with the next.
            let _ = self.shard.log.trim(self.shard.partition, self.next).await;
        }
        self.drop_old().await;
        Ok(())
    }

    /// Appends a batch until it was read back. Tells the error if it is certain that it does not stand. Errors: the partition cannot be gone
    /// on with.
    async fn commit(
        &mut self,
        records: Vec<Record>,
        underway: &mut Underway,
    ) -> Result<Option<Error>> {
        let log = Arc::clone(&self.shard.log);
        let partition = self.shard.partition;
        let last = self.writer.last();
        let (mut in_doubt, mut attempts) = (false, 0);
        loop {
            let batch = Batch::new(records.clone())?;
            let end = match log.append(partition, batch).outcome().await {
                Ok(appended) => Some(appended.end),
                Err(LogError::Unknown { .. }) => {
                    in_doubt = true;
                    log.bounds(partition).await.ok().map(|bounds| bounds.end)
                }
                Err(error) if !in_doubt => return Ok(Some(error.into())),
                Err(LogError::Closed) => return Err(LogError::Closed.into()),
                Err(_) => None,
            };
            if let Some(end) = end {
                self.read_to(end, underway).await?;
            }
            let mark = self.shard.state.lock().fold.mark().unwrap_or_default();
            if mark.epoch != last.epoch {
                let message = "another daemon owns the partition";
                return Err(Error::new(ErrorCode::StoreUnavailable, message));
            }
            if mark.sequence >= last.sequence {
                return Ok(None);
            }
            attempts += 1;
            if attempts == TRIES {
                tracing::warn!(
                    partition = partition.0,
                    "the log does not tell whether changes of jobs stand; they are sent until it does"
                );
            }
            if attempts > TRIES / 2 {
                sleep(PAUSE).await;
            }
        }
    }

    /// Reads back and applies up to an offset, waiting for it.
    async fn read_to(&mut self, end: Offset, underway: &mut Underway) -> Result<()> {
        let shard = Arc::clone(&self.shard);
        while self.next < end {
            let read = match read_from(&*shard.log, shard.partition, self.next).await {
                Err(LogError::Unavailable { .. }) => {
                    sleep(PAUSE).await;
                    continue;
                }
                read => read?,
            };
            let now = shard.now();
            for found in &read.records {
                self.apply((found, now), underway)?;
            }
            if read.next > self.next {
                self.next = read.next;
            } else {
                // Whether it may pass is told by the next read.
                let _ = shard.log.wait(shard.partition, self.next).await;
            }
        }
        Ok(())
    }

    fn apply(&mut self, (found, now): (&LogRecord, Time), underway: &mut Underway) -> Result<()> {
        let entry = Entry::decode(&found.record)?;
        let verdict = {
            let mut state = self.shard.state.lock();
            let lease = self.shard.config.lease;
            let verdict = state.apply((found.offset, &entry), (now, lease));
            if state.fold.lost() > self.lost {
                self.lost = state.fold.lost();
                tracing::error!(
                    partition = self.shard.partition.0,
                    records = self.lost,
                    "the log has lost changes of jobs that were acknowledged"
                );
            }
            verdict
        };
        self.upkeep.count(found.record.bytes());
        if verdict == Verdict::Void {
            return Ok(());
        }
        self.upkeep.see(found.offset, &entry.record);
        let sequence = entry.mark.map_or(0, |mark| mark.sequence);
        let place = sequence.checked_sub(underway.first);
        let place = place.and_then(|place| usize::try_from(place).ok());
        if let Some(place) = place.and_then(|place| underway.verdicts.get_mut(place)) {
            *place = verdict;
        }
        Ok(())
    }
}

/// Tells what became of records; the first of them has this mark.
fn tell(
    round: &mut Round,
    told: impl Iterator<Item = (Proposal, Verdict)>,
    failed: Option<&Error>,
    first: LeaseId,
) {
    for (sequence, (proposal, verdict)) in (first.sequence..).zip(told) {
        let result = failed.map_or(Ok(verdict), |error| Err(error.clone()));
        match (proposal.tell, result) {
            (Tell::Caller(tell), result) => {
                // Whoever has gone does not need to know.
                let _ = tell.send(result);
            }
            (Tell::Worker(place), Err(error)) => round.failed(place, &error),
            (Tell::Worker(place), Ok(Verdict::Done)) => {
                if let JobRecord::Leased { job, .. } = proposal.record {
                    let lease = LeaseId { sequence, ..first };
                    round.got(place, Attempt { job, lease });
                }
            }
            (Tell::Worker(place), Ok(_)) => {
                if let JobRecord::Leased {
                    reservation: Some(reservation),
                    ..
                } = proposal.record
                {
                    round.spare(place, reservation);
                }
            }
            (Tell::Nobody, _) => {}
        }
    }
}
