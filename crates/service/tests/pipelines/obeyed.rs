//! What names a pipeline obeys it, from the moment an update is answered.

use super::serve;
use futures::StreamExt as _;
use std::time::Duration;
use tonic::transport::Channel;
use trellis_client::cache::Keep;
use trellis_client::{Client, ErrorReason, LevelPolicy, PipelineSource, Spec};
use trellis_conformance::pipelines::Settings;
use trellis_proto::v1;
use trellis_proto::v1::cache_service_client::CacheServiceClient;
use trellis_proto::v1::lock_service_client::LockServiceClient;

const SECOND: Duration = Duration::from_secs(1);

/// A client and the channel under it.
fn daemon() -> (Client, Channel) {
    let (server, _) = serve(Settings::default());
    let channel = server.channel().0;
    (Client::from_channel(channel.clone()), channel)
}

fn span(span: Duration) -> prost_types::Duration {
    span.try_into().unwrap()
}

/// A set of `value` whose policy names a step.
fn set(step: &str, ttl: Option<Duration>) -> v1::SetRequest {
    let policy = v1::EntryPolicy {
        ttl: ttl.map(span),
        pipeline: step.to_owned(),
        ..v1::EntryPolicy::default()
    };
    v1::SetRequest {
        namespace: String::new(),
        item: Some(v1::SetItem {
            key: "a".to_owned(),
            value: "value".into(),
            policy: Some(policy),
            ..v1::SetItem::default()
        }),
        fence: None,
    }
}

