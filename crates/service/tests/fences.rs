//! Fences of the cache through contract and typed client: every way to write brings them, and a bad one is refused by its field.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use prost::bytes::Bytes;
use std::convert::Infallible;
use std::time::Duration;
use trellis_client::cache::{Cache, Condition, Keep};
use trellis_client::{Client, Error, ErrorReason};
use trellis_conformance::cache::Settings;
use trellis_conformance::grpc;
use trellis_proto::v1;
use trellis_proto::v1::cache_service_client::CacheServiceClient;

fn cache() -> Cache {
    let (services, _) = support::caching(Settings::default());
    Client::from_channel(grpc::channel(services)).cache("answers")
}

fn under(token: u64) -> Keep {
    Keep::new(Duration::from_mins(10)).fence("report", token)
}

fn assert_stale(error: &Error) {
    assert_eq!(error.reason(), Some(ErrorReason::StaleFence));
    let fields = error.field_violations().iter().map(|it| it.field.as_str());
    assert!(fields.eq(["fence.token"]), "{error:?}");
}

async fn compute() -> Result<Bytes, Infallible> {
    Ok(Bytes::from_static(b"computed"))
}

#[tokio::test(start_paused = true)]
async fn every_way_to_write_is_fenced() {
    let cache = cache();
    cache.set("a", "new", &under(9)).await.unwrap();
    assert_stale(&cache.set("a", "late", &under(8)).await.unwrap_err());
    let set = cache.set_if("a", None, &under(8), Condition::Always).await;
    assert_stale(&set.unwrap_err());
    let items = vec![
        ("a".to_owned(), "late".into()),
        ("b".to_owned(), "late".into()),
    ];
    let results = cache.set_many(items, &under(8)).await.unwrap();
    assert_eq!(results.len(), 2);
    for result in results {
        assert_stale(&result.unwrap_err());
    }
    let value = cache.get_or_compute("c", under(8), compute).await;
    let refused = value.unwrap_err();
    assert!(refused.to_string().contains("fence.token"), "{refused}");
    assert_eq!(cache.get("a").await.unwrap().unwrap().value.unwrap(), "new");
    assert_eq!(cache.get("b").await.unwrap(), None);
    // The refused computation holds up nobody.
    let value = cache.get_or_compute("c", under(9), compute).await;
    assert_eq!(value.unwrap(), "computed");
}

#[tokio::test(start_paused = true)]
async fn a_bad_fence_is_refused_by_its_field() {
    let (services, _) = support::caching(Settings::default());
    let mut cache = CacheServiceClient::new(grpc::channel(services));
    for (lock, token, field) in [
        ("", 1, "fence.lock"),
        ("report", 0, "fence.token"),
        ("report", -1, "fence.token"),
        ("report", 1 << 53, "fence.token"),
    ] {
        let fence = || {
            let lock = lock.to_owned();
            Some(v1::Fence { lock, token })
        };
        let item = v1::SetItem {
            key: "k".to_owned(),
            ..v1::SetItem::default()
        };
        let set = v1::SetRequest {
            item: Some(item.clone()),
            fence: fence(),
            ..v1::SetRequest::default()
        };
        let batch = v1::BatchSetRequest {
            items: vec![item],
            fence: fence(),
            ..v1::BatchSetRequest::default()
        };
        let fill = v1::FillRequest {
            lease: 1,
            fence: fence(),
            ..v1::FillRequest::default()
        };
        for status in [
            cache.set(set).await.unwrap_err(),
            cache.batch_set(batch).await.unwrap_err(),
            cache.fill(fill).await.unwrap_err(),
        ] {
            let error = Error::from(status);
            assert_eq!(error.reason(), Some(ErrorReason::InvalidField));
            assert_eq!(error.field_violations()[0].field, field, "{lock:?} {token}");
        }
    }
}
