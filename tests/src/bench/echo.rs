//! The floor: a bare tonic server with the daemon's server settings. It keeps no state and has no layers, no
//! tracing, no histograms; what it answers is up to the benchmark. Its calls go through tonic's router, as in
//! any tonic server.

use super::Result;
use std::time::Duration;
use tonic::transport::Server;
use tonic::transport::server::{Router, TcpIncoming};

/// Makes a benchmark's program the echo.
pub const ARGUMENT: &str = "--echo";

/// What a server says before its address, the daemon too.
pub const SERVING: &str = "serving gRPC";

/// Serves what `add` adds until the process is ended.
pub fn serve(add: impl FnOnce(&mut Server) -> Router) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        tell(&format!("{SERVING} address={}", listener.local_addr()?));
        // The daemon's own settings, by its defaults.
        let mut server = Server::builder()
            .max_concurrent_streams(4_096)
            .http2_keepalive_interval(Some(Duration::from_secs(15)))
            .http2_keepalive_timeout(Some(Duration::from_secs(20)));
        add(&mut server)
            .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
            .await?;
        Ok(())
    })
}

#[expect(
    clippy::print_stderr,
    reason = "it has no log; it says its address as the daemon does"
)]
fn tell(line: &str) {
    eprintln!("{line}");
}

/// Methods that an echo does not serve: `name(Request) -> Response` each, of the contract's messages.
#[macro_export]
macro_rules! unserved {
    ($($method:ident($request:ident) -> $response:ident),* $(,)?) => {$(
        // As `tonic::async_trait` writes it, which does not look into macros.
        fn $method<'life0, 'async_trait>(
            &'life0 self,
            _: ::tonic::Request<::trellis_proto::v1::$request>,
        ) -> ::std::pin::Pin<::std::boxed::Box<
            dyn Future<Output = ::std::result::Result<
                ::tonic::Response<::trellis_proto::v1::$response>,
                ::tonic::Status,
            >> + Send + 'async_trait,
        >>
        where
            'life0: 'async_trait,
            Self: 'async_trait,
        {
            let message = "the echo serves what is measured alone";
            ::std::boxed::Box::pin(async move { Err(::tonic::Status::unimplemented(message)) })
        }
    )*};
}
