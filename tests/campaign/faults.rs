//! What is done to the daemons, their links and their store, by a seed.

use crate::client::Field;
use crate::clock::pause;
use crate::history::Micros;
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
    /// FLUSHALL: everything is lost, so every bucket is full once more.
    Flush,
    /// SCRIPT FLUSH: nothing is lost.
    ScriptFlush,
    /// The store writes no more for a while, for want of replicas.
    ReadOnly,
    /// The store is a replica of nothing for a while: it writes no more, and its history is another one then.
    Replica,
    /// CLIENT PAUSE: what is sent is carried out late.
    Pause,
    /// SIGSTOP of the store, and SIGCONT some time later.
    Hang,
}

impl Fault {
    /// Whether it befalls the store and not one of the daemons.
    fn is_of_the_store(self) -> bool {
        use Fault::{Flush, Hang, Pause, ReadOnly, Replica, ScriptFlush, StoreRestart};
        matches!(
            self,
            Flush | Hang | Pause | ReadOnly | Replica | ScriptFlush | StoreRestart
        )
    }
}

/// How many of each.
pub type Counts = BTreeMap<Fault, u64>;

/// When no daemon spends any more of a slice that it was handed before the store lost its memory: a slice lasts a
/// second at most, and what was answered last is still on its way.
const SLICES_END: Micros = 1_500_000;

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
        store => befall(field, store, time(random, 50..2_500)).await,
    }
    let took = Duration::from_micros(field.clock.now() - at);
    let whom = if fault.is_of_the_store() {
        String::new()
    } else {
        format!(" of daemon {seat}")
    };
    let caused = format!("{fault:?}{whom} for {} ms", took.as_millis());
    field.caused.lock().push((at, caused));
}

/// Does something to the store that its process survives, for so long.
async fn befall(field: &Arc<Field>, fault: Fault, time: Duration) {
    let tell = |command: &'static [&'static str]| {
        let field = Arc::clone(field);
        // Waits for the answer in a thread of its own.
        tokio::task::spawn_blocking(move || field.cluster.tell_store(command))
    };
    match fault {
        Fault::Flush => {
            let begun = field.clock.now();
            let _ = tell(&["FLUSHALL"]).await;
            field
                .losses
                .lock()
                .push(begun..field.clock.now() + SLICES_END);
        }
        Fault::ScriptFlush => _ = tell(&["SCRIPT", "FLUSH"]).await,
        Fault::ReadOnly => {
            let _ = tell(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
            pause(time).await;
            let _ = tell(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
        }
        Fault::Replica => {
            // Nobody listens there, so it keeps what it has.
            let _ = tell(&["REPLICAOF", "127.0.0.1", "1"]).await;
            pause(time).await;
            let _ = tell(&["REPLICAOF", "NO", "ONE"]).await;
        }
        Fault::Pause => {
            let _ = tell(&["CLIENT", "PAUSE", "1500", "ALL"]).await;
            pause(Duration::from_millis(1_500)).await;
        }
        _ => {
            field.cluster.signal_store("STOP");
            pause(time).await;
            field.cluster.signal_store("CONT");
        }
    }
}
