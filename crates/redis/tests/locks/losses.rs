//! What becomes of locks of which the store has lost a part: the last writes, all since an old dump, or keys that
//! somebody has deleted by hand. Nobody is let in beside a holder unnoticed, tokens rise, and nothing is stuck.

use crate::locking::{HOUR, Locking, granted, is_away, lease_of, name, namespace, token};
use crate::support::{Proxy, Server, quick, soon, spawn};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use trellis_core::ErrorCode;
use trellis_core::locks::{
    Holder, LockGrant, LockOutcome, Locks, LostReason, SessionFeed, SessionNews, SessionState, Wait,
};
use trellis_redis::RedisConfig;

/// Two daemons, each behind a proxy, that see each other.
async fn two_behind_proxies(server: &Server) -> ([Proxy; 2], [Locking; 2]) {
    let proxies = [Proxy::before(server).await, Proxy::before(server).await];
    let behind = |proxy: &Proxy| RedisConfig {
        port: proxy.port,
        ..quick(server)
    };
    let a = Locking::with(behind(&proxies[0]), "a").await;
    let b = Locking::with(behind(&proxies[1]), "b").await;
    a.daemon.sees(&["a", "b"]).await;
    b.daemon.sees(&["a", "b"]).await;
    (proxies, [a, b])
}

async fn two(server: &Server) -> (Locking, Locking) {
    let (a, b) = (
        Locking::on(server, "a").await,
        Locking::on(server, "b").await,
    );
    a.daemon.sees(&["a", "b"]).await;
    b.daemon.sees(&["a", "b"]).await;
    (a, b)
}

