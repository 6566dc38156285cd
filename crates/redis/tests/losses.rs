//! A store that lost its data is told by the daemons what they know: nobody gets a full bucket for a nearly empty
//! one, and what is held stays held.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use futures::future::join_all;
use std::sync::Arc;
use support::{Daemon, Server, limits_config, soon};
use trellis_core::limits::{
    AcquireRequest, ActualAmount, BucketState, CalendarSpec, CalendarUnit, Charge, ConcurrencySpec,
    ExtendReservation, FairShare, LimitSpec, Limits, Mode, Outcome, Priority, RateSpec,
    ReservationId, Settle, Usage, WindowSpec,
};
use trellis_core::{ErrorCode, Key, Micros, Name, Namespace};
use trellis_redis::{AfterLoss, RedisConfig, RedisLimits, RedisLimitsConfig, Session};

struct Limited {
    daemon: Daemon,
    limits: Arc<RedisLimits>,
    session: Session,
}

const DAY: Micros = Micros::from_secs(86_400);
const KINDS: [&str; 3] = ["rate", "window", "calendar"];

fn spec(kind: &str) -> LimitSpec {
    match kind {
        "rate" => LimitSpec::Rate(RateSpec::new(10, DAY, 100).unwrap()),
        "window" => LimitSpec::Window(WindowSpec::new(100, DAY).unwrap()),
        "calendar" => {
            LimitSpec::Calendar(CalendarSpec::new(100, CalendarUnit::Month, "UTC").unwrap())
        }
        "slots" => LimitSpec::Concurrency(ConcurrencySpec::new(100).unwrap()),
        other => panic!("{other}"),
    }
}

fn names(kind: &str) -> (Namespace, Name, Key) {
    let namespace = Namespace::new("losses", "namespace").unwrap();
    let (name, key) = (Name::new(kind, "limit"), Key::new("", "key"));
    (namespace, name.unwrap(), key.unwrap())
}

impl Limited {
    async fn at(server: &Server, name: &str, after_loss: AfterLoss) -> Self {
        let config = RedisConfig {
            port: server.port,
            ..RedisConfig::default()
        };
        let daemon = Daemon::with(config, name);
        let session = daemon.attached().await;
        let limits = daemon.limits(RedisLimitsConfig {
            after_loss,
            ..limits_config()
        });
        Self {
            daemon,
            limits,
            session,
        }
    }

    async fn take(&self, kind: &str, amount: i64, ttl: Option<Micros>) -> Outcome {
        let (namespace, name, key) = names(kind);
        let mut charge = Charge::new(name, key, amount).unwrap();
        charge.spec = Some(spec(kind));
        let request = AcquireRequest {
            namespace,
            charges: vec![charge],
            mode: Mode::Try,
            reservation_ttl: ttl,
            request_id: None,
            priority: Priority::default(),
            dry_run: false,
            fair: FairShare::default(),
        };
        let acquiring = self.limits.clone().acquire(request);
        soon("an answer", acquiring).await.unwrap().outcome
    }

    async fn granted(&self, kind: &str, amount: i64) {
        let outcome = self.take(kind, amount, None).await;
        assert!(matches!(outcome, Outcome::Granted(_)), "{kind} {outcome:?}");
    }

    async fn reserved(&self, kind: &str, amount: i64) -> ReservationId {
        let ttl = Some(Micros::from_secs(600));
        match self.take(kind, amount, ttl).await {
            Outcome::Granted(Some(granted)) => granted.id,
            other => panic!("{kind} {other:?}"),
        }
    }

    async fn bucket(&self, kind: &str) -> BucketState {
        let (namespace, name, key) = names(kind);
        self.limits.peek(namespace, name, key).await.unwrap().0
    }

    async fn settle(
        &self,
        kind: &str,
        id: &ReservationId,
        actual: i64,
    ) -> trellis_core::Result<i64> {
        let (namespace, limit, key) = names(kind);
        let amount = ActualAmount {
            limit,
            key,
            amount: actual,
        };
        let settle = Settle {
            namespace,
            reservation: id.clone(),
            usage: Usage::Actual(vec![amount]),
        };
        self.limits
            .settle(settle)
            .await
            .map(|settled| settled.charges[0].refunded)
    }

    async fn in_new_generation(&mut self) {
        let old = self.session;
        let mut sessions = self.daemon.store.sessions();
        let new = sessions.wait_for(|now| now.is_some_and(|now| now.generation != old.generation));
        self.session = soon("a new generation", new).await.unwrap().unwrap();
    }
}

