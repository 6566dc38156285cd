//! Which locks a daemon serves: its own, or the shared ones, with its own behind them.

use crate::config::Config;
use crate::supervisor::{Supervisor, TaskKind};
use std::sync::Arc;
use trellis_core::locks::{Locks, Start};
use trellis_core::{Clock, Now, Time};
use trellis_local::{MemoryLocks, MemoryLocksConfig};
use trellis_redis::{Membership, RedisCluster, RedisLocks, RedisLocksConfig, Store};
use trellis_resilience::{FallbackLocks, LocksFallbackTask};

/// Starts locks of this daemon alone, their timer under this name.
pub(crate) fn own(
    config: &Config,
    clock: &Arc<dyn Clock>,
    (supervisor, kind): (&mut Supervisor, TaskKind),
) -> Arc<MemoryLocks> {
    let locks = MemoryLocks::new(config.memory_locks(clock.now()), clock.clone());
    start(Arc::new(locks), (supervisor, kind))
}

fn start(
    locks: Arc<MemoryLocks>,
    (supervisor, kind): (&mut Supervisor, TaskKind),
) -> Arc<MemoryLocks> {
    let timer = locks.clone();
    supervisor.start(kind, |stop| async move {
        stop.run_until_cancelled(timer.run()).await;
    });
    locks
}

/// Starts the locks that all daemons share.
pub(crate) fn shared(
    config: &Config,
    (store, membership): (&Store, Membership),
    clock: &Arc<dyn Clock>,
    supervisor: &mut Supervisor,
) -> Arc<RedisLocks> {
    let memory = config.memory_locks(clock.now());
    let bounds = RedisLocksConfig {
        machine: memory.machine,
        max_namespaces: memory.max_namespaces,
        max_watchers: memory.max_watchers,
    };
    let (locks, task) = RedisLocks::open(store.clone(), membership, bounds, clock.clone());
    supervisor.start(TaskKind::LocksTimer, |stop| task.run(stop));
    locks
}

/// Puts locks of this daemon alone behind the shared ones. The task begins once the
/// store has had its time to come.
pub(crate) fn with_fallback(
    config: &Config,
    shared: Arc<RedisLocks>,
    (store, cluster): (&Store, Arc<RedisCluster>),
    clock: &Arc<dyn Clock>,
    supervisor: &mut Supervisor,
) -> (Arc<dyn Locks>, LocksFallbackTask) {
    let seen = Arc::new(SeenTokens {
        clock: clock.clone(),
        store: store.clone(),
    });
    let alone = MemoryLocksConfig {
        start: Start::default(),
        ..config.memory_locks(clock.now())
    };
    let local = Arc::new(MemoryLocks::new(alone, seen));
    let local = start(local, (supervisor, TaskKind::LocksFallbackTimer));
    let policy = config.locks_while_away();
    let (locks, task) = FallbackLocks::new(shared, local, cluster, policy, clock.clone());
    (locks, task)
}

/// The clock of locks that stand in for the shared ones: in the place of the wall, from which tokens are made, the
/// highest token that was seen and one more. So their tokens are above all those that this daemon has seen, and below
/// all that the store, whose tokens follow its clock, gives later.
struct SeenTokens {
    clock: Arc<dyn Clock>,
    store: Store,
}

impl Clock for SeenTokens {
    fn now(&self) -> Now {
        Now {
            mono: self.clock.mono(),
            wall: Time(self.store.highest_token() + 1),
        }
    }

    fn mono(&self) -> Time {
        self.clock.mono()
    }
}
