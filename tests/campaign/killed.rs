//! What campaigns of a daemon that is killed again and again do alike: the kills, and what is told of all runs.

use crate::clock::{Clock, pause};
use crate::house::House;
use crate::random::Random;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// What a run does.
#[derive(Clone, Debug)]
pub struct Run {
    pub seed: u64,
    pub kills: u64,
    /// The daemon serves for at most so long before it is killed.
    pub life: Duration,
    /// At the first kill the log loses its end, which the checker has to find.
    pub broken: bool,
    /// How long clients may take for what is left when nothing new comes any more.
    pub patience: Duration,
}

impl Run {
    /// The short form: some seconds.
    pub fn short(seed: u64) -> Self {
        Self {
            seed,
            kills: 8,
            life: Duration::from_millis(1_500),
            broken: false,
            patience: Duration::from_mins(1),
        }
    }

    /// A fifth of a long form.
    pub fn long(seed: u64, kills: u64, life: Duration) -> Self {
        Self {
            kills,
            life,
            patience: Duration::from_mins(3),
            ..Self::short(seed)
        }
    }

    /// Kills the daemon and starts it again, as often as it should; `log` is the one that may lose its end.
    pub async fn kill(&self, house: &Arc<House>, clock: Clock, log: &str) {
        let mut random = Random::new(self.seed, 1);
        let most = u64::try_from(self.life.as_millis()).unwrap_or(u64::MAX);
        let mut kills = 0;
        while kills < self.kills {
            let lives = random.of(10..most);
            pause(Duration::from_millis(lives)).await;
            house.kill();
            kills += 1;
            if self.broken && kills == 1 {
                house.cut(log);
            }
            while kills < self.kills && random.percent(15) {
                let time = random.of(0..150);
                house.start_in_vain(Duration::from_millis(time)).await;
                kills += 1;
            }
            start(house, clock).await;
        }
    }
}

/// Starts the daemon, and waits for it in a thread of its own.
pub async fn start(house: &Arc<House>, clock: Clock) {
    let house = Arc::clone(house);
    let started = tokio::task::spawn_blocking(move || house.start(clock)).await;
    started.expect("the daemon starts again");
}

/// What is wrong, in words, with the seed. A run in which something never happened proves nothing of it.
pub fn wrong<'a>(
    seed: u64,
    faults: impl Iterator<Item = String>,
    harm: &[String],
    happened: impl IntoIterator<Item = (usize, &'a str)>,
) -> Vec<String> {
    let never = happened.into_iter().filter(|(count, _)| *count == 0);
    let never = never.map(|(_, what)| format!("nothing was {what}"));
    let all = faults.chain(harm.iter().cloned()).chain(never);
    all.map(|it| format!("seed {seed}: {it}")).collect()
}

/// What a run of a campaign has shown.
pub struct Shown {
    pub text: String,
    pub kills: u64,
    /// What there was, to be summed over all runs.
    pub sums: [(usize, &'static str); 3],
    /// Times from a start to service.
    pub starts: Vec<Duration>,
    /// What is wrong, in words.
    pub wrong: Vec<String>,
}

/// What all runs have shown.
#[derive(Default)]
pub struct All {
    runs: usize,
    kills: u64,
    sums: [(usize, &'static str); 3],
    starts: Vec<Duration>,
    pub wrong: Vec<String>,
}

impl All {
    pub fn add(&mut self, shown: Shown) {
        self.runs += 1;
        self.kills += shown.kills;
        for (sum, (count, what)) in self.sums.iter_mut().zip(shown.sums) {
            *sum = (sum.0 + count, what);
        }
        self.starts.extend(shown.starts);
        self.starts.sort_unstable();
        self.wrong.extend(shown.wrong);
    }

    pub fn text(&self) -> String {
        let mut text = format!("{} seeds, {} kills", self.runs, self.kills);
        for (count, what) in self.sums {
            let _ = write!(text, ", {count} {what}");
        }
        let longest = self.starts.last().copied().unwrap_or_default();
        let _ = write!(
            text,
            "; from a start to service p50 {:?}, max {longest:?}: {} wrong",
            middle(&self.starts),
            self.wrong.len()
        );
        text
    }
}

/// The one in the middle, of times in order.
pub fn middle(times: &[Duration]) -> Duration {
    times.get(times.len() / 2).copied().unwrap_or_default()
}
