//! Random lives on logs that do harm, against what callers were told: many publishers, members that die, crashes.
//!
//! What is checked is what the port promises, and nothing else: what was acknowledged is told, in order, once; what was settled
//! does not come again; an event is one member's at a time; in the end every event is settled.

use super::support::{Life, ROOM, clock, config, event, group, memory_log, name, topic};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use trellis_conformance::events::Settings;
use trellis_conformance::leases::Random;
use trellis_conformance::log::{HostileLog, Odds};
use trellis_core::events::group::LeaseKey;
use trellis_core::events::{Cursor, Delivered, Events, GroupSpec, Heard, Room, Settlement, Start};
use trellis_core::log::Log;
use trellis_core::{Clock, Error, ErrorCode, Micros};

const PUBLISHERS: usize = 3;
const STEPS: usize = 250;

/// A broken promise.
type Broken = Result<(), String>;

/// What callers know.
#[derive(Default)]
struct Told {
    /// Events of each publisher so far.
    published: [usize; PUBLISHERS],
    acknowledged: BTreeSet<String>,
    /// What the one reader was told, over all lives.
    read: Vec<String>,
    cursor: Option<Cursor>,
    /// Settled for good.
    done: BTreeSet<String>,
    /// Who has what, in this life.
    held: BTreeMap<String, LeaseKey>,
}

struct World {
    random: Random,
    clock: Arc<dyn Clock>,
    /// What survives.
    log: Arc<dyn Log>,
    harmful: bool,
    /// The logs of former lives, whose late appends may land.
    former: Vec<Arc<HostileLog>>,
    life: Option<Life>,
    told: Told,
    faults: usize,
}

fn spec() -> GroupSpec {
    GroupSpec {
        lease: Micros::from_secs(2),
        max_attempts: 1_000,
        min_backoff: Micros::ZERO,
        max_backoff: Micros::ZERO,
        ordered: false,
    }
}

/// Whether the call may be made again.
fn may_repeat(error: &Error) -> bool {
    matches!(
        error.code,
        ErrorCode::OutcomeUnknown | ErrorCode::StoreUnavailable
    )
}

/// What is late comes now.
fn land(former: &[Arc<HostileLog>]) {
    for log in former {
        log.land();
    }
}

impl World {
    fn new(seed: u64, log: Arc<dyn Log>, clock: Arc<dyn Clock>, harmful: bool) -> Self {
        Self {
            random: Random::new(seed),
            clock,
            log,
            harmful,
            former: Vec::new(),
            life: None,
            told: Told::default(),
            faults: 0,
        }
    }

    async fn live(&mut self) -> Broken {
        let seed = self.random.between(0, u64::MAX >> 1);
        let log: Arc<dyn Log> = if self.harmful {
            let log = HostileLog::new(self.log.clone(), seed, Odds::default());
            let log = Arc::new(log);
            self.former.push(log.clone());
            log
        } else {
            self.log.clone()
        };
        let settings = Settings {
            max_ids: 10_000,
            max_open: 1_000,
            ..Settings::default()
        };
        let life = Life::begin(log, &self.clock, config(settings)).await;
        loop {
            let set = life
                .engine
                .set_group(group("billing"), spec(), Start::Earliest);
            match set.await {
                Err(error) if may_repeat(&error) => {}
                Err(error) => return Err(format!("set: {error}")),
                Ok(_) => break,
            }
        }
        self.told.held.clear();
        self.life = Some(life);
        Ok(())
    }

    fn engine(&self) -> Arc<trellis_engine::EventEngine> {
        self.life.as_ref().unwrap().engine.clone()
    }

    /// A publisher tries its next event, at times without waiting for the answer.
    async fn publish(&mut self) -> Broken {
        let publisher = self.random.index(PUBLISHERS);
        let number = self.told.published[publisher];
        let id = format!("{publisher}-{number:04}");
        let publishing = self.engine().publish(&topic("orders"), event(&id));
        if self.random.percent(10) {
            drop(publishing);
            return Ok(());
        }
        match publishing.await {
            Ok(_) => {
                self.told.acknowledged.insert(id);
                self.told.published[publisher] += 1;
                Ok(())
            }
            // The same one is tried again.
            Err(error) if may_repeat(&error) => Ok(()),
            Err(error) => Err(format!("publish: {error}")),
        }
    }

