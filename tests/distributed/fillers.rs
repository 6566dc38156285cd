//! Fillers that are killed, with SIGKILL and at each step: the process that computes, and the daemon through which it
//! does. Whoever waits at other daemons gets the value or the lease, and what was filled is there for all.

use crate::cache::{LONG, daemons_with, metric};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use trellis_client::Client;
use trellis_client::cache::{Cache, Fetch, FetchEvent, Keep};
use trellis_tests::daemon::Daemon;
use trellis_tests::redis::Redis;

/// Tells a process of this test that it is to fill, at which daemon, and at which step it stays.
const ROLE: &str = "TRELLIS_TEST_FILLER";

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where a filler is when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// It holds the lease.
    Leased,
    /// It has sent a part of the value.
    Appended,
    /// It is sending the end of the value.
    Filling,
    /// It was told that the value is kept.
    Filled,
}

impl Step {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Leased, "leased"),
        (Self::Appended, "appended"),
        (Self::Filling, "filling"),
        (Self::Filled, "filled"),
    ];

    fn name(self) -> &'static str {
        let named = Self::ALL.iter().find(|(step, _)| *step == self);
        named.unwrap().1
    }
}

/// Computes the key as far as a step, and tells of each.
async fn fill_as_far_as(cache: &Cache, last: Step, tell: impl Fn(Step)) -> Fetch {
    let keep = Keep::new(LONG);
    let mut fetch = cache.fetch(["k"], &keep).await.unwrap();
    let (_, event) = fetch.next().await.unwrap();
    let FetchEvent::Lease(lease) = event else {
        panic!("no lease but {event:?}");
    };
    tell(Step::Leased);
    if last == Step::Leased {
        return fetch;
    }
    assert!(fetch.append(lease, "half ".into()).await.unwrap());
    tell(Step::Appended);
    if last == Step::Appended {
        return fetch;
    }
    tell(Step::Filling);
    // Whether it was in time is told to nobody when this process is killed meanwhile.
    let filled = fetch.fill(lease, Some("value".into()), &keep).await;
    if last == Step::Filled {
        assert!(filled.unwrap());
        tell(Step::Filled);
    }
    fetch
}

/// A process that fills.
struct Filler {
    process: Child,
    lines: Receiver<String>,
    /// What it has told so far.
    told: String,
}

