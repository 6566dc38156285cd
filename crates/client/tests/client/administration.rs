//! Declaring, looking, listing, and the daemon's status.

use std::time::{Duration, SystemTime};

use futures::TryStreamExt as _;
use tokio::join;
use trellis_client::{
    Acquired, CalendarUnit, ErrorKind, FallbackStatus, LevelPolicy, Mode, Scope, Sharing, Spec,
    SpecSource,
};
use trellis_proto::v1 as proto;

use crate::fake::{Fake, answers, expect_call};

fn limit(name: &str) -> proto::Limit {
    proto::Limit {
        name: name.into(),
        spec: answers::concurrency(5),
        overrides: Vec::new(),
        source: proto::SpecSource::SetLimit.into(),
        buckets: 1,
        sharing: proto::Sharing::Exact.into(),
    }
}

fn bucket(key: &str) -> proto::Bucket {
    proto::Bucket {
        limit: "calls".into(),
        key: key.into(),
        spec: answers::concurrency(5),
        source: proto::SpecSource::Inline.into(),
        remaining: -2,
        paused_for: answers::duration(Duration::from_secs(3)),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_declaration_goes_out_whole_and_comes_back() {
    let (mut fake, client) = Fake::with_client().await;
    let limits = client.limits();
    let declaration = limits
        .set_limit("calls", Spec::calendar(10, CalendarUnit::Day, "UTC"))
        .override_key("vip", Spec::rate(5, Duration::from_secs(1)).burst(9))
        .level_policy(LevelPolicy::KeepProportion)
        .sharing(Sharing::Leased)
        .request_id("s-1");
    let (declared, request) = join!(declaration.send(), async {
        let exchange = expect_call!(fake, SetLimit);
        let limit = proto::Limit {
            name: exchange.request.name.clone(),
            spec: exchange.request.spec.clone(),
            overrides: exchange.request.overrides.clone(),
            source: proto::SpecSource::SetLimit.into(),
            buckets: 0,
            sharing: exchange.request.sharing,
        };
        let answer = proto::SetLimitResponse {
            limit: Some(limit),
            created: true,
            scope: answers::scope(),
        };
        exchange.answer(answer)
    });
    assert_eq!(request.level_policy(), proto::LevelPolicy::KeepProportion);
    assert_eq!(request.request_id, "s-1");
    let declared = declared.unwrap();
    assert!(declared.created);
    assert_eq!(
        declared.limit.spec,
        Spec::calendar(10, CalendarUnit::Day, "UTC")
    );
    assert_eq!(declared.limit.overrides[0].key, "vip");
    assert_eq!(
        declared.limit.overrides[0].spec,
        Spec::rate(5, Duration::from_secs(1)).burst(9).into()
    );
}

#[tokio::test]
async fn a_look_shows_debt_and_pause() {
    let (mut fake, client) = Fake::with_client().await;
    let limits = client.limits();
    let (peeked, request) = join!(limits.peek("calls", "k"), async {
        let answer = proto::PeekResponse {
            bucket: Some(bucket("k")),
            scope: answers::scope(),
        };
        expect_call!(fake, Peek).answer(answer)
    });
    assert_eq!(
        (request.limit.as_str(), request.key.as_str()),
        ("calls", "k")
    );
    let bucket = peeked.unwrap().bucket;
    assert_eq!(bucket.remaining, -2);
    assert_eq!(bucket.paused_for, Some(Duration::from_secs(3)));
    assert_eq!(bucket.source, SpecSource::Inline);
}

#[tokio::test]
async fn mutations_carry_what_they_were_given() {
    let (mut fake, client) = Fake::with_client().await;
    let limits = client.limits();
    let (deleted, request) = join!(limits.delete_limit("calls").request_id("d").send(), async {
        let answer = proto::DeleteLimitResponse {
            deleted: true,
            scope: answers::scope(),
        };
        expect_call!(fake, DeleteLimit).answer(answer)
    });
    assert!(deleted.unwrap().deleted);
    assert_eq!(request.request_id, "d");

    let (reset, request) = join!(limits.reset_limit("calls").key("").send(), async {
        let answer = proto::ResetLimitResponse {
            buckets: 3,
            scope: answers::scope(),
        };
        expect_call!(fake, ResetLimit).answer(answer)
    });
    assert_eq!(reset.unwrap().buckets, 3);
    assert_eq!(request.key.as_deref(), Some(""));

    let report = limits
        .report_throttled("calls", Duration::from_secs(7))
        .key("k")
        .remaining(0);
    let (throttled, request) = join!(report.send(), async {
        let paused_for = answers::duration(Duration::from_secs(9));
        let answer = proto::ReportThrottledResponse {
            paused_for,
            scope: answers::scope(),
        };
        expect_call!(fake, ReportThrottled).answer(answer)
    });
    assert_eq!(throttled.unwrap().paused_for, Duration::from_secs(9));
    assert_eq!((request.key.as_str(), request.remaining), ("k", Some(0)));
}

#[tokio::test]
async fn a_list_walks_its_pages_by_itself() {
    let (mut fake, client) = Fake::with_client().await;
    let (listed, ()) = join!(client.limits().list_limits().page_size(2).all(), async {
        for (token, names, next) in [("", ["a", "b"], "t-1"), ("t-1", ["c", "d"], "")] {
            let request = expect_call!(fake, ListLimits).answer(proto::ListLimitsResponse {
                limits: names.map(limit).into(),
                next_page_token: next.into(),
                scope: answers::scope(),
            });
            assert_eq!((request.page_token.as_str(), request.page_size), (token, 2));
        }
    });
    let names: Vec<_> = listed
        .unwrap()
        .into_iter()
        .map(|limit| limit.name)
        .collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_stream_of_buckets_ends_with_the_first_error() {
    let (mut fake, client) = Fake::with_client().await;
    let mut buckets = client.limits().list_buckets("calls").stream();
    let (first, _) = join!(buckets.try_next(), async {
        expect_call!(fake, ListBuckets).answer(proto::ListBucketsResponse {
            buckets: vec![bucket("k")],
            next_page_token: "t-1".into(),
            scope: answers::scope(),
        })
    });
    assert_eq!(first.unwrap().unwrap().key, "k");
    let (second, ()) = join!(buckets.try_next(), async {
        expect_call!(fake, ListBuckets).fail(tonic::Status::internal("x"));
    });
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Other);
    assert!(buckets.try_next().await.unwrap().is_none());
}

fn fallback(since: prost_types::Timestamp) -> proto::FallbackStatus {
    proto::FallbackStatus {
        open: true,
        since: Some(since),
        reason: "redis is away".into(),
        shares: 3,
        outages: 2,
        decisions: 7,
        unmerged_buckets: 1,
        unmerged_units: 5,
    }
}

#[tokio::test]
async fn the_status_is_typed() {
    let (mut fake, client) = Fake::with_client().await;
    let moment = prost_types::Timestamp {
        seconds: 100,
        nanos: 0,
    };
    let (status, _) = join!(client.status(), async {
        let degraded = proto::Scope {
            kind: proto::ScopeKind::Degraded.into(),
            since: Some(moment),
            reason: "redis is away".into(),
        };
        expect_call!(fake, GetStatus).answer(proto::GetStatusResponse {
            cache_scope: None,
            cache: None,
            version: "0.1.0".into(),
            mode: proto::Mode::Distributed.into(),
            started: Some(moment),
            uptime: answers::duration(Duration::from_secs(5)),
            limits_scope: Some(degraded),
            limits: Some(proto::LimitsStatus {
                granted: 8,
                ..Default::default()
            }),
            rpcs: Vec::new(),
            store: Some(proto::StoreStatus {
                kind: "redis".into(),
                condition: "Down".into(),
                since: Some(moment),
                ..Default::default()
            }),
            members: vec![proto::Member {
                daemon: "a".into(),
                silence: answers::duration(Duration::from_secs(1)),
                ..Default::default()
            }],
            fallback: Some(fallback(moment)),
            ..Default::default()
        })
    });
    let status = status.unwrap();
    let store = status.store.unwrap();
    assert!(!store.up && store.condition == "Down");
    assert_eq!(status.members[0].silence, Duration::from_secs(1));
    let since = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
    assert_eq!(status.mode, Mode::Distributed);
    assert_eq!(status.started, since);
    assert_eq!(status.limits.granted, 8);
    let fallback = FallbackStatus {
        since: Some(since),
        reason: "redis is away".into(),
        shares: 3,
        outages: 2,
        decisions: 7,
        unmerged_buckets: 1,
        unmerged_units: 5,
    };
    assert_eq!(status.fallback, Some(fallback));
    assert_eq!(
        status.limits_scope,
        Scope::Degraded {
            since,
            reason: "redis is away".into()
        }
    );
}

#[tokio::test]
async fn the_default_namespace_of_a_client_is_a_setting() {
    let mut fake = Fake::start().await;
    let client = fake.builder().namespace("team").connect_lazy().unwrap();
    let limits = client.limits();
    let (acquired, request) = join!(limits.try_acquire([]), async {
        expect_call!(fake, Acquire).answer(answers::outcome(proto::Outcome::Never))
    });
    assert!(matches!(acquired.unwrap(), Acquired::Never { .. }));
    assert_eq!(request.namespace, "team");
}
