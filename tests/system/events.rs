//! Events of the real binary: what survives its end, what it tells of itself, and what it refuses to start with.

use crate::requests::{reason, slow_rate};
use tonic::Code;
use tonic::transport::Channel;
use trellis_proto::v1::event_service_client::EventServiceClient;
use trellis_proto::v1::limit_service_client::LimitServiceClient;
use trellis_proto::v1::status_service_client::StatusServiceClient;
use trellis_proto::v1::{self, EventEdge, StoredEvent, event_start::Start};
use trellis_tests::daemon::{Daemon, command};

fn event(id: &str) -> v1::Event {
    v1::Event {
        id: id.into(),
        source: "/shop".into(),
        r#type: "order.paid".into(),
        data: id.to_owned().into(),
        ..Default::default()
    }
}

fn publish(topic: &str, event: v1::Event) -> v1::EventServicePublishRequest {
    v1::EventServicePublishRequest {
        topic: topic.into(),
        event: Some(event),
        ..Default::default()
    }
}

/// What a daemon says that does not start on a folder.
fn refused(folder: &str) -> String {
    let mut daemon = command();
    daemon.args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
    let output = daemon.env("TRELLIS_DATA_DIR", folder).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    said
}

async fn read(client: &mut EventServiceClient<Channel>, topic: &str) -> Vec<StoredEvent> {
    let request = v1::EventServiceReadRequest {
        topic: topic.into(),
        start: Some(v1::EventStart {
            start: Some(Start::Edge(EventEdge::Earliest.into())),
        }),
        max_events: 1_000,
        ..Default::default()
    };
    client.read(request).await.unwrap().into_inner().events
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_kill_and_repeats_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let daemon = Daemon::start_with(&[("TRELLIS_DATA_DIR", folder)], &[]);
    let mut client = EventServiceClient::new(daemon.connect().await);
    let request = publish("orders", event("1"));
    let answer = client.publish(request.clone()).await.unwrap().into_inner();
    let first = answer.published.unwrap();
    assert_eq!(first.durability(), v1::Durability::Disk);
    daemon.signal("KILL");
    daemon.wait();

    let daemon = Daemon::start_with(&[("TRELLIS_DATA_DIR", folder)], &[]);
    let mut client = EventServiceClient::new(daemon.connect().await);
    let again = client.publish(request).await.unwrap().into_inner();
    let again = again.published.unwrap();
    assert_eq!((again.duplicate, again.offset), (true, first.offset));
    let events = read(&mut client, "orders").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].event.as_ref().unwrap().data, "1");

    let mut status = StatusServiceClient::new(daemon.connect().await);
    let status = status.get_status(v1::GetStatusRequest {}).await.unwrap();
    let kept = status.into_inner().events.unwrap();
    assert_eq!(kept.durability(), v1::Durability::Disk);
    // Besides the daemon's own, which nobody waits for.
    assert!(kept.topics >= 1 && kept.events >= 1, "{kept:?}");
    assert_eq!((kept.duplicates, kept.failure), (1, String::new()));

    // One daemon at a time.
    let said = refused(folder);
    assert!(
        said.contains("data_dir") && said.contains("another process"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_directory_is_refused_until_the_damage_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let daemon = Daemon::start_with(&[("TRELLIS_DATA_DIR", path)], &[]);
    let mut client = EventServiceClient::new(daemon.connect().await);
    for id in 0..50 {
        let request = publish("orders", event(&id.to_string()));
        client.publish(request).await.unwrap();
    }
    drop(client);
    daemon.signal("TERM");
    assert!(daemon.wait().0.success());
    // A byte in the middle of what the first life has written.
    let first = folder.path().join("00000000000000000001.log");
    let mut bytes = std::fs::read(&first).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    std::fs::write(&first, bytes).unwrap();

    let said = refused(path);
    let words = ["00000000000000000001.log", "at byte", "disk.on_damage"];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");

    let salvage = [
        ("TRELLIS_DATA_DIR", path),
        ("TRELLIS_DISK__ON_DAMAGE", "salvage"),
    ];
    let mut daemon = Daemon::start_with(&salvage, &[]);
    daemon.wait_for_log("records were given up");
    let mut client = EventServiceClient::new(daemon.connect().await);
    let kept = read(&mut client, "orders").await.len();
    assert!((1..50).contains(&kept), "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_tells_what_is_changed_on_a_topic_that_callers_cannot_use() {
    let daemon = Daemon::start(&[]);
    let channel = daemon.connect().await;
    let mut limits = LimitServiceClient::new(channel.clone());
    let set = v1::SetLimitRequest {
        name: "llm".into(),
        spec: Some(slow_rate(5)),
        ..Default::default()
    };
    limits.set_limit(set).await.unwrap();
    let delete = v1::DeleteLimitRequest {
        name: "llm".into(),
        ..Default::default()
    };
    limits.delete_limit(delete).await.unwrap();

    let mut client = EventServiceClient::new(channel);
    let told = read(&mut client, "trellis.daemon").await;
    let told = told.iter().map(|stored| stored.event.as_ref().unwrap());
    let told: Vec<_> = told.map(|it| (&*it.r#type, &*it.subject)).collect();
    let wanted = [
        ("trellis.daemon.started", "daemon"),
        ("trellis.limit.set", "llm"),
        ("trellis.limit.deleted", "llm"),
    ];
    assert_eq!(told, wanted);

    let refused = client.publish(publish("trellis.daemon", event("1"))).await;
    let (code, name, field) = reason(&refused.unwrap_err());
    assert_eq!(
        (code, &*name, &*field),
        (Code::InvalidArgument, "INVALID_FIELD", "topic")
    );
}
