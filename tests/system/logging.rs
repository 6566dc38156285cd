//! Log levels: what is logged changes nothing else.

use crate::until::until;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use trellis_tests::daemon::Daemon;

/// A free port of `host`. Each daemon here has an address of its own, so nobody else takes the port
/// before the daemon does.
fn free(host: Ipv4Addr) -> String {
    let listener = TcpListener::bind((host, 0)).unwrap();
    listener.local_addr().unwrap().to_string()
}

/// The first line of the answer to `GET /readyz`.
async fn readyz(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn at_every_log_level_the_daemon_serves_and_ends_on_one_signal() {
    let levels = ["error", "warn", "info", "debug", "trace", "off"];
    for (host, level) in (2..).zip(levels.into_iter().chain(["trellisd=error,info"])) {
        let host = Ipv4Addr::new(127, 0, 7, host);
        let (grpc, http) = (free(host), free(host));
        let mut daemon = Daemon::spawn(&grpc, &http, &["--log-level", level]);
        let http = http.parse().unwrap();
        until(|| {
            assert!(daemon.is_running(), "at {level} the daemon ended unasked");
            async move {
                let answer = readyz(http).await;
                answer.is_ok_and(|line| line == "HTTP/1.1 200 OK")
            }
        })
        .await;
        daemon.signal("TERM");
        let (status, log) = daemon.wait();
        assert_eq!(status.code(), Some(0), "at {level}: {log}");
        if level == "off" {
            assert_eq!(log, "");
        }
    }
}
