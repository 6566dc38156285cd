//! Shares of silent members: who is withheld, from when until when.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;
use support::{Daemon, Proxy, Server, limits_config, quick, soon, spawn};
use trellis_core::limits::{
    AcquireRequest, Acquired, Charge, FairShare, LimitSpec, Limits, Mode, Outcome, Priority,
    WindowSpec,
};
use trellis_core::{Key, Micros, Name, Namespace, Result};
use trellis_redis::{Place, RedisConfig, RedisLimits};

const LONG: Duration = Duration::from_mins(10);

fn holding(server: &Server, hold: Duration) -> RedisConfig {
    RedisConfig {
        withhold_for: hold,
        ..quick(server)
    }
}

/// Three daemons, each of which knows its place.
async fn three(server: &Server, hold: Duration) -> [Daemon; 3] {
    let daemons = ["a", "b", "c"].map(|name| Daemon::with(holding(server, hold), name));
    for (index, daemon) in (0..).zip(&daemons) {
        placed(daemon, (index, 3)).await;
    }
    daemons
}

async fn placed(daemon: &Daemon, place: Place) {
    beats_until(daemon, || daemon.membership.place() == Some(place)).await;
}

/// Waits for two more beats of a peer: what it had told before has been seen then.
async fn sees_beats(daemon: &Daemon, peer: &str) {
    let beat = || {
        let members = daemon.membership.snapshot();
        let peer = members.iter().find(|member| member.daemon == peer);
        peer.map_or(0, |member| member.beat)
    };
    let from = beat();
    beats_until(daemon, || beat() >= from + 2).await;
}

async fn beats_until(daemon: &Daemon, mut reached: impl FnMut() -> bool) {
    let mut members = daemon.membership.watch();
    soon("a beat's news", members.wait_for(|_| reached()))
        .await
        .unwrap();
}

/// The shares that a daemon withholds now, by the store's time.
fn shares(server: &Server, daemon: &Daemon) -> Vec<Place> {
    let now = store_time(server);
    let spans = daemon.membership.withheld();
    let mut present = spans
        .iter()
        .filter(|span| span.from <= now && now < span.til);
    present
        .next()
        .map_or(Vec::new(), |span| span.shares.clone())
}

fn store_time(server: &Server) -> u64 {
    let time = server.run(&["TIME"]);
    let (seconds, micros) = time.split_once('\n').unwrap();
    seconds.parse::<u64>().unwrap() * 1_000_000 + micros.trim().parse::<u64>().unwrap()
}

async fn withholds(server: &Server, daemon: &Daemon, wanted: &[Place]) {
    beats_until(daemon, || shares(server, daemon) == wanted).await;
}

