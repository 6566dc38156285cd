//! Random lives on logs that do harm, against what callers were told: submitters, workers that die, crashes, late appends.
//!
//! What is checked is what the port promises, and nothing else: what was acknowledged is run until it has ended; an attempt speaks for its
//! job only while it is under way; a job ends once, as everybody is told.

use super::support::{Life, clock, lasting_log, namespace, queue, roomy};
use std::collections::BTreeMap;
use std::sync::Arc;
use trellis_conformance::leases::Random;
use trellis_conformance::log::{HostileLog, Odds};
use trellis_core::jobs::{
    Assigned, AttemptEnd, JobId, JobSpec, JobState, Jobs, Request, RetryPolicy,
};
use trellis_core::log::Log;
use trellis_core::{Clock, ErrorCode, Micros, RequestId};

const STEPS: usize = 250;

/// A broken promise.
type Broken = Result<(), String>;

/// What callers know.
#[derive(Default)]
struct Told {
    /// By request.
    acknowledged: BTreeMap<u64, JobId>,
    /// How a job ended, as its worker or somebody else was told.
    ended: BTreeMap<JobId, JobState>,
    /// Who has what, in this life.
    held: Vec<Assigned>,
    requests: u64,
    runs: usize,
}

struct World {
    random: Random,
    clock: Arc<dyn Clock>,
    /// What survives.
    log: Arc<dyn Log>,
    /// The logs of former lives, whose late appends may land.
    former: Vec<Arc<HostileLog>>,
    life: Option<Life>,
    told: Told,
}

impl World {
    async fn live(&mut self) {
        let seed = self.random.between(0, u64::MAX >> 1);
        let log = Arc::new(HostileLog::new(self.log.clone(), seed, Odds::default()));
        self.former.push(log.clone());
        self.life = Some(Life::begin(log, &self.clock, roomy()).await);
        self.told.held.clear();
    }

    fn life(&self) -> &Life {
        self.life.as_ref().unwrap()
    }

    /// Submits a job, or one again whose answer may have been lost.
    async fn submit(&mut self) -> Broken {
        let known = self.told.requests;
        let request = if known > 0 && self.random.percent(20) {
            self.random.between(0, known)
        } else {
            self.told.requests += 1;
            known
        };
        let mut job = JobSpec::new(queue("ocr"), format!("page {request}"));
        job.options.request = Some(Request {
            id: RequestId::new(format!("request-{request}"), "request_id").unwrap(),
            digest: 1,
        });
        job.options.retry = RetryPolicy {
            max_attempts: 1_000,
            min_backoff: Micros::ZERO,
            max_backoff: Micros::ZERO,
            jitter_percent: 0,
        };
        if self.random.percent(10) {
            drop(self.life().engine.submit(job));
            return Ok(());
        }
        let told = self.life().submit(job).await;
        let id = told.map_err(|error| format!("submit: {error}"))?;
        match self.told.acknowledged.insert(request, id) {
            Some(first) if first != id => Err(format!("{request} made {first} and {id}")),
            _ => Ok(()),
        }
    }

    async fn work(&mut self) -> Broken {
        let got = self.life().get("ocr", 3, Micros::ZERO).await;
        for got in got {
            if self.told.held.iter().any(|held| held.job == got.job) {
                return Err(format!("{} is somebody else's", got.job));
            }
            if let Some(state) = self.told.ended.get(&got.job) {
                return Err(format!("{} ended as {state:?} and runs again", got.job));
            }
            self.told.runs += 1;
            self.told.held.push(got);
        }
        Ok(())
    }

