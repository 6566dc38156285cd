//! A whole daemon in this process: it serves, tells how it is, and ends in order.

use crate::{Config, Listeners, RunError, run};
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A hang fails the test instead of stopping the suite.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs a daemon with these settings on free ports while `body` runs; returns how the daemon ended.
/// `body` gets the addresses of gRPC and HTTP and the token that ends the daemon.
async fn with_daemon<F: Future<Output = ()>>(
    settings: &str,
    body: impl FnOnce(SocketAddr, SocketAddr, CancellationToken) -> F,
) -> Result<(), RunError> {
    let ports = "listen = \"127.0.0.1:0\"\nhttp_listen = \"127.0.0.1:0\"\n";
    let config = Config::from_toml(&format!("{ports}{settings}")).unwrap();
    let listeners = Listeners::bind(&config).await.unwrap();
    let grpc = listeners.grpc.local_addr().unwrap();
    let http = listeners.http.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let body = async {
        body(grpc, http, shutdown.clone()).await;
        shutdown.cancel();
    };
    let daemon = run(config, listeners, shutdown.cancelled());
    let both = async { tokio::join!(daemon, body).0 };
    tokio::time::timeout(PATIENCE, both).await.unwrap()
}

async fn get(http: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(http).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn until_ready(http: SocketAddr) {
    while !get(http, "/readyz").await.contains("200 OK") {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_daemon_serves_its_probes_and_metrics_and_ends_when_told() {
    let ended = with_daemon("", |_, http, _| async move {
        until_ready(http).await;
        assert!(get(http, "/healthz").await.starts_with("HTTP/1.1 200"));
        let metrics = get(http, "/metrics").await;
        for line in [
            concat!(
                "trellis_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"} 1\n"
            ),
            "trellis_draining 0.0\n",
            "trellis_limits_namespaces 0\n",
            "trellis_limits_decisions_total{outcome=\"granted\"} 0\n",
            "# EOF\n",
        ] {
            assert!(metrics.contains(line), "{line} is not in {metrics}");
        }
        let missing = get(http, "/nowhere").await;
        assert!(missing.starts_with("HTTP/1.1 404"), "{missing}");
        assert!(
            missing.contains("/metrics, /healthz and /readyz"),
            "{missing}"
        );
    })
    .await;
    assert!(ended.is_ok(), "{ended:?}");
}

#[tokio::test]
async fn declared_limits_exist_before_the_first_call() {
    let declared = "[[limits.declared]]\nname = \"a\"\nconcurrency = { slots = 1 }";
    let ended = with_daemon(declared, |_, http, _| async move {
        until_ready(http).await;
        let metrics = get(http, "/metrics").await;
        assert!(metrics.contains("trellis_limits_limits 1\n"), "{metrics}");
    })
    .await;
    assert!(ended.is_ok(), "{ended:?}");
}

#[tokio::test]
async fn a_declared_limit_above_a_bound_is_a_bad_setting() {
    let settings = "limits.max_limits = 1\n\
        [[limits.declared]]\nname = \"a\"\nconcurrency = { slots = 1 }\n\
        [[limits.declared]]\nname = \"b\"\nconcurrency = { slots = 1 }";
    let error = with_daemon(settings, |_, _, _| async {}).await.unwrap_err();
    assert!(
        error.to_string().starts_with("limits.declared[1]: "),
        "{error}"
    );
    assert!(error.is_bad_setting());
}

#[tokio::test]
async fn what_is_still_open_at_the_deadline_is_cut() {
    let settings = "shutdown_timeout = \"100ms\"";
    let ended = with_daemon(settings, |grpc, http, shutdown| async move {
        until_ready(http).await;
        // A client that opens HTTP/2 and never answers again keeps its connection open.
        let mut silent = TcpStream::connect(grpc).await.unwrap();
        silent
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        silent
            .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
            .await
            .unwrap();
        silent.readable().await.unwrap();
        shutdown.cancel();
        let mut rest = Vec::new();
        // An end or an error: either way the connection is over.
        let _ = silent.read_to_end(&mut rest).await;
    })
    .await;
    assert!(matches!(ended, Err(RunError::Cut(_))), "{ended:?}");
}

#[tokio::test]
async fn while_it_ends_a_daemon_is_alive_and_not_ready() {
    let settings = "shutdown_timeout = \"1h\"";
    let ended = with_daemon(settings, |grpc, http, shutdown| async move {
        until_ready(http).await;
        let mut holder = TcpStream::connect(grpc).await.unwrap();
        holder
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        holder
            .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
            .await
            .unwrap();
        holder.readable().await.unwrap();
        shutdown.cancel();
        while get(http, "/readyz").await.contains("200 OK") {
            tokio::task::yield_now().await;
        }
        let answer = get(http, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains("shutting down"), "{answer}");
        assert!(get(http, "/healthz").await.contains("200 OK"));
        assert!(
            get(http, "/metrics")
                .await
                .contains("trellis_draining 1.0\n")
        );
        drop(holder);
    })
    .await;
    assert!(ended.is_ok(), "{ended:?}");
}

#[tokio::test]
async fn silent_connections_do_not_keep_others_out_for_ever() {
    let settings = "[grpc]\nmax_connections = 1\nkeepalive_interval = \"1s\"\n\
        keepalive_timeout = \"1s\"";
    let ended = with_daemon(settings, |grpc, http, _| async move {
        until_ready(http).await;
        let _silent = TcpStream::connect(grpc).await.unwrap();
        let mut next = TcpStream::connect(grpc).await.unwrap();
        next.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        next.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        next.readable().await.unwrap();
    })
    .await;
    assert!(ended.is_ok(), "{ended:?}");
}

#[tokio::test]
async fn a_connection_that_never_said_anything_does_not_hold_the_end_up() {
    let settings = "shutdown_timeout = \"1h\"\n[grpc]\nkeepalive_interval = \"1h\"";
    let ended = with_daemon(settings, |grpc, http, shutdown| async move {
        until_ready(http).await;
        let mut silent = TcpStream::connect(grpc).await.unwrap();
        // Accepted after the silent one, and answered.
        let mut next = TcpStream::connect(grpc).await.unwrap();
        next.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        next.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        next.readable().await.unwrap();
        drop(next);
        shutdown.cancel();
        // The server's greeting, then an end or an error: either way the connection is over.
        let mut rest = Vec::new();
        let _ = silent.read_to_end(&mut rest).await;
    })
    .await;
    assert!(ended.is_ok(), "{ended:?}");
}

#[tokio::test]
async fn while_its_store_keeps_it_waiting_a_daemon_is_alive_not_ready_and_can_be_ended() {
    // Accepts connections, as a hung server does, and says nothing.
    let store = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = store.local_addr().unwrap().port();
    let settings =
        format!("use_distributed = true\nredis.port = {port}\nredis.connect_timeout = \"1m\"");
    let ended = with_daemon(&settings, |_, http, shutdown| async move {
        assert!(get(http, "/healthz").await.contains("200 OK"));
        let answer = get(http, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains("starting"), "{answer}");
        let metrics = get(http, "/metrics").await;
        assert!(metrics.contains("trellis_store_up 0\n"), "{metrics}");
        assert!(
            metrics.contains("trellis_fallback_share 0.0\n"),
            "{metrics}"
        );
        shutdown.cancel();
    });
    let ended = tokio::time::timeout(PATIENCE / 2, ended).await;
    assert!(matches!(ended, Ok(Ok(()))), "{ended:?}");
}
