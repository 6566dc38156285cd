//! One run of the overshoot campaign: clients, faults, and the arithmetic over what was admitted.

use crate::buckets::{self, Bucket};
use crate::checker::{Rule, Verdict, check_apart};
use crate::client::{Client, Field};
use crate::clock::{Clock, pause};
use crate::cluster::Cluster;
use crate::faults::{self, Counts, Fault};
use crate::history::{Grant, Micros};
use crate::link::Link;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use trellis_proto::v1;

/// Clients at a time.
pub const CLIENTS: u64 = 48;

/// A limit that was never used to this share was not tested.
const EXERCISED: f64 = 0.75;

/// What a run does.
#[derive(Clone, Debug)]
pub struct Run {
    pub seed: u64,
    /// Acquires to be answered.
    pub acquires: u64,
    pub faults: Counts,
    /// The longest time that a bucket may admit nothing: longer than a fault, and what follows of it.
    pub patience: Duration,
    /// Daemons admit nothing without the store, so that nothing at all may be over.
    pub strict: bool,
    /// Makes buckets full again behind the daemons' backs, which the checker has to find.
    pub broken: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    pub run: Run,
    pub time: Duration,
    pub outcomes: BTreeMap<String, u64>,
    pub verdicts: Vec<(Bucket, Verdict)>,
    /// Units over in all when those count too that daemons admitted alone, without the store.
    pub over_with_degraded: u64,
    /// How often the store lost everything.
    pub losses: usize,
    /// Units over if these losses allowed nothing.
    pub over_without_losses: u64,
    /// Daemons that ended by themselves, and panics.
    pub harm: Vec<String>,
    /// The longest time in which each bucket admitted nothing: since when, and for how long.
    pub pauses: Vec<(Duration, Duration)>,
    /// What was done, and when.
    pub caused: Vec<(Duration, String)>,
}

impl Run {
    /// The short form: some seconds.
    pub fn short(seed: u64) -> Self {
        let faults = [
            (Fault::Kill, 3),
            (Fault::Stop, 2),
            (Fault::Cut, 1),
            (Fault::StoreRestart, 1),
            (Fault::Flush, 1),
            (Fault::ScriptFlush, 1),
            (Fault::ReadOnly, 1),
            (Fault::Replica, 1),
            (Fault::Pause, 1),
            (Fault::Hang, 1),
        ];
        Self {
            seed,
            acquires: 45_000,
            faults: faults.into(),
            patience: Duration::from_secs(6),
            strict: true,
            broken: false,
        }
    }

    /// A fifth of the long form.
    pub fn long(seed: u64) -> Self {
        let faults = [
            (Fault::Kill, 12),
            (Fault::Stop, 8),
            (Fault::LongStop, 1),
            (Fault::Cut, 5),
            (Fault::Stall, 3),
            (Fault::StoreRestart, 3),
            (Fault::Flush, 2),
            (Fault::ScriptFlush, 3),
            (Fault::ReadOnly, 2),
            (Fault::Replica, 2),
            (Fault::Pause, 2),
            (Fault::Hang, 3),
        ];
        Self {
            seed,
            acquires: 205_000,
            faults: faults.into(),
            patience: Duration::from_secs(15),
            strict: true,
            broken: false,
        }
    }

    /// With faults of this kind alone.
    pub fn only(mut self, fault: &str) -> Self {
        self.faults.retain(|kind, _| format!("{kind:?}") == fault);
        self
    }

