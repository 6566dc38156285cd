//! What is done to the daemons, their links and their store, by a seed.

use crate::client::Field;
use crate::clock::pause;
use crate::random::Random;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL of a daemon, and a new one some time later.
    Kill,
    /// SIGSTOP of a daemon, and SIGCONT some time later.
    Stop,
    /// SIGSTOP for longer than it takes to be declared dead.
    LongStop,
    /// The connections between a daemon and the store are closed and none is made for a while.
    Cut,
    /// Nothing passes between a daemon and the store for a while, and nobody is told.
    Stall,
    /// SIGKILL of the store, which has everything on disk, and a start some time later.
    StoreRestart,
}

/// How many of each.
pub type Counts = BTreeMap<Fault, u64>;

/// Between two faults at most.
const SPREAD: Duration = Duration::from_secs(20);

/// Does all of it in an order that the seed determines, spread over the acquires of the run.
pub async fn run(field: Arc<Field>, seed: u64, counts: &Counts) {
    let mut random = Random::new(seed, 1);
    let mut faults: Vec<Fault> = counts
        .iter()
        .flat_map(|(&fault, &count)| (0..count).map(move |_| fault))
        .collect();
    random.shuffle(&mut faults);
    let share = field.target.load(Ordering::Relaxed) / (faults.len() as u64 + 1);
    for (number, fault) in (1..).zip(faults) {
        let mark = share * number;
        let reached = async {
            while field.answered.load(Ordering::Relaxed) < mark {
                pause(Duration::from_millis(5)).await;
            }
        };
        // A run that does not get on is to have its faults nevertheless.
        let _ = tokio::time::timeout(SPREAD, reached).await;
        cause(&field, fault, &mut random).await;
    }
}

async fn cause(field: &Arc<Field>, fault: Fault, random: &mut Random) {
    let cluster = &field.cluster;
    let seat = usize::try_from(random.of(0..cluster.daemons() as u64)).unwrap_or(0);
    let time = |random: &mut Random, range| Duration::from_millis(random.of(range));
    let at = field.clock.now();
    match fault {
        Fault::Kill => {
            cluster.kill_daemon(seat);
            pause(time(random, 20..800)).await;
            let field = Arc::clone(field);
            // Waits for the daemon in a thread of its own.
            let started =
                tokio::task::spawn_blocking(move || field.cluster.start_daemon(seat)).await;
            assert!(started.is_ok(), "the daemon does not start again");
        }
        Fault::Stop | Fault::LongStop => {
            cluster.signal_daemon(seat, "STOP");
            let range = if fault == Fault::Stop {
                50..2_000
            } else {
                6_000..8_000
            };
            pause(time(random, range)).await;
            cluster.signal_daemon(seat, "CONT");
        }
        Fault::Cut | Fault::Stall => {
            let Some(link) = cluster.link(seat) else {
                return;
            };
            if fault == Fault::Cut {
                link.cut();
            } else {
                link.stall();
            }
            pause(time(random, 100..2_500)).await;
            link.heal();
        }
        Fault::StoreRestart => {
            cluster.kill_store();
            pause(time(random, 50..700)).await;
            let field = Arc::clone(field);
            let started = tokio::task::spawn_blocking(move || field.cluster.start_store()).await;
            assert!(started.is_ok(), "the store does not start again");
        }
    }
    let took = Duration::from_micros(field.clock.now() - at);
    let whom = match fault {
        Fault::StoreRestart => String::new(),
        _ => format!(" of daemon {seat}"),
    };
    let caused = format!("{fault:?}{whom} for {} ms", took.as_millis());
    field.caused.lock().push((at, caused));
}