async fn three(server: &Server) -> Vec<Limited> {
    join_all(["a", "b", "c"].map(|name| Limited::at(server, name, AfterLoss::Full))).await
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn after_a_flush_nobody_gets_a_full_bucket_for_one_that_was_nearly_empty() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut daemons = three(&server).await;
    for kind in KINDS {
        // Each has seen another level; the last one the lowest.
        daemons[0].granted(kind, 30).await;
        daemons[1].granted(kind, 30).await;
        daemons[2].granted(kind, 37).await;
    }
    for round in 0..2 {
        server.run(&["FLUSHALL"]);
        for daemon in &mut daemons {
            daemon.in_new_generation().await;
        }
        for kind in KINDS {
            // In whatever order they tell: once all have, the lowest view counts, and counts once.
            for daemon in &daemons {
                daemon.bucket(kind).await;
            }
            for daemon in &daemons {
                let left = daemon.bucket(kind).await.remaining;
                assert_eq!(left, 3, "{kind}, {round}");
            }
            let refused = daemons[0].take(kind, 4, None).await;
            assert!(matches!(refused, Outcome::Denied(_)), "{kind} {refused:?}");
        }
    }
    for kind in KINDS {
        daemons[1].granted(kind, 3).await;
    }
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn what_is_spent_before_the_others_have_told_is_kept() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut a = Limited::at(&server, "a", AfterLoss::Full).await;
    let mut b = Limited::at(&server, "b", AfterLoss::Full).await;
    for kind in KINDS {
        a.granted(kind, 20).await;
        b.granted(kind, 30).await;
    }
    // It comes to the new generation when the other has spent in it.
    b.daemon.stop.cancel();
    server.run(&["FLUSHALL"]);
    a.in_new_generation().await;
    for kind in KINDS {
        assert_eq!(a.bucket(kind).await.remaining, 80, "{kind}: as it saw last");
        a.granted(kind, 25).await;
    }
    let stranger = Limited::at(&server, "d", AfterLoss::Full).await;
    for kind in KINDS {
        assert_eq!(stranger.bucket(kind).await.remaining, 55, "{kind}");
    }
    drop(stranger);
    b.session = a.session;
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_store_that_kept_its_data_loses_nothing_by_being_told() {
    let arguments = [
        "--save",
        "",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
    ];
    let Some(mut server) = Server::start_with(&arguments) else {
        return;
    };
    let mut daemons = three(&server).await;
    for kind in KINDS {
        for daemon in &daemons {
            daemon.granted(kind, 10).await;
        }
    }
    server.kill();
    server.restart(&[]);
    for daemon in &mut daemons {
        daemon.in_new_generation().await;
    }
    for kind in KINDS {
        for daemon in &daemons {
            assert_eq!(daemon.bucket(kind).await.remaining, 70, "{kind}");
        }
        daemons[0].granted(kind, 5).await;
        assert_eq!(daemons[1].bucket(kind).await.remaining, 65, "{kind}");
    }
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn slots_stay_held_under_their_ids_and_settle_frees_them_once() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut daemons = three(&server).await;
    let slots = daemons[0].reserved("slots", 60).await;
    let tokens = daemons[1].reserved("rate", 50).await;
    server.run(&["FLUSHALL"]);
    for daemon in &mut daemons {
        daemon.in_new_generation().await;
    }
    for daemon in &daemons {
        // Whatever is asked comes after what is told.
        let _ = daemon
            .limits
            .peek(names("slots").0, names("slots").1, names("slots").2)
            .await;
    }
    assert_eq!(daemons[2].bucket("slots").await.remaining, 40);
    assert_eq!(daemons[2].bucket("rate").await.remaining, 50);
    let extend = ExtendReservation {
        namespace: names("slots").0,
        reservation: slots.clone(),
        ttl: Micros::from_secs(900),
        charges: Vec::new(),
        request_id: None,
    };
    let extended = daemons[0].limits.extend(extend).await.unwrap();
    assert!(
        matches!(extended.outcome, Outcome::Granted(_)),
        "{extended:?}"
    );
    assert_eq!(daemons[2].settle("rate", &tokens, 10).await.unwrap(), 40);
    assert_eq!(daemons[1].settle("slots", &slots, 60).await.unwrap(), 60);
    assert_eq!(
        daemons[1].settle("slots", &slots, 60).await.unwrap(),
        60,
        "once"
    );
    assert_eq!(daemons[0].bucket("slots").await.remaining, 100);
    assert_eq!(daemons[0].bucket("rate").await.remaining, 90);
    // Settled by the daemon that granted it: not told again.
    let again = daemons[0].reserved("slots", 5).await;
    daemons[0].settle("slots", &again, 5).await.unwrap();
    server.run(&["FLUSHALL"]);
    for daemon in &mut daemons {
        daemon.in_new_generation().await;
    }
    let error = daemons[0].settle("slots", &again, 5).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ReservationNotFound);
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn what_nobody_knows_counts_as_the_setting_says_and_never_on_the_first_start() {
    for (after_loss, left) in [(AfterLoss::Full, 100), (AfterLoss::Empty, 0)] {
        let Some(server) = Server::start() else {
            return;
        };
        let mut a = Limited::at(&server, "a", after_loss).await;
        a.granted("slots", 1).await;
        for kind in KINDS {
            a.granted(kind, 100).await;
        }
        server.run(&["FLUSHALL"]);
        a.in_new_generation().await;
        // Of another key: nobody has seen it.
        let (namespace, _, _) = names("rate");
        for kind in KINDS {
            let mut charge =
                Charge::new(names(kind).1, Key::new("other", "key").unwrap(), 1).unwrap();
            charge.spec = Some(spec(kind));
            let request = AcquireRequest {
                namespace: namespace.clone(),
                charges: vec![charge],
                mode: Mode::Try,
                reservation_ttl: None,
                request_id: None,
                priority: Priority::default(),
                dry_run: false,
                fair: FairShare::default(),
            };
            let acquired = a.limits.clone().acquire(request).await.unwrap();
            let granted = matches!(acquired.outcome, Outcome::Granted(_));
            assert_eq!(granted, left > 0, "{kind} {acquired:?}");
            assert_eq!(acquired.charges[0].remaining, (left - 1).max(0), "{kind}");
        }
    }
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn what_nobody_knows_may_be_held_back_until_the_daemons_have_had_time_to_tell() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut a = Limited::at(&server, "a", AfterLoss::Known).await;
    a.granted("rate", 10).await;
    server.run(&["FLUSHALL"]);
    a.in_new_generation().await;
    let Outcome::Denied(wait) = a.take("window", 1, None).await else {
        panic!("nobody has told of it yet");
    };
    assert!(wait <= Micros::from_secs(5), "{wait:?}");
    // What is known is not held back.
    a.granted("rate", 10).await;
    assert_eq!(a.bucket("rate").await.remaining, 80);
}