    /// Carries it out on these daemons.
    pub async fn on(self, cluster: Cluster) -> Report {
        let clock = Clock::start();
        let field = Arc::new(Field {
            cluster,
            clock,
            buckets: buckets::all(clock.minute()),
            answered: AtomicU64::new(0),
            target: AtomicU64::new(self.acquires),
            caused: Mutex::default(),
            losses: Mutex::default(),
        });
        declare(&field).await;
        let begun = clock.now();
        let clients = (0..CLIENTS).map(|number| Client::new(&field, self.seed, number).run());
        let clients = futures::future::join_all(clients);
        let faults = faults::run(Arc::clone(&field), self.seed, &self.faults);
        let work = async { tokio::join!(clients, faults).0 };
        let seen = if self.broken {
            tokio::select! {
                seen = work => seen,
                never = break_store(&field) => match never {},
            }
        } else {
            work.await
        };
        let time = begun..clock.now();
        let (mut grants, mut outcomes) = (Vec::new(), BTreeMap::new());
        for seen in seen {
            grants.extend(seen.grants);
            for (said, count) in seen.outcomes {
                *outcomes.entry(said).or_default() += count;
            }
        }
        field.cluster.over.store(true, Ordering::Relaxed);
        let losses = std::mem::take(&mut *field.losses.lock());
        let all = verdicts(&field.buckets, &grants, &time, &losses);
        // Daemons that go on alone may exceed a limit by their share, and say so.
        let shared: Vec<Grant> = grants
            .iter()
            .filter(|grant| !grant.degraded)
            .copied()
            .collect();
        Report {
            over_without_losses: total(&verdicts(&field.buckets, &shared, &time, &[])),
            verdicts: verdicts(&field.buckets, &shared, &time, &losses),
            losses: losses.len(),
            harm: field.cluster.harm(),
            over_with_degraded: total(&all),
            pauses: pauses(&field.buckets, &grants, &time),
            caused: std::mem::take(&mut *field.caused.lock())
                .into_iter()
                .map(|(at, what)| (Duration::from_micros(at.saturating_sub(begun)), what))
                .collect(),
            run: self,
            time: Duration::from_micros(time.end - time.start),
            outcomes,
        }
    }
}

fn of(bucket: usize, grants: &[Grant]) -> Vec<Grant> {
    let own = grants.iter().filter(|grant| grant.bucket == bucket);
    own.copied().collect()
}

fn verdicts(
    buckets: &[Bucket],
    grants: &[Grant],
    time: &Range<Micros>,
    losses: &[Range<Micros>],
) -> Vec<(Bucket, Verdict)> {
    let numbered = buckets.iter().enumerate();
    let verdict = |(number, bucket): (usize, &Bucket)| {
        let own = of(number, grants);
        let verdict = check_apart(bucket.rule, &own, time.clone(), losses);
        (bucket.clone(), verdict)
    };
    numbered.map(verdict).collect()
}

fn total(verdicts: &[(Bucket, Verdict)]) -> u64 {
    verdicts.iter().map(|(_, verdict)| verdict.over()).sum()
}

/// How long each bucket admitted nothing at most. A calendar period that is used up admits nothing, so
/// there it is no time at all.
fn pauses(buckets: &[Bucket], grants: &[Grant], time: &Range<Micros>) -> Vec<(Duration, Duration)> {
    let numbered = buckets.iter().enumerate();
    let longest = |(number, bucket): (usize, &Bucket)| {
        let own = of(number, grants);
        let mut at: Vec<Micros> = own.iter().map(|grant| grant.at.sent).collect();
        at.extend([time.start, time.end]);
        at.sort_unstable();
        let gaps = at.windows(2).map(|pair| (pair[1] - pair[0], pair[0]));
        let (gap, since) = match bucket.rule {
            Rule::Calendar { .. } => (0, time.start),
            _ => gaps.max().unwrap_or_default(),
        };
        let since = Duration::from_micros(since - time.start);
        (since, Duration::from_micros(gap))
    };
    numbered.map(longest).collect()
}

/// Declares every limit, at every daemon, so that daemons that share nothing know them too.
async fn declare(field: &Field) {
    for seat in 0..field.cluster.daemons() {
        let link = Link::open(&field.cluster, seat, false).await;
        let mut link = link.expect("a daemon that has just been started answers");
        for bucket in &field.buckets {
            let request = v1::SetLimitRequest {
                name: bucket.limit.into(),
                spec: Some(bucket.spec()),
                ..v1::SetLimitRequest::default()
            };
            // The store may not be joined yet.
            let mut answer = link.declare(request.clone()).await;
            for _ in 0..100 {
                if answer.is_ok() {
                    break;
                }
                pause(Duration::from_millis(50)).await;
                answer = link.declare(request.clone()).await;
            }
            answer.expect("limits can be declared");
        }
    }
}