async fn ttl_of(cache: &mut CacheServiceClient<Channel>, request: v1::SetRequest) -> Duration {
    cache.set(request).await.unwrap();
    let get = v1::GetRequest {
        key: "a".to_owned(),
        ..v1::GetRequest::default()
    };
    let entry = cache.get(get).await.unwrap().into_inner().entry.unwrap();
    entry.ttl.unwrap().try_into().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_cache_keeps_a_value_for_the_ttl_of_the_step_that_its_policy_names() {
    let (client, channel) = daemon();
    let mut cache = CacheServiceClient::new(channel);
    assert_eq!(
        ttl_of(&mut cache, set("vision_rag.embedding", None)).await,
        SECOND * 7_200
    );
    let pipelines = client.pipelines();
    let changed = pipelines.update("vision_rag", |p| p.embedding_cache_ttl(SECOND * 9));
    let changed = changed.await.unwrap();
    assert_eq!(
        changed.source("embedding_cache_ttl"),
        Some(PipelineSource::Update)
    );
    // The pipeline wins over the request, which counts where the pipeline sets nothing.
    let inline = Some(SECOND * 5);
    let step = "vision_rag.embedding";
    assert_eq!(ttl_of(&mut cache, set(step, inline)).await, SECOND * 9);
    let unset = "vision_rag.images";
    assert_eq!(ttl_of(&mut cache, set(unset, inline)).await, SECOND * 5);
}

#[tokio::test(start_paused = true)]
async fn a_fill_and_a_batch_obey_as_a_set_does() {
    let (_, channel) = daemon();
    let mut cache = CacheServiceClient::new(channel);
    let item = set("chain.chain", None).item;
    let batch = v1::BatchSetRequest {
        items: item.into_iter().collect(),
        ..v1::BatchSetRequest::default()
    };
    cache.batch_set(batch).await.unwrap();
    let begin = v1::BeginFillRequest {
        key: "b".to_owned(),
        ..v1::BeginFillRequest::default()
    };
    let filling = cache.begin_fill(begin).await.unwrap().into_inner();
    let Some(v1::begin_fill_response::Answer::Lease(lease)) = filling.answer else {
        panic!("{filling:?}");
    };
    let policy = set("ocr", None).item.unwrap().policy;
    let fill = v1::FillRequest {
        lease: lease.lease,
        value: "value".into(),
        policy,
        ..v1::FillRequest::default()
    };
    cache.fill(fill).await.unwrap();
    for (key, expected) in [("a", SECOND * 300), ("b", SECOND * 3_600)] {
        let get = v1::GetRequest {
            key: key.to_owned(),
            ..v1::GetRequest::default()
        };
        let entry = cache.get(get).await.unwrap().into_inner().entry.unwrap();
        assert_eq!(entry.ttl, Some(span(expected)), "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_typed_value_obeys_the_pipeline_that_its_keep_names() {
    let (client, _) = daemon();
    let pipelines = client.pipelines();
    let changed = pipelines.update("ocr", |p| p.cache_ttl("default", SECOND * 2));
    changed.await.unwrap();
    let cache = client.cache("default");
    let keep = || Keep::default().pipeline("ocr");
    let compute = |text: &'static str| async move { Ok::<_, std::io::Error>(text.to_owned()) };
    let first: String = cache
        .get_or_compute_as("k", keep(), || compute("one"))
        .await
        .unwrap();
    tokio::time::advance(SECOND * 2).await;
    let second: String = cache
        .get_or_compute_as("k", keep(), || compute("two"))
        .await
        .unwrap();
    assert_eq!((first.as_str(), second.as_str()), ("one", "two"));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_does_not_exist_is_refused_by_its_field() {
    let (client, channel) = daemon();
    let mut cache = CacheServiceClient::new(channel);
    let mut refused = async |step: &str| {
        let error = cache.set(set(step, None)).await.unwrap_err();
        let error = trellis_client::Error::from(error);
        let field = error.field_violations().first().map(|it| it.field.clone());
        (error.reason().unwrap(), field)
    };
    let (reason, _) = refused("nobody.embedding").await;
    assert_eq!(reason, ErrorReason::PipelineNotFound);
    for bad in ["vision_rag.nothing", "Vision", "a.b.c"] {
        let (reason, field) = refused(bad).await;
        assert_eq!(reason, ErrorReason::InvalidField, "{bad}");
        assert_eq!(field.as_deref(), Some("item.policy.pipeline"), "{bad}");
    }
    let error = client.pipelines().get("nobody").await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::PipelineNotFound));
}

#[tokio::test(start_paused = true)]
async fn a_negative_entry_keeps_its_own_ttl() {
    let (_, channel) = daemon();
    let mut cache = CacheServiceClient::new(channel);
    let mut request = set("ocr", None);
    let item = request.item.as_mut().unwrap();
    (item.value, item.negative) = ("".into(), true);
    assert_eq!(ttl_of(&mut cache, request).await, SECOND * 30);
}

#[tokio::test(start_paused = true)]
async fn locks_last_for_the_ttl_of_the_step_that_their_request_names() {
    let (client, channel) = daemon();
    let pipelines = client.pipelines();
    let changed = pipelines.update("graph", |p| p.lock_ttl("default", SECOND * 7));
    changed.await.unwrap();
    let mut stub = LockServiceClient::new(channel);
    let request = v1::LockServiceTryAcquireRequest {
        locks: vec![v1::LockTarget {
            name: "unary".to_owned(),
            mode: 0,
        }],
        ttl: Some(span(SECOND)),
        pipeline: "graph".to_owned(),
        ..v1::LockServiceTryAcquireRequest::default()
    };
    let granted = stub.try_acquire(request).await.unwrap().into_inner();
    assert_eq!(
        granted.grant.unwrap().lease_remaining,
        Some(span(SECOND * 7))
    );

    let locks = client.locks().pipeline("graph");
    let guard = locks
        .lock("session")
        .acquire()
        .await
        .unwrap()
        .granted()
        .unwrap();
    let state = locks.inspect("session").await.unwrap();
    let remaining = state.holders[0].remaining;
    assert!(
        remaining > SECOND * 6 && remaining <= SECOND * 7,
        "{remaining:?}"
    );
    guard.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_client_makes_changes_lists_watches_and_resets_a_pipeline() {
    let (client, _) = daemon();
    let pipelines = client.pipelines();
    let mut watch = pipelines.watch("mine").await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), None);
    let made = pipelines
        .update("mine", |p| {
            p.create()
                .limit("llm", Spec::window(3, SECOND))
                .max_concurrent(2)
        })
        .await
        .unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), Some(made.clone()));
    assert_eq!(made.limits["llm"], Spec::window(3, SECOND));
    let limits: Vec<_> = made
        .values
        .iter()
        .filter_map(|it| it.limit.clone())
        .collect();
    assert_eq!(limits, ["mine.llm", "mine.default.slots"]);

    let changed = pipelines
        .update("mine", |p| {
            p.unset("llm_rate_limit")
                .chain_cache_ttl(SECOND)
                .level_policy(LevelPolicy::Refill)
                .if_version(made.version)
        })
        .await
        .unwrap();
    assert_eq!(
        (changed.limits.len(), changed.cache_ttl("chain")),
        (0, Some(SECOND))
    );
    let late = pipelines.update("mine", |p| p.max_concurrent(9).if_version(made.version));
    let late = late.await.unwrap_err();
    assert_eq!(late.reason(), Some(ErrorReason::PipelineChanged));

    let names: Vec<_> = pipelines.list().await.unwrap();
    let names: Vec<_> = names.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(
        names,
        ["chain", "graph", "mine", "multi_agent", "ocr", "vision_rag"]
    );
    assert_eq!(pipelines.reset("mine").await.unwrap(), None);
    assert_eq!(
        pipelines
            .namespace("other")
            .get("ocr")
            .await
            .unwrap()
            .version,
        0
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_with_the_daemon() {
    let (server, drain) = serve(Settings::default());
    let client = Client::from_channel(server.channel().0);
    let mut watch = client.pipelines().watch("ocr").await.unwrap();
    watch.next().await.unwrap().unwrap();
    drain.cancel();
    let error = watch.next().await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::Draining));
    assert!(watch.next().await.is_none());
}
