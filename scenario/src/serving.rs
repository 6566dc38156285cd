//! How the processes of the scenario serve HTTP: on a free port of the loopback, told on the first line of
//! standard output, until their standard input ends. It ends with the parent, however that ends.

use crate::Result;
use axum::Router;
use axum::serve::ListenerExt as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

/// Serves until standard input ends.
pub async fn serve(routes: Router) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let mut out = std::io::stdout();
    writeln!(out, "{address}")?;
    out.flush()?;
    let ended = async {
        let mut stdin = tokio::io::stdin();
        let mut ignored = [0; 64];
        while stdin.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
    };
    let listener = listener.tap_io(|stream| {
        // Slower without, and nothing else.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, routes)
        .with_graceful_shutdown(ended)
        .await?;
    Ok(())
}