/// Makes a server a replica of another, and waits until it has all.
async fn follows(replica: &Server, of: &Server) {
    replica.run(&["REPLICAOF", "127.0.0.1", &of.port.to_string()]);
    soon("the replica", async {
        while !replica
            .run(&["INFO", "replication"])
            .contains("master_link_status:up")
        {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    of.run(&["WAIT", "1", "10000"]);
}

/// A grant stands, and another daemon is refused.
async fn stands(holder: &Locking, grant: &LockGrant, other: &Locking) {
    let lock = grant.locks[0].name.as_str();
    let tried = other.tried(lock).await;
    assert!(
        matches!(tried, LockOutcome::Held { .. }),
        "{lock}: {tried:?}"
    );
    holder.keep(grant).await.unwrap();
    let (state, _) = other.locks.inspect(namespace(), name(lock)).await.unwrap();
    assert_eq!(
        (state.holder_count, state.holders[0].token),
        (1, token(grant))
    );
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_failover_that_loses_the_last_writes_lets_nobody_in_beside_a_holder() {
    let (Some(master), Some(replica)) = (Server::start(), Server::start()) else {
        return;
    };
    let (proxies, [a, b]) = two_behind_proxies(&master).await;
    let kept = a.granted("kept", HOUR).await;
    let moved = a.granted("moved", HOUR).await;
    let freed = a.granted("freed", HOUR).await;
    follows(&replica, &master).await;
    // What comes now the replica does not learn.
    replica.run(&["REPLICAOF", "NO", "ONE"]);
    let last = b.granted("last", HOUR).await;
    a.release(&moved).await.unwrap();
    let moved_to = b.granted("moved", HOUR).await;
    a.release(&freed).await.unwrap();
    for proxy in &proxies {
        proxy.cut(true);
        proxy.lead_to(&replica);
        proxy.cut(false);
    }
    stands(&a, &kept, &b).await;
    stands(&b, &last, &a).await;
    // The replica knows it as the former holder's.
    stands(&b, &moved_to, &a).await;
    let gone = a.keep(&moved).await.unwrap_err();
    assert!(!is_away(gone.code), "{gone:?}");
    // What was given back is free again, once its daemon has looked at what is there under its name.
    let after = a.granted("freed", HOUR).await;
    assert!(token(&after) > token(&moved_to));
    assert!(after.generation > kept.generation);
    let next = soon("the next", b.granted("new", HOUR)).await;
    assert!(token(&next) > token(&after));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn an_old_dump_is_noticed_and_brings_back_no_holder() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let (a, b) = two(&server).await;
    let kept = a.granted("kept", HOUR).await;
    let moved = a.granted("moved", HOUR).await;
    let freed = a.granted("freed", HOUR).await;
    server.run(&["SAVE"]);
    a.release(&moved).await.unwrap();
    let moved_to = b.granted("moved", HOUR).await;
    a.release(&freed).await.unwrap();
    let last = b.granted("last", HOUR).await;
    // It is not overwritten at the end.
    server.run(&["CONFIG", "SET", "save", ""]);
    server.kill();
    server.restart(&[]);
    stands(&a, &kept, &b).await;
    stands(&b, &moved_to, &a).await;
    stands(&b, &last, &a).await;
    let after = soon("what was freed", a.granted("freed", HOUR)).await;
    assert!(token(&after) > token(&last));
    assert!(after.generation > kept.generation);
}

/// Which keys of a namespace's locks somebody deletes.
const DELETED: &[&[&str]] = &[
    &[":k"],
    &[":o:x"],
    &[":l"],
    &[":s"],
    &[":sl:*"],
    &[":h:*"],
    &[":n"],
    &[":q:x", ":x:x"],
    &[":w"],
    &[":k", ":o:x"],
    &[":l", ":h:*"],
    &["*"],
];

/// Waits until what is held is held in the store too, or is known to be lost; whether it is held.
async fn settled(holder: &Locking, held: &LockGrant) -> bool {
    soon("all to know who holds it", async {
        loop {
            let lock = &held.locks[0].name;
            if holder.keep(held).await.is_err() {
                return false;
            }
            let (state, _) = holder
                .locks
                .inspect(namespace(), lock.clone())
                .await
                .unwrap();
            let tokens: Vec<_> = state.holders.iter().map(|it| it.token).collect();
            if tokens == [token(held)] && holder.keep(held).await.is_ok() {
                return true;
            }
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// As [`settled`], of a session that holds `y`: it is told.
async fn session_settled(
    holder: &Locking,
    (session, feed): (&SessionState, &mut Box<dyn SessionFeed>),
    held: &LockGrant,
) -> bool {
    soon("all to know what the session holds", async {
        loop {
            let told = tokio::time::timeout(Duration::from_millis(10), feed.next());
            if told.await.is_ok() {
                return false;
            }
            let kept = holder.locks.keep_session(namespace(), session.key).await;
            let (state, _) = holder.locks.inspect(namespace(), name("y")).await.unwrap();
            let tokens: Vec<_> = state.holders.iter().map(|it| it.token).collect();
            if kept.is_ok() && tokens == [token(held)] {
                return true;
            }
        }
    })
    .await
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn keys_deleted_by_hand_leave_no_two_holders_unnoticed_and_nothing_stuck() {
    for deleted in DELETED {
        let Some(server) = Server::start() else {
            return;
        };
        let (a, b) = two(&server).await;
        let (session, mut feed) = a.session(HOUR).await;
        let of_session = a.ask("y", Holder::Session(session.key), Wait::Try);
        let of_session = granted(of_session.await);
        let held = a.granted("x", HOUR).await;
        let b = Arc::new(b);
        let waits = {
            let b = b.clone();
            spawn(async move { b.granted("x", HOUR).await })
        };
        b.until_waiting("x", 1).await;
        let root = a.daemon.store.keys().of("locks", &["default"]);
        for pattern in *deleted {
            let keys = server.run(&["--scan", "--pattern", &format!("{root}{pattern}")]);
            assert!(!keys.is_empty(), "{pattern}");
            let keys: Vec<&str> = keys.lines().collect();
            server.run(&[&["DEL"], &keys[..]].concat());
        }
        if settled(&a, &held).await {
            assert!(!waits.is_finished(), "{deleted:?}");
            a.release(&held).await.unwrap();
        }
        let next = waits
            .await
            .unwrap_or_else(|error| panic!("{deleted:?}: {error}"));
        assert!(token(&next) > token(&held), "{deleted:?}");
        if session_settled(&a, (&session, &mut feed), &of_session).await {
            let closed = a.locks.close_session(namespace(), session.key).await;
            // Its key may be missing, and that not be noticed yet.
            let missing = |error: &trellis_core::Error| error.code == ErrorCode::LeaseNotFound;
            let is_known = closed.is_ok() || closed.as_ref().is_err_and(missing);
            assert!(is_known, "{deleted:?}: {closed:?}");
        }
        let after = soon(&format!("y after {deleted:?}"), a.granted("y", HOUR)).await;
        assert!(token(&after) > token(&of_session), "{deleted:?}");
        b.release(&next).await.unwrap();
        soon(&format!("x after {deleted:?}"), a.granted("x", HOUR)).await;
    }
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_holder_whose_lease_was_deleted_by_hand_is_told_that_it_was_not_restored() {
    let Some(server) = Server::start() else {
        return;
    };
    let a = Locking::on(&server, "a").await;
    let (session, mut feed) = a.session(HOUR).await;
    let held = granted(a.ask("x", Holder::Session(session.key), Wait::Try).await);
    let root = a.daemon.store.keys().of("locks", &["default"]);
    server.run(&["DEL", &format!("{root}:l")]);
    let SessionNews::Lost { lease, reason } = soon("the loss", feed.next()).await else {
        panic!("the session has ended");
    };
    assert_eq!((lease, reason), (held.lease, LostReason::NotRestored));
    assert_eq!(lease_of(&held).lease, lease);
    a.granted("x", HOUR).await;
}