    /// The one reader goes on from its cursor.
    async fn read(&mut self) -> Broken {
        let start = self.told.cursor.map_or(Start::Earliest, Start::Cursor);
        let mut reader = self
            .life
            .as_ref()
            .unwrap()
            .reader_from("orders", start)
            .await;
        let room = Room {
            events: self.random.index(9) + 1,
            ..ROOM
        };
        match reader.next(room).await.map_err(|error| error.message)? {
            Heard::Events(events) => self.told.read.extend(events.iter().map(|it| name(it))),
            Heard::CaughtUp => {}
            Heard::Gap(reason) => return Err(format!("a gap: {reason:?}")),
        }
        self.told.cursor = Some(reader.position().cursor);
        Ok(())
    }

    /// A member takes something, and settles it, or dies.
    async fn work(&mut self) -> Broken {
        let room = Room {
            events: self.random.index(4) + 1,
            ..ROOM
        };
        let received = self
            .engine()
            .receive(group("billing"), room, Micros::ZERO)
            .await;
        for delivered in received.map_err(|error| error.message)? {
            self.handle(delivered).await?;
        }
        Ok(())
    }

    async fn handle(&mut self, delivered: Delivered) -> Broken {
        let id = name(&delivered.event);
        if self.told.done.contains(&id) {
            return Err(format!("{id} was settled and came again"));
        }
        if self.told.held.insert(id.clone(), delivered.lease).is_some() {
            return Err(format!("{id} is somebody else's"));
        }
        let said = match self.random.index(10) {
            0 | 1 => return Ok(()),
            2 => Settlement::Nack(Some(Micros::ZERO)),
            _ => Settlement::Ack,
        };
        let settlements = vec![(delivered.lease, said)];
        let settled = self.engine().settle(group("billing"), settlements).await;
        match settled.map_err(|error| error.message)?.remove(0) {
            Ok(_) => {
                self.told.held.remove(&id);
                if said == Settlement::Ack {
                    self.told.done.insert(id);
                }
                Ok(())
            }
            Err(error) if may_repeat(&error) => {
                // It may come again from now on.
                self.told.held.remove(&id);
                Ok(())
            }
            Err(error) => Err(format!("settle: {error}")),
        }
    }

    /// Ends the life, and lets what is late land in the next one.
    async fn end(&mut self) -> Broken {
        self.faults += 1;
        let life = self.life.take().unwrap();
        if self.random.percent(60) {
            // Nobody learns what becomes of it.
            let event = event(&format!("lost-{}", self.faults));
            drop(life.engine.publish(&topic("orders"), event));
            life.crash();
        } else {
            life.end().await;
        }
        let early = self.random.percent(50);
        let former = std::mem::take(&mut self.former);
        if early {
            land(&former);
        }
        self.live().await?;
        land(&former);
        Ok(())
    }

    async fn step(&mut self) -> Broken {
        match self.random.index(20) {
            0..=8 => self.publish().await,
            9..=11 => self.read().await,
            12..=17 => self.work().await,
            18 => {
                tokio::time::advance(std::time::Duration::from_millis(700)).await;
                // Leases of those who died may have ended.
                self.told.held.clear();
                Ok(())
            }
            _ => self.end().await,
        }
    }

    /// All goes well from here on: everything is read and settled.
    async fn finish(&mut self) -> Broken {
        let everything = self.life.as_ref().unwrap().held("orders").await;
        for _ in 0..2_000 {
            if self.told.read.len() >= everything.len() {
                break;
            }
            self.read().await?;
        }
        for _ in 0..200 {
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
            self.told.held.clear();
            self.work().await?;
            let state = self.engine().group(group("billing")).await;
            if state.map_err(|error| error.message)?.behind == 0 {
                break;
            }
        }
        self.check(&everything).await
    }

    async fn check(&mut self, everything: &[String]) -> Broken {
        let told: Vec<&String> = everything.iter().collect();
        let once: BTreeSet<&String> = told.iter().copied().collect();
        if once.len() != told.len() {
            return Err(format!("told twice: {told:?}"));
        }
        if let Some(lost) = self.told.acknowledged.iter().find(|id| !once.contains(id)) {
            return Err(format!("{lost} was acknowledged and is not told"));
        }
        for publisher in 0..PUBLISHERS {
            let prefix = format!("{publisher}-");
            let own = told.iter().filter(|id| id.starts_with(&prefix));
            if !own.is_sorted() {
                return Err(format!("out of order: {told:?}"));
            }
        }
        if self.told.read != everything {
            let read = &self.told.read;
            return Err(format!("one was told {read:?}, another {everything:?}"));
        }
        let state = self.engine().group(group("billing")).await;
        let behind = state.map_err(|error| error.message)?.behind;
        if behind > 0 {
            return Err(format!("{behind} offsets are not settled"));
        }
        Ok(())
    }

    async fn run(&mut self) -> Broken {
        self.live().await?;
        for _ in 0..STEPS {
            self.step().await?;
        }
        self.finish().await
    }
}