/// What a broken script would do: forgets what has been used, now and then.
async fn break_store(field: &Field) -> Infallible {
    const FORGET: &str = "for _, key in ipairs(redis.call('KEYS', '*:buckets:*')) do \
                          redis.call('DEL', key) end";
    loop {
        pause(Duration::from_millis(200)).await;
        field.cluster.tell_store(&["EVAL", FORGET, "0"]);
    }
}

/// Whether a bucket was near its limit, so that it would have been over if nothing had held it. A rate
/// whose burst is used up by slow calls is seen by its sum.
fn exercised(rule: Rule, verdict: &Verdict) -> bool {
    let used_up = verdict.admitted >= verdict.allowed / 4 * 3;
    match rule {
        Rule::Rate { .. } => used_up || verdict.fullest >= EXERCISED / 3.0,
        _ => verdict.fullest >= EXERCISED,
    }
}

impl Report {
    /// Units over, of all buckets.
    pub fn over(&self) -> u64 {
        total(&self.verdicts)
    }

    /// Acquires that were answered.
    pub fn acquires(&self) -> u64 {
        let answered = self.outcomes.iter();
        let answered = answered.filter(|(said, _)| !said.starts_with("error"));
        answered.map(|(_, count)| count).sum()
    }

    /// What is wrong, in words: daemons that ended or panicked, buckets that are over, that were never near their limit, and that admitted
    /// nothing for too long.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.harm.clone();
        if self.run.strict && self.over_with_degraded > self.over() {
            faults.push("daemons admitted something alone".to_owned());
        }
        for ((bucket, verdict), (since, pause)) in self.verdicts.iter().zip(&self.pauses) {
            let seed = self.run.seed;
            let mut fault =
                |what: String| faults.push(format!("seed {seed}: {} {what}", bucket.name()));
            if verdict.over() > 0 {
                fault(format!("is {} over", verdict.over()));
            }
            if !exercised(bucket.rule, verdict) {
                fault(format!("was never fuller than {:.2}", verdict.fullest));
            }
            // A busy machine takes longer for everything.
            if *pause > self.run.patience.max(self.time / 3) {
                fault(format!("admitted nothing for {pause:?} since {since:?}"));
            }
        }
        faults
    }

    /// All of it, in words and figures.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let (seed, acquires) = (self.run.seed, self.acquires());
        let _ = writeln!(
            text,
            "seed {seed}: {CLIENTS} clients, {acquires} acquires in {:.1} s",
            self.time.as_secs_f64()
        );
        for (at, what) in &self.caused {
            let _ = writeln!(text, "  {:5.1} s: {what}", at.as_secs_f64());
        }
        let _ = writeln!(text, "  {:?}", self.outcomes);
        let _ = writeln!(
            text,
            "  {:<22} {:>10} {:>10} {:>9} {:>6} {:>8} {:>9}",
            "bucket", "admitted", "allowed", "intervals", "over", "fullest", "pause"
        );
        for ((bucket, verdict), (since, pause)) in self.verdicts.iter().zip(&self.pauses) {
            let allowed = match verdict.allowed {
                u64::MAX => "-".to_owned(),
                allowed => allowed.to_string(),
            };
            let _ = writeln!(
                text,
                "  {:<22} {:>10} {:>10} {:>9} {:>6} {:>7.1}% {:>7.2} s from {:.1}",
                bucket.name(),
                verdict.admitted,
                allowed,
                verdict.intervals,
                verdict.over(),
                verdict.fullest * 100.0,
                pause.as_secs_f64(),
                since.as_secs_f64()
            );
        }
        let (over, with) = (self.over(), self.over_with_degraded);
        let _ = writeln!(
            text,
            "  over in all: {over}; {with} with what daemons admitted alone"
        );
        let _ = writeln!(
            text,
            "  the store lost everything {} times: without what that allows {} over",
            self.losses, self.over_without_losses
        );
        text
    }
}