    async fn end(&mut self) -> Broken {
        if self.told.held.is_empty() {
            return Ok(());
        }
        let at = self.random.index(self.told.held.len());
        let got = self.told.held.remove(at);
        let how = match self.random.index(8) {
            // The worker dies, and the job waits for the end of its lease.
            0 => return self.pass().await,
            1 => AttemptEnd::Lost,
            2 => AttemptEnd::Released,
            3 => AttemptEnd::Failed {
                error: "no".into(),
                retryable: true,
                retry_after: None,
            },
            _ => AttemptEnd::Succeeded(got.payload.data.clone()),
        };
        let done = matches!(how, AttemptEnd::Succeeded(_));
        match self.life().finish(&got, how).await {
            Ok(()) if done => {
                self.told.ended.insert(got.job, JobState::Succeeded);
                Ok(())
            }
            Ok(()) => Ok(()),
            Err(error) if error.code == ErrorCode::LeaseLost => Ok(()),
            Err(error) => Err(format!("finish: {error}")),
        }
    }

    /// All leases of this life end.
    async fn pass(&mut self) -> Broken {
        self.told.held.clear();
        tokio::time::sleep_until(tokio::time::Instant::now() + roomy().lease.into()).await;
        Ok(())
    }

    async fn cancel(&mut self) -> Broken {
        let jobs: Vec<JobId> = self.told.acknowledged.values().copied().collect();
        if jobs.is_empty() {
            return Ok(());
        }
        let job = jobs[self.random.index(jobs.len())];
        let engine = self.life().engine.clone();
        let view = engine.cancel(&namespace(), job).await;
        let view = view.map_err(|error| format!("cancel {job}: {error}"))?;
        self.told.held.retain(|held| held.job != job);
        match self.told.ended.insert(job, view.state) {
            Some(before) if before != view.state => {
                Err(format!("{job} ended as {before:?} and as {:?}", view.state))
            }
            _ => Ok(()),
        }
    }

    async fn step(&mut self) -> Broken {
        match self.random.index(100) {
            0..=2 => {
                if let Some(life) = self.life.take() {
                    life.crash().await;
                }
                self.live().await;
                Ok(())
            }
            3..=6 => {
                for log in &self.former {
                    log.land();
                }
                Ok(())
            }
            7..=9 => self.cancel().await,
            10..=44 => self.submit().await,
            45..=69 => self.work().await,
            _ => self.end().await,
        }
    }

    /// Everything that was acknowledged is run to its end, and has one outcome.
    async fn finish(&mut self) -> Broken {
        self.pass().await?;
        loop {
            self.work().await?;
            if self.told.held.is_empty() {
                break;
            }
            for got in std::mem::take(&mut self.told.held) {
                let result = got.payload.data.clone();
                let ended = self
                    .life()
                    .finish(&got, AttemptEnd::Succeeded(result))
                    .await;
                ended.map_err(|error| format!("finish: {error}"))?;
                self.told.ended.insert(got.job, JobState::Succeeded);
            }
        }
        for (request, job) in &self.told.acknowledged {
            let (state, result) = self.life().outcome(*job).await;
            if self.told.ended.get(job) != Some(&state) {
                let told = self.told.ended.get(job);
                return Err(format!("{job} is {state:?}, and was told to be {told:?}"));
            }
            if state == JobState::Succeeded && result != Some(format!("page {request}")) {
                return Err(format!("the result of {job} is {result:?}"));
            }
        }
        Ok(())
    }
}

async fn live(seed: u64) -> Result<(usize, usize), String> {
    let clock = clock();
    let mut world = World {
        random: Random::new(seed),
        log: lasting_log(&clock),
        clock,
        former: Vec::new(),
        life: None,
        told: Told::default(),
    };
    world.live().await;
    for step in 0..STEPS {
        let done = world.step().await;
        done.map_err(|error| format!("seed {seed}, step {step}: {error}"))?;
    }
    let done = world.finish().await;
    done.map_err(|error| format!("seed {seed}, at the end: {error}"))?;
    Ok((world.told.acknowledged.len(), world.told.runs))
}

#[tokio::test(start_paused = true)]
async fn random_lives_keep_every_promise() {
    let (mut jobs, mut runs) = (0, 0);
    for seed in 1..=12 {
        let (made, run) = live(seed).await.unwrap();
        (jobs, runs) = (jobs + made, runs + run);
    }
    assert!(jobs > 400 && runs > jobs, "{jobs} jobs, {runs} runs");
}