#[tokio::test(start_paused = true)]
async fn what_callers_were_told_holds_over_lives_and_harm() {
    let (mut acknowledged, mut faults) = (0, 0);
    for seed in 0..20 {
        let clock = clock();
        let log = memory_log(&clock);
        let mut world = World::new(seed, log, clock, true);
        if let Err(broken) = world.run().await {
            panic!("seed {seed}: {broken}");
        }
        acknowledged += world.told.acknowledged.len();
        faults += world.faults;
    }
    assert!(
        acknowledged > 1_000 && faults > 100,
        "{acknowledged}, {faults}"
    );
}

mod liar {
    //! Logs that break their promises, so that the checks are seen to find it.

    use super::*;
    use async_trait::async_trait;
    use std::sync::atomic::{AtomicU64, Ordering};
    use trellis_core::Time;
    use trellis_core::events::control::ControlRecord;
    use trellis_core::log::{
        Appending, Batch, Bounds, Durability, LogLimits, LogResult, Offset, Partition, Read,
    };

    /// What it does to every seventh batch that it acknowledges.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Lie {
        /// Others see the one before in its place.
        Lose,
        /// It stands under its own name twice, as if it were two.
        Double,
        /// A settlement stands as one of nothing.
        Unsettle,
    }

    pub struct LyingLog {
        pub inner: Arc<dyn Log>,
        pub lie: Lie,
        pub appends: AtomicU64,
    }

    impl LyingLog {
        /// The same records under later sequences.
        fn renamed(batch: &Batch) -> Batch {
            let rename = |mut record: trellis_core::log::Record| {
                let stamp = trellis_core::events::Stamp::of(&record).unwrap();
                let sequence = stamp.sequence + 1_000_000;
                trellis_core::events::Stamp { sequence, ..stamp }.put(&mut record);
                record
            };
            Batch::new(batch.records().iter().cloned().map(rename).collect()).unwrap()
        }

        /// The same changes, but that nothing is settled.
        fn unsettled(batch: &Batch) -> Batch {
            let change = |mut record: trellis_core::log::Record| {
                if let Ok(ControlRecord::Group { .. }) = ControlRecord::decode(&record.value) {
                    record.value = ControlRecord::Started.encode().into();
                }
                record
            };
            Batch::new(batch.records().iter().cloned().map(change).collect()).unwrap()
        }
    }

    #[async_trait]
    impl Log for LyingLog {
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
            let number = self.appends.fetch_add(1, Ordering::Relaxed);
            let event = partition != Partition(0);
            match self.lie {
                Lie::Lose if event && number % 7 == 6 => {
                    // A record that does not count stands in its place.
                    let mut blank = trellis_core::log::Record::default();
                    trellis_core::events::Stamp::default().put(&mut blank);
                    self.inner.append(partition, blank.into())
                }
                Lie::Double if event && number % 7 == 6 => {
                    let appending = self.inner.append(partition, batch.clone());
                    drop(self.inner.append(partition, Self::renamed(&batch)));
                    appending
                }
                Lie::Unsettle if !event && number % 7 == 6 => {
                    self.inner.append(partition, Self::unsettled(&batch))
                }
                _ => self.inner.append(partition, batch),
            }
        }

        async fn read(&self, partition: Partition, from: Offset, most: usize) -> LogResult<Read> {
            self.inner.read(partition, from, most).await
        }

        async fn wait(&self, partition: Partition, from: Offset) -> LogResult<Bounds> {
            self.inner.wait(partition, from).await
        }

        async fn trim(&self, partition: Partition, before: Offset) -> LogResult<()> {
            self.inner.trim(partition, before).await
        }

        async fn bounds(&self, partition: Partition) -> LogResult<Bounds> {
            self.inner.bounds(partition).await
        }

        async fn seek(&self, partition: Partition, time: Time) -> LogResult<Offset> {
            self.inner.seek(partition, time).await
        }
    }
}

/// What the checks say of a log that lies.
async fn lied_to(lie: liar::Lie) -> Broken {
    let clock = clock();
    let log = liar::LyingLog {
        inner: memory_log(&clock),
        lie,
        appends: 0.into(),
    };
    let mut world = World::new(1, Arc::new(log), clock, false);
    let run = tokio::time::timeout(std::time::Duration::from_hours(1), world.run());
    run.await
        .unwrap_or_else(|_| Err("nothing goes on".to_owned()))
}

#[tokio::test(start_paused = true)]
async fn the_checks_find_out_a_log_that_lies() {
    for lie in [liar::Lie::Lose, liar::Lie::Double, liar::Lie::Unsettle] {
        let found = lied_to(lie).await;
        assert!(found.is_err(), "{lie:?} was not found out");
    }
}
