//! The one that writes a partition.

use super::calls::Call;
use super::replay::read_from;
use super::round::{Next, Round};
use super::sent::Sent;
use super::shard::{Proposal, Shard};
use super::upkeep::Upkeep;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use trellis_core::jobs::{Entry, JobWriter, Verdict};
use trellis_core::log::{Durability, LogError, LogRecord, Offset};
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
                let now = self.shard.now();
                state.called(called, now);
                state.charging.close(now);
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
        let mut proposals = VecDeque::from(std::mem::take(&mut round.proposals));
        let now = self.shard.now();
        let limits = self.shard.log.limits();
        while !proposals.is_empty() {
            let before = self.writer;
            let mut sent = Sent::write(&mut proposals, &mut self.writer, limits, now);
            match self.commit(&mut sent).await {
                Ok(None) => sent.tell(round),
                Ok(Some(error)) => {
                    self.writer = before;
                    self.upkeep.give_up(&self.shard);
                    sent.fail(round, &error);
                }
                Err(error) => {
                    sent.fail(round, &error);
                    for Proposal { tell, .. } in proposals {
                        round.fail(tell, &error);
                    }
                    return Err(error);
                }
            }
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
    async fn commit(&mut self, sent: &mut Sent) -> Result<Option<Error>> {
        let log = Arc::clone(&self.shard.log);
        let partition = self.shard.partition;
        let last = self.writer.last();
        let (mut in_doubt, mut attempts) = (false, 0);
        loop {
            let end = match log.append(partition, sent.batch()?).outcome().await {
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
                self.read_to(end, sent).await?;
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
    async fn read_to(&mut self, end: Offset, sent: &mut Sent) -> Result<()> {
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
                self.apply((found, now), sent)?;
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

    fn apply(&mut self, (found, now): (&LogRecord, Time), sent: &mut Sent) -> Result<()> {
        let read;
        let entry = if let Some(entry) = sent.next_if(&found.record) {
            entry
        } else {
            read = Entry::decode(&found.record)?;
            &read
        };
        debug_assert_eq!(Entry::decode(&found.record).as_ref(), Ok(entry));
        let verdict = {
            let mut state = self.shard.state.lock();
            let lease = self.shard.config.lease;
            let verdict = state.apply((found.offset, entry), (now, lease));
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
        sent.set_verdict(sequence, verdict);
        Ok(())
    }
}
