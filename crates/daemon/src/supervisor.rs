//! Starts the daemon's tasks and knows what the end of each means.
//!
//! This is the only place that starts a task of ours. A task that ends before it is stopped, by a
//! return or by a panic, is a fault; its kind tells whether the daemon can go on. Dropping the
//! supervisor aborts every task.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// The tasks of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskKind {
    /// Serves waiting calls of the limits when their time comes.
    LimitsTimer,
    /// Ends leases and waits of locks when their time comes.
    LocksTimer,
    /// Ends leases of the cache when their time comes, and serves the calls that wait for them.
    CacheTimer,
    /// Ends leases of the cache that stands in for the shared one.
    CacheFallbackTimer,
    /// Opens and closes the cache's fallback, and tells what was deleted in it.
    CacheFallback,
    /// Ends leases of the locks that stand in for the shared ones.
    LocksFallbackTimer,
    /// Opens and closes the fallback of locks.
    LocksFallback,
    /// Carries out the calls of the shared store.
    StoreCalls,
    /// Keeps the connections to the shared store.
    StoreConnections,
    /// Beats, and watches over the other daemons.
    Membership,
    /// Declares the configuration's limits in the shared store.
    Declarations,
    /// Keeps what this daemon knows of the shared store's pipelines.
    Pipelines,
    /// Serves waiting calls of the limits that stand in for the shared ones.
    FallbackTimer,
    /// Opens and closes the fallback, and merges what was spent in it.
    Fallback,
    /// Read events back from their log, and deal them out to groups.
    Events,
    /// Write jobs and read them back.
    Jobs,
    /// Tells of ends of jobs.
    JobEnds,
    /// Tells how the shared store fares.
    Announcing,
    /// Serves gRPC.
    GrpcServer,
    /// Serves metrics and probes.
    HttpServer,
}

/// What it means that a task ends before it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnEnd {
    /// The daemon cannot do its work: it shuts down and fails.
    ShutDown,
    /// The daemon goes on, since its state in memory is worth more; a person must look.
    GoOn,
}

impl TaskKind {
    /// The task's name in logs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::LimitsTimer => "limits timer",
            Self::LocksTimer => "locks timer",
            Self::CacheTimer => "cache timer",
            Self::CacheFallbackTimer => "cache fallback timer",
            Self::CacheFallback => "cache fallback",
            Self::LocksFallbackTimer => "locks fallback timer",
            Self::LocksFallback => "locks fallback",
            Self::StoreCalls => "store calls",
            Self::StoreConnections => "store connections",
            Self::Membership => "membership",
            Self::Declarations => "declarations",
            Self::Pipelines => "pipelines",
            Self::FallbackTimer => "fallback timer",
            Self::Fallback => "fallback",
            Self::Events => "events",
            Self::Jobs => "jobs",
            Self::JobEnds => "job ends",
            Self::Announcing => "announcing",
            Self::GrpcServer => "gRPC server",
            Self::HttpServer => "HTTP server",
        }
    }

    const fn on_end(self) -> OnEnd {
        match self {
            Self::LimitsTimer
            | Self::LocksTimer
            | Self::CacheTimer
            | Self::CacheFallbackTimer
            | Self::CacheFallback
            | Self::LocksFallbackTimer
            | Self::LocksFallback
            | Self::StoreCalls
            | Self::StoreConnections
            | Self::Membership
            | Self::Pipelines
            | Self::FallbackTimer
            | Self::Fallback
            | Self::Events
            | Self::Jobs
            | Self::GrpcServer => OnEnd::ShutDown,
            Self::Announcing | Self::JobEnds | Self::Declarations | Self::HttpServer => OnEnd::GoOn,
        }
    }
}

struct Task {
    kind: TaskKind,
    /// Asks the task to end.
    stop: CancellationToken,
    handle: AbortHandle,
}

