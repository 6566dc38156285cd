//! `just campaign limits`: whether anything is ever admitted above a limit, whatever breaks. `just campaign events`: whether
//! events are lost, doubled or handed out wrongly when the daemon is killed; `events` tells of it. `just campaign jobs`: the same of
//! jobs; `jobs` tells of it.
//!
//! For limits, three daemons on one Redis under the load of 48 clients are killed, stopped and cut off while their
//! store is killed and started again; what was admitted is held against the arithmetic of each limit,
//! which shares no code with the limits. Then, on whole daemons, how three of them share one limit.
//!
//! `--seeds 1,2` chooses the seeds, `--short` the form that the tests run, and `--broken` forgets in the
//! store what has been used, or cuts the log, which has to be found: then the program fails when nothing is wrong. For limits,
//! `--share` lets daemons go on with their shares while the store is away, as they do by default; what they admit then
//! is counted apart, since a daemon that is cut off alone may exceed a limit by its share. `--only Kill`
//! causes one kind of fault.
//!
//! Files: `killed` what the last two do alike; of limits `overshoot` a run, `buckets` its limits, `client` what each client does and `link` how,
//! `faults` what is broken, `cluster` the processes, `history` what is written down, `checker` the
//! arithmetic, `fairness` the shares.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failure here is a failed campaign"
)]
#![allow(dead_code, reason = "the short form is a test, made of the same files")]

mod buckets;
mod calls;
mod checker;
mod client;
mod clock;
mod cluster;
mod events;
mod fairness;
mod faults;
mod history;
mod house;
mod jobs;
mod killed;
mod link;
mod overshoot;
mod random;

use cluster::Cluster;
use killed::{All, Run, Shown};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What is asked of this program.
struct Arguments {
    seeds: Vec<u64>,
    short: bool,
    broken: bool,
    /// Daemons go on with their shares while the store is away, as they do by default.
    share: bool,
    /// The only fault to cause, by name.
    only: Option<String>,
}

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        say("this program runs only under `cargo bench`: just campaign limits, or events, or jobs");
        return Ok(());
    }
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let seeds = arguments.iter().skip_while(|name| *name != "--seeds");
    let seeds = seeds.skip(1).take(1).flat_map(|seeds| seeds.split(','));
    let mut seeds = seeds
        .map(str::parse)
        .collect::<std::result::Result<Vec<u64>, _>>()?;
    if seeds.is_empty() {
        seeds = vec![1, 2, 3, 4, 5];
    }
    let (events, jobs) = (has("events"), has("jobs"));
    let arguments = Arguments {
        seeds,
        short: has("--short"),
        broken: has("--broken"),
        share: has("--share"),
        only: arguments
            .iter()
            .skip_while(|name| *name != "--only")
            .nth(1)
            .cloned(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        if events {
            let go = async |run| events::run::go(run).await.shown();
            run_killed(&arguments, events::run::long, go).await
        } else if jobs {
            let go = async |run| jobs::run::go(run).await.shown();
            run_killed(&arguments, jobs::run::long, go).await
        } else {
            run(&arguments).await
        }
    })
}

async fn run(arguments: &Arguments) -> Result<()> {
    let (mut acquires, mut kills, mut over, mut wrong) = (0, 0, 0, Vec::new());
    for &seed in &arguments.seeds {
        let mut run = if arguments.short {
            overshoot::Run::short(seed)
        } else {
            overshoot::Run::long(seed)
        };
        run.broken = arguments.broken;
        if let Some(only) = &arguments.only {
            run = run.only(only);
        }
        run.strict = !arguments.share;
        let settings = if arguments.share {
            &[]
        } else {
            cluster::STRICT
        };
        let cluster = Cluster::shared(settings).ok_or("a campaign needs a redis-server")?;
        let report = run.on(cluster).await;
        say(&report.text());
        acquires += report.acquires();
        kills += report.run.faults.get(&faults::Fault::Kill).unwrap_or(&0);
        over += report.over();
        wrong.extend(report.faults());
    }
    let seeds = arguments.seeds.len();
    say(&format!(
        "{seeds} seeds, {acquires} acquires, {kills} kills: {over} over"
    ));
    if arguments.broken {
        let found = if over > 0 {
            Ok(())
        } else {
            Err("a broken store was not found")
        };
        return Ok(found?);
    }
    if !wrong.is_empty() {
        return Err(wrong.join("\n").into());
    }
    let cluster = Cluster::shared(cluster::PATIENT).ok_or("a campaign needs a redis-server")?;
    for line in fairness::print(&cluster).await {
        say(&line);
    }
    Ok(())
}

/// Runs each seed of a campaign of a daemon that is killed; fails when something is wrong or, if the log is broken on purpose, when
/// nothing is found.
async fn run_killed(
    arguments: &Arguments,
    long: fn(u64) -> Run,
    go: impl AsyncFn(Run) -> Shown,
) -> Result<()> {
    let mut all = All::default();
    for &seed in &arguments.seeds {
        let form = if arguments.short { Run::short } else { long };
        let broken = arguments.broken;
        let shown = go(Run {
            broken,
            ..form(seed)
        })
        .await;
        say(&shown.text);
        all.add(shown);
    }
    say(&all.text());
    match (arguments.broken, all.wrong.is_empty()) {
        (true, true) => Err("a log that was cut was not found".into()),
        (false, false) => Err(all.wrong.join("\n").into()),
        _ => Ok(()),
    }
}

/// Prints a line.
#[expect(clippy::print_stdout, reason = "a program that prints")]
fn say(line: &str) {
    println!("{line}");
}
