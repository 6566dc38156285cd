//! The end of a daemon: one list of steps, in order and bounded in time.
//!
//! 1. Probes say "not ready", so that no new callers are sent here.
//! 2. Waiting calls and streams end with the reason.
//! 3. Nothing more is accepted; calls in flight end.
//! 4. What is left after `shutdown_timeout` is cut.
//! 5. Jobs end, then events; everything that was accepted is written; the timers stop; what was spent without the shared store is merged if it is back, else the log says
//!    what is lost; the store is left and, last, HTTP stops: metrics can be read until the end.
//!
//! It leaves a second signal to its caller, who drops the future.

use crate::error::RunError;
use crate::readiness::Phase;
use crate::run::Daemon;
use crate::supervisor::TaskKind;
use serde_json::json;
use std::time::Duration;

/// How long a task may take to end when nothing holds it any more.
const GRACE: Duration = Duration::from_secs(1);

/// How long merging may take: longer than any call of the store, by default.
const MERGING: Duration = Duration::from_secs(5);

/// How long the disk may take for what was accepted.
const WRITING: Duration = Duration::from_secs(10);

impl Daemon {
    /// Takes every step, in order. Fails when calls or connections had to be cut.
    pub(crate) async fn shut_down(mut self) -> Result<(), RunError> {
        tracing::info!(timeout = ?self.timeout, "shutting down: not ready any more");
        self.readiness.advance(Phase::Draining);
        self.health.set_serving(false).await;

        self.end(TaskKind::Announcing).await;
        self.voice
            .tell("trellis.daemon.stopping", "daemon", &json!({}));
        tracing::info!("shutting down: ending waiting calls and streams");
        self.drain.cancel();

        tracing::info!("shutting down: accepting nothing more, waiting for calls in flight");
        let clean = self
            .supervisor
            .stop(TaskKind::GrpcServer, self.timeout)
            .await;
        if !clean {
            tracing::warn!(timeout = ?self.timeout, "shutting down: cutting what is left");
            self.cut.cancel();
            self.end(TaskKind::GrpcServer).await;
        }

        tracing::info!(
            "shutting down: writing jobs and events, stopping the timers, leaving the store, stopping HTTP"
        );
        let closing = tokio::time::timeout(WRITING, self.queueing.close());
        if closing.await.is_err() {
            tracing::warn!(within = ?WRITING, "what was accepted of jobs may not be written");
        }
        self.end(TaskKind::Jobs).await;
        self.end(TaskKind::JobEnds).await;
        let closing = tokio::time::timeout(WRITING, self.eventing.close());
        if closing.await.is_err() {
            tracing::warn!(within = ?WRITING, "what was accepted of events may not be written");
        }
        self.end(TaskKind::Events).await;
        self.end(TaskKind::LimitsTimer).await;
        self.end(TaskKind::LocksTimer).await;
        self.end(TaskKind::CacheTimer).await;
        self.leave_store().await;
        self.end(TaskKind::HttpServer).await;
        let decided = self.limits.status();
        tracing::info!(
            clean,
            granted = decided.granted,
            denied = decided.denied,
            "shut down"
        );
        if clean {
            Ok(())
        } else {
            Err(RunError::Cut(self.timeout))
        }
    }

    /// Leaves the store, so that the others need not wait for this daemon's death.
    async fn leave_store(&mut self) {
        let Some(store) = self.store.take() else {
            return;
        };
        if !self.supervisor.stop(TaskKind::Fallback, MERGING).await {
            self.supervisor.abort(TaskKind::Fallback);
            let fallback = self.limits.fallback();
            let units = fallback.map_or(0, |fallback| fallback.unmerged_units);
            tracing::warn!(units, "the store may never know what was spent without it");
        }
        // Before the store is left: leaving it is no outage.
        self.end(TaskKind::CacheFallback).await;
        self.end(TaskKind::LocksFallback).await;
        if let Err(error) = store.leave().await {
            tracing::warn!(%error, "the other daemons will notice the end by silence only");
        }
        for kind in [
            TaskKind::Declarations,
            TaskKind::Pipelines,
            TaskKind::FallbackTimer,
            TaskKind::CacheFallbackTimer,
            TaskKind::LocksFallbackTimer,
            TaskKind::Membership,
            TaskKind::StoreConnections,
            TaskKind::StoreCalls,
        ] {
            self.end(kind).await;
        }
    }

    /// Stops a task, the hard way if need be.
    async fn end(&mut self, kind: TaskKind) {
        if !self.supervisor.stop(kind, GRACE).await {
            self.supervisor.abort(kind);
        }
    }
}