/// The running tasks.
#[derive(Default)]
pub(crate) struct Supervisor {
    set: JoinSet<()>,
    tasks: HashMap<Id, Task>,
}

impl Supervisor {
    /// Starts a task; it gets a token whose cancellation asks it to end.
    pub(crate) fn start<F>(&mut self, kind: TaskKind, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let handle = self.set.spawn(task(stop.clone()));
        self.tasks.insert(handle.id(), Task { kind, stop, handle });
    }

    /// Waits for the fault of a task that the daemon cannot do without.
    pub(crate) async fn critical_fault(&mut self) -> TaskKind {
        loop {
            let Some(ended) = self.set.join_next_with_id().await else {
                std::future::pending().await
            };
            if let Some((kind, OnEnd::ShutDown)) = self.note_end(&ended) {
                return kind;
            }
        }
    }

    /// Asks a task to end and waits for it, for at most so long. Tells whether it ended.
    pub(crate) async fn stop(&mut self, kind: TaskKind, within: Duration) -> bool {
        for task in self.of_kind(kind) {
            task.stop.cancel();
        }
        tokio::time::timeout(within, self.ended(kind)).await.is_ok()
    }

    /// Aborts a task that did not end.
    pub(crate) fn abort(&mut self, kind: TaskKind) {
        for task in self.of_kind(kind) {
            task.handle.abort();
        }
    }

    async fn ended(&mut self, kind: TaskKind) {
        while self.of_kind(kind).next().is_some() {
            if let Some(ended) = self.set.join_next_with_id().await {
                self.note_end(&ended);
            }
        }
    }

    fn of_kind(&self, kind: TaskKind) -> impl Iterator<Item = &Task> {
        self.tasks.values().filter(move |task| task.kind == kind)
    }

    /// Forgets a task that has ended, logs the end if it is a fault, and tells what it means then.
    fn note_end(&mut self, ended: &Result<(Id, ()), JoinError>) -> Option<(TaskKind, OnEnd)> {
        let (id, reason) = match ended {
            Ok((id, ())) => (*id, "it returned".to_owned()),
            Err(error) => (error.id(), error.to_string()),
        };
        let task = self.tasks.remove(&id)?;
        if task.stop.is_cancelled() {
            return None;
        }
        tracing::error!(task = task.kind.name(), reason, "a task ended unasked");
        Some((task.kind, task.kind.on_end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_critical_task_is_a_fault_and_that_of_another_is_not() {
        let mut supervisor = Supervisor::default();
        supervisor.start(TaskKind::HttpServer, |_| async { panic!("not critical") });
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        supervisor.start(TaskKind::LimitsTimer, |_| async { ended.await.unwrap() });
        let watched = tokio::time::timeout(Duration::ZERO, supervisor.critical_fault()).await;
        assert!(watched.is_err());
        drop(end);
        assert_eq!(supervisor.critical_fault().await, TaskKind::LimitsTimer);
    }

    #[tokio::test]
    async fn a_task_that_is_asked_to_end_is_no_fault() {
        let mut supervisor = Supervisor::default();
        supervisor.start(TaskKind::GrpcServer, |stop| async move {
            stop.cancelled().await;
        });
        assert!(
            supervisor
                .stop(TaskKind::GrpcServer, Duration::from_secs(10))
                .await
        );
        assert!(
            supervisor.stop(TaskKind::GrpcServer, Duration::ZERO).await,
            "twice is once"
        );
    }

    #[tokio::test]
    async fn a_task_that_does_not_end_can_be_aborted() {
        let mut supervisor = Supervisor::default();
        supervisor.start(TaskKind::GrpcServer, |_| std::future::pending());
        assert!(!supervisor.stop(TaskKind::GrpcServer, Duration::ZERO).await);
        supervisor.abort(TaskKind::GrpcServer);
        assert!(
            supervisor
                .stop(TaskKind::GrpcServer, Duration::from_secs(10))
                .await
        );
    }
}
