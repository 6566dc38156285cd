//! A connection that is cut off without notice: it is replaced, and what it carried is refused when it comes.

#![allow(clippy::print_stdout, reason = "the figures are what a reader wants")]

mod support;

use support::{Daemon, Proxy, Server, quick};
use tokio::time::Instant;
use trellis_redis::{CallError, RedisConfig};

async fn behind_a_proxy(server: &Server) -> (Proxy, Daemon) {
    let proxy = Proxy::before(server).await;
    let config = RedisConfig {
        port: proxy.port,
        ..quick(server)
    };
    let daemon = Daemon::with(config, "a");
    daemon.attached().await;
    (proxy, daemon)
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_connection_that_falls_silent_is_replaced() {
    let Some(server) = Server::start() else {
        return;
    };
    let (proxy, daemon) = behind_a_proxy(&server).await;
    let old = daemon.attached().await;
    let held = Instant::now();
    proxy.hold();
    let new = daemon.session_after(old).await;
    println!("silent connection: replaced in {:?}", held.elapsed());
    assert!(old.continues_in(&new));
    daemon.count().await.unwrap();
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_call_that_arrives_after_the_next_attach_is_refused() {
    let Some(server) = Server::start() else {
        return;
    };
    let (proxy, daemon) = behind_a_proxy(&server).await;
    let old = daemon.attached().await;
    assert_eq!(daemon.count().await.unwrap().number(), Some(1));
    proxy.hold();
    assert!(matches!(daemon.count().await, Err(CallError::Unknown(_))));
    daemon.session_after(old).await;
    assert_eq!(daemon.count().await.unwrap().number(), Some(2));
    proxy.deliver();
    proxy.has_answered("STALE_INCARNATION").await;
    assert_eq!(daemon.count().await.unwrap().number(), Some(3));
}
