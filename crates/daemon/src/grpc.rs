//! The gRPC server: tonic over bounded connections, with the layers that surround every call.

use crate::config::GrpcSettings;
use crate::connection::Acceptor;
use futures::stream;
use std::io;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use trellis_service::{CallLimitLayer, RpcStats, Services, StatsLayer};

/// Serves until `stop`; then accepts nothing more and returns when every connection has ended.
pub(crate) async fn serve(
    settings: GrpcSettings,
    acceptor: Acceptor,
    services: Services,
    stats: Arc<RpcStats>,
    stop: CancellationToken,
) {
    let acceptor = acceptor.ending_unused_ones_at(stop.clone());
    let incoming = stream::unfold(acceptor, |mut acceptor| async {
        let (connection, _) = acceptor.connection().await;
        Some((Ok::<_, io::Error>(connection), acceptor))
    });
    let served = Server::builder()
        .max_concurrent_streams(settings.max_concurrent_streams)
        .http2_keepalive_interval(Some(settings.keepalive_interval.into()))
        .http2_keepalive_timeout(Some(settings.keepalive_timeout.into()))
        // Outermost, so that a call refused by the bound counts as an error.
        .layer(StatsLayer::new(stats))
        .layer(CallLimitLayer::new(settings.max_calls))
        .serve_with_incoming_shutdown(services, incoming, stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the gRPC server failed");
    }
}