impl Filler {
    /// Starts one that stays at this step.
    fn start(daemon: &Daemon, last: Step) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "fillers::a_filler_in_a_process_of_its_own_is_heard_at_other_daemons",
            ])
            .args(["--nocapture", "--test-threads=1"])
            .env(ROLE, format!("{} {}", daemon.grpc, last.name()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = sync_channel(1_000);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let told = String::new();
        Self {
            process,
            lines,
            told,
        }
    }

    /// Waits until it is at a step.
    fn is_at(&mut self, step: Step) {
        let wanted = format!("at {}\n", step.name());
        while !self.told.contains(&wanted) {
            self.told += &self.lines.recv_timeout(PATIENCE).unwrap();
            self.told.push('\n');
        }
    }

    /// Kills the process: it sends nothing more.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// This process' part where it is a filler.
#[allow(clippy::print_stdout, reason = "how the other process is told")]
async fn act(role: &str) {
    let (address, step) = role.split_once(' ').unwrap();
    let (last, _) = Step::ALL.iter().find(|(_, name)| *name == step).unwrap();
    let client = Client::builder(format!("http://{address}"));
    let client = client.connect().await.unwrap();
    let _fetch = fill_as_far_as(&client.cache("answers"), *last, |step| {
        println!("at {}", step.name());
    })
    .await;
    std::future::pending::<()>().await;
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Value,
    Computed,
}

/// Asks for the key, computes it if that is left to this caller, and checks the value.
async fn ask(cache: &Cache) -> Ended {
    let keep = Keep::new(LONG);
    let asked = async {
        let mut fetch = cache.fetch(["k"], &keep).await.unwrap();
        loop {
            match fetch.next().await.unwrap().1 {
                FetchEvent::Hit { entry, .. } => {
                    assert_eq!(entry.value.unwrap(), "half value");
                    return Ended::Value;
                }
                FetchEvent::Lease(lease) => {
                    let filled = fetch.fill(lease, Some("half value".into()), &keep).await;
                    assert!(filled.unwrap());
                    return Ended::Computed;
                }
                _ => {}
            }
        }
    };
    timeout(PATIENCE, asked).await.unwrap()
}

/// Waits until a call waits at each daemon.
async fn until_waiting(daemons: &[Daemon]) {
    for daemon in daemons {
        let waits = async {
            while metric(daemon, "trellis_cache_waiters").await == "0" {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, waits).await.unwrap();
    }
}

/// Daemons of which a dead one is noticed soon, and a lease ends soon.
async fn three(redis: &Redis) -> (Vec<Daemon>, Vec<Cache>) {
    let quick = [
        ("TRELLIS_REDIS__DEATH_AFTER", "3s".to_owned()),
        ("TRELLIS_CACHE__DEFAULT_LEASE_TTL", "5s".to_owned()),
    ];
    daemons_with(redis, 3, &quick).await
}

/// Checks that of the calls that waited one computed at most, and that all daemons have the value.
async fn check(ended: [Ended; 2], step: Step, caches: &[Cache]) {
    let computed = ended
        .iter()
        .filter(|ended| **ended == Ended::Computed)
        .count();
    match step {
        Step::Leased | Step::Appended => assert_eq!(computed, 1, "{step:?}"),
        // In time or not: who knows.
        Step::Filling => assert!(computed <= 1, "{step:?}"),
        Step::Filled => assert_eq!(computed, 0, "{step:?}"),
    }
    for cache in caches {
        let entry = cache.get("k").await.unwrap().unwrap();
        assert_eq!(entry.value.unwrap(), "half value");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_filler_in_a_process_of_its_own_is_heard_at_other_daemons() {
    if let Ok(role) = std::env::var(ROLE) {
        return act(&role).await;
    }
    let redis = Redis::start().unwrap();
    let (daemons, caches) = three(&redis).await;
    let mut filler = Filler::start(&daemons[0], Step::Filled);
    filler.is_at(Step::Filled);
    for cache in &caches {
        assert_eq!(ask(cache).await, Ended::Value);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn calls_at_other_daemons_go_on_when_a_filler_is_killed_at_any_step() {
    let redis = Redis::start().unwrap();
    let (daemons, caches) = three(&redis).await;
    for (step, _) in Step::ALL {
        caches[1].delete("k").await.unwrap();
        let mut filler = Filler::start(&daemons[0], step);
        filler.is_at(Step::Leased);
        let waits = async { tokio::join!(ask(&caches[1]), ask(&caches[2])) };
        let kill = async {
            if step < Step::Filling {
                until_waiting(&daemons[1..]).await;
            }
            tokio::task::block_in_place(|| filler.is_at(step));
            filler.kill();
        };
        let ((first, second), ()) = tokio::join!(waits, kill);
        check([first, second], step, &caches).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn calls_at_other_daemons_go_on_when_the_fillers_daemon_is_killed_at_any_step() {
    let redis = Redis::start().unwrap();
    for (step, _) in Step::ALL {
        let (daemons, caches) = three(&redis).await;
        caches[1].delete("k").await.unwrap();
        let (reached, mut at) = watch::channel(None);
        let killed = CancellationToken::new();
        let filling = async {
            let tell = |now| {
                reached.send_replace(Some(now));
            };
            let fetch = fill_as_far_as(&caches[0], step, tell).await;
            killed.cancelled().await;
            drop(fetch);
        };
        let waiting = async {
            at.wait_for(Option::is_some).await.unwrap();
            let waits = async { tokio::join!(ask(&caches[1]), ask(&caches[2])) };
            let kill = async {
                if step < Step::Filling {
                    until_waiting(&daemons[1..]).await;
                }
                at.wait_for(|now| *now >= Some(step)).await.unwrap();
                daemons[0].signal("KILL");
                killed.cancel();
            };
            tokio::join!(waits, kill).0
        };
        let ((), (first, second)) = tokio::join!(filling, waiting);
        check([first, second], step, &caches[1..]).await;
    }
}