fn silence(daemon: &Daemon) {
    daemon.heart.cancel();
    daemon.stop.cancel();
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_silent_member_is_withheld_before_and_after_its_death_until_the_hold_is_over() {
    let Some(server) = Server::start() else {
        return;
    };
    let hold = Duration::from_millis(2_500);
    let [a, b, c] = three(&server, hold).await;
    let stopped = store_time(&server);
    silence(&c);
    for other in [&a, &b] {
        withholds(&server, other, &[(2, 3)]).await;
    }
    a.sees(&["a", "b"]).await;
    assert_eq!(shares(&server, &a), [(2, 3)], "it was declared dead since");
    assert_eq!(a.membership.place(), Some((0, 3)), "it counts meanwhile");
    withholds(&server, &a, &[]).await;
    let span = a.membership.withheld()[0].clone();
    // Its last beat was one interval before, at most, and the hold counts from it.
    let hold = Micros::from(hold).0;
    assert!(
        (stopped + hold - 150_000..=stopped + hold).contains(&span.til),
        "{span:?} {stopped}"
    );
    placed(&a, (0, 2)).await;
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn nothing_is_withheld_of_who_left_or_began_anew_nor_without_a_hold() {
    let Some(server) = Server::start() else {
        return;
    };
    let [a, b, c] = three(&server, LONG).await;
    b.store.leave().await.unwrap();
    a.sees(&["a", "c"]).await;
    placed(&a, (0, 2)).await;
    placed(&c, (1, 2)).await;
    sees_beats(&a, "c").await;
    silence(&c);
    withholds(&server, &a, &[(1, 2)]).await;
    a.sees(&["a"]).await;
    let _again = Daemon::with(holding(&server, LONG), "c");
    withholds(&server, &a, &[]).await;

    let Some(server) = Server::start() else {
        return;
    };
    let [a, _b, c] = three(&server, Duration::ZERO).await;
    silence(&c);
    a.sees(&["a", "b"]).await;
    placed(&a, (0, 2)).await;
    assert!(a.membership.withheld().is_empty());
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn who_spends_its_share_though_it_beats_is_withheld_until_it_tells_otherwise() {
    let Some(server) = Server::start() else {
        return;
    };
    let [a, _b, c] = three(&server, LONG).await;
    c.store.set_apart(true);
    withholds(&server, &a, &[(2, 3)]).await;
    c.store.set_apart(false);
    withholds(&server, &a, &[]).await;
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn who_joins_late_withholds_what_the_others_do_and_so_does_a_new_generation() {
    let Some(server) = Server::start() else {
        return;
    };
    let [a, b, c] = three(&server, LONG).await;
    silence(&c);
    a.sees(&["a", "b"]).await;
    let d = Daemon::with(holding(&server, LONG), "d");
    withholds(&server, &d, &[(2, 3)]).await;
    // It was alive in the generation that is lost, and may have been cut off since.
    placed(&b, (1, 4)).await;
    placed(&a, (0, 4)).await;
    sees_beats(&a, "b").await;
    silence(&b);
    let old = a.attached().await;
    server.run(&["FLUSHALL"]);
    a.session_after(old).await;
    withholds(&server, &a, &[(1, 4), (2, 3)]).await;
    placed(&a, (0, 4)).await;
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_member_that_is_cut_off_is_withheld_until_it_is_back() {
    let Some(server) = Server::start() else {
        return;
    };
    let proxy = Proxy::before(&server).await;
    let config = holding(&server, LONG);
    let cut = RedisConfig {
        port: proxy.port,
        ..config.clone()
    };
    let (a, b) = (Daemon::with(config, "a"), Daemon::with(cut, "b"));
    placed(&a, (0, 2)).await;
    placed(&b, (1, 2)).await;
    let old = b.attached().await;
    let limits = a.limits(limits_config());
    assert!(matches!(
        take(&limits, 10, Mode::Try).await.unwrap().outcome,
        Outcome::Granted(_)
    ));
    proxy.cut(true);
    withholds(&server, &a, &[(1, 2)]).await;
    let refused = take(&limits, 41, Mode::Try).await.unwrap();
    assert_eq!(refused.charges[0].remaining, 40);
    // 40 may be taken, and 41 not before the cut one is back, though that will be far sooner than the hold ends.
    let Outcome::Denied(wait) = refused.outcome else {
        panic!("{refused:?}");
    };
    assert!(wait > Micros::from_secs(500), "{wait:?}");
    let limits_again = limits.clone();
    let waits =
        spawn(async move { take(&limits_again, 41, Mode::Wait(Micros::from_secs(900))).await });
    in_line(&limits).await;
    proxy.cut(false);
    b.session_after(old).await;
    withholds(&server, &a, &[]).await;
    let granted = soon("the waiting call", waits).await.unwrap().unwrap();
    assert!(
        matches!(granted.outcome, Outcome::Granted(_)),
        "{granted:?}"
    );
    assert_eq!(b.membership.place(), Some((1, 2)));
}

fn names() -> (Namespace, Name, Key) {
    let namespace = Namespace::new("silence", "namespace").unwrap();
    (
        namespace,
        Name::new("api", "limit").unwrap(),
        Key::new("", "key").unwrap(),
    )
}

/// Of 100 an hour.
async fn take(limits: &Arc<RedisLimits>, amount: i64, mode: Mode) -> Result<Acquired> {
    let (namespace, limit, key) = names();
    let mut charge = Charge::new(limit, key, amount).unwrap();
    let window = WindowSpec::new(100, Micros::from_secs(3_600)).unwrap();
    charge.spec = Some(LimitSpec::Window(window));
    let request = AcquireRequest {
        namespace,
        charges: vec![charge],
        mode,
        reservation_ttl: None,
        request_id: None,
        priority: Priority::default(),
        dry_run: false,
        fair: FairShare::default(),
    };
    limits.clone().acquire(request).await
}

async fn in_line(limits: &Arc<RedisLimits>) {
    let (namespace, limit, key) = names();
    soon("the line", async {
        while limits
            .peek(namespace.clone(), limit.clone(), key.clone())
            .await
            .is_ok_and(|(bucket, _)| bucket.waiters == 0)
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
