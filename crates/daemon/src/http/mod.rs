//! HTTP for operators: metrics and probes. Reads the daemon's state and changes nothing.

mod metrics;

pub(crate) use metrics::DaemonMetrics;

use crate::connection::Acceptor;
use crate::readiness::{Phase, Readiness};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves until `stop`; then accepts nothing more and returns when every connection has ended.
pub(crate) async fn serve(acceptor: Acceptor, router: Router, stop: CancellationToken) {
    let served = axum::serve(acceptor, router).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "the HTTP server failed");
    }
}

/// `/metrics`, `/healthz`, `/readyz`.
pub(crate) fn router(metrics: DaemonMetrics, readiness: Arc<Readiness>) -> Router {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(metrics));
    Router::new()
        .route("/metrics", get(render).with_state(Arc::new(registry)))
        .route("/healthz", get(|| async { "the process runs\n" }))
        .route("/readyz", get(ready).with_state(readiness))
        .fallback(|| async {
            let hint = "no such page; there are /metrics, /healthz and /readyz\n";
            (StatusCode::NOT_FOUND, hint)
        })
}

async fn render(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        // Writing to a string cannot fail.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn ready(State(readiness): State<Arc<Readiness>>) -> (StatusCode, &'static str) {
    match readiness.phase() {
        Phase::Serving => (StatusCode::OK, "serving\n"),
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n"),
    }
}
