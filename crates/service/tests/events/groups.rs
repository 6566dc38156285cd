//! Groups: how they deal events out, their list, and their dead letters.

use crate::bench::{Bench, earliest, field, number, reason, seconds};
use trellis_proto::v1;

fn set(group: &str, spec: v1::EventGroupSpec) -> v1::EventServiceSetGroupRequest {
    v1::EventServiceSetGroupRequest {
        topic: "orders".into(),
        group: group.into(),
        spec: Some(spec),
        start: earliest(),
        ..Default::default()
    }
}

fn get(group: &str) -> v1::EventServiceGetGroupRequest {
    v1::EventServiceGetGroupRequest {
        topic: "orders".into(),
        group: group.into(),
        ..Default::default()
    }
}

/// Makes dead letters of the first events of a topic.
async fn dead(bench: &Bench, count: usize) {
    bench.publish_numbers("orders", 0..count).await;
    let receive = v1::EventServiceReceiveRequest {
        topic: "orders".into(),
        group: "billing".into(),
        max_events: i32::try_from(count).unwrap(),
        start: earliest(),
        ..Default::default()
    };
    let mut stub = bench.stub.clone();
    let taken = stub.receive(receive).await.unwrap().into_inner().deliveries;
    let settlements = taken.into_iter().map(|delivery| v1::EventSettlement {
        lease_id: delivery.lease_id,
        settlement: Some(v1::event_settlement::Settlement::Reject(v1::EventReject {})),
    });
    let settle = v1::EventServiceSettleRequest {
        topic: "orders".into(),
        group: "billing".into(),
        settlements: settlements.collect(),
        ..Default::default()
    };
    stub.settle(settle).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_group_is_made_changed_and_forgotten() {
    let bench = Bench::new();
    let mut stub = bench.stub.clone();
    bench.publish_numbers("orders", 0..3).await;
    assert_eq!(
        reason(stub.get_group(get("billing")).await),
        "GROUP_NOT_FOUND"
    );
    let made = stub
        .set_group(set("billing", v1::EventGroupSpec::default()))
        .await;
    let made = made.unwrap().into_inner();
    let group = made.group.unwrap();
    assert!(made.created);
    assert_eq!(
        (group.topic.as_str(), group.name.as_str(), group.behind),
        ("orders", "billing", 3)
    );
    let default = v1::EventGroupSpec {
        lease: seconds(30),
        max_attempts: 10,
        min_backoff: seconds(1),
        max_backoff: seconds(60),
        ordered: false,
    };
    assert_eq!(group.spec, Some(default));
    let changed = v1::EventGroupSpec {
        lease: seconds(5),
        max_attempts: 2,
        min_backoff: seconds(90),
        ordered: true,
        ..Default::default()
    };
    let set_again = stub
        .set_group(set("billing", changed))
        .await
        .unwrap()
        .into_inner();
    assert!(!set_again.created);
    let got = stub.get_group(get("billing")).await.unwrap().into_inner();
    let spec = got.group.unwrap().spec.unwrap();
    assert_eq!((spec.max_backoff, spec.ordered), (seconds(90), true));
    let delete = v1::EventServiceDeleteGroupRequest {
        topic: "orders".into(),
        group: "billing".into(),
        ..Default::default()
    };
    stub.delete_group(delete.clone()).await.unwrap();
    assert_eq!(reason(stub.delete_group(delete).await), "GROUP_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn groups_are_listed_by_name_and_a_token_belongs_to_its_list() {
    let bench = Bench::new();
    let mut stub = bench.stub.clone();
    for group in ["c", "a", "b"] {
        let set = set(group, v1::EventGroupSpec::default());
        stub.set_group(set).await.unwrap();
    }
    let list = |page_token: &str| v1::EventServiceListGroupsRequest {
        topic: "orders".into(),
        page_size: 2,
        page_token: page_token.into(),
        ..Default::default()
    };
    let first = stub.list_groups(list("")).await.unwrap().into_inner();
    assert_eq!(first.groups.len(), 2);
    assert_eq!(first.groups[1].name, "b");
    let rest = stub
        .list_groups(list(&first.next_page_token))
        .await
        .unwrap();
    assert_eq!(rest.into_inner().groups[0].name, "c");
    for foreign in ["groups/default/other/b", "topics/default/b", "x"] {
        assert_eq!(field(stub.list_groups(list(foreign)).await), "page_token");
    }
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_listed_in_order_and_delivered_again() {
    let bench = Bench::new();
    let mut stub = bench.stub.clone();
    dead(&bench, 5).await;
    let mut list = v1::EventServiceListDeadLettersRequest {
        topic: "orders".into(),
        group: "billing".into(),
        page_size: 2,
        ..Default::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = stub
            .list_dead_letters(list.clone())
            .await
            .unwrap()
            .into_inner();
        for letter in &page.dead_letters {
            assert_eq!(
                (letter.attempts, letter.reason()),
                (1, v1::EventDeadReason::Rejected)
            );
            seen.push(number(letter.event.as_ref().unwrap()));
        }
        if page.next_page_token.is_empty() {
            break;
        }
        list.page_token = page.next_page_token;
    }
    assert_eq!(seen, [0, 1, 2, 3, 4]);
    for foreign in [
        "dead/default/orders/other/2",
        "dead/default/orders/billing/x",
        "2",
    ] {
        list.page_token = foreign.into();
        assert_eq!(
            field(stub.list_dead_letters(list.clone()).await),
            "page_token"
        );
    }
    let replay = |offsets| v1::EventServiceReplayDeadLettersRequest {
        topic: "orders".into(),
        group: "billing".into(),
        offsets,
        ..Default::default()
    };
    let two = stub
        .replay_dead_letters(replay(vec![1, 3, 77]))
        .await
        .unwrap();
    assert_eq!(two.into_inner().replayed, 2);
    let rest = stub.replay_dead_letters(replay(vec![])).await.unwrap();
    assert_eq!(rest.into_inner().replayed, 3);
    let refused = stub.replay_dead_letters(replay(vec![1, -1])).await;
    assert_eq!(field(refused), "offsets[1]");
}

#[tokio::test(start_paused = true)]
async fn what_is_out_of_bounds_is_refused_by_its_path() {
    let bench = Bench::new();
    let mut stub = bench.stub.clone();
    let many = v1::EventGroupSpec {
        max_attempts: 1_001,
        ..Default::default()
    };
    let refused = stub.set_group(set("billing", many)).await;
    assert_eq!(field(refused), "spec.max_attempts");
    let nameless = stub.set_group(set("", v1::EventGroupSpec::default())).await;
    assert_eq!(field(nameless), "group");
    assert_eq!(field(stub.get_group(get("a\u{7f}")).await), "group");
}
