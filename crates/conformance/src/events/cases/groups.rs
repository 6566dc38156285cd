//! Groups: made, changed, looked at, forgotten.

use crate::events::prelude::*;
use crate::spawn;

pub async fn a_group_begins_where_it_is_told_and_only_once(bench: &Bench) {
    bench.publish("orders", "a").await;
    let late = bench.member("orders", "late");
    late.join(Start::Latest).await;
    let cursor = bench.publish("orders", "b").await.cursor;
    bench.publish("orders", "c").await;
    let early = bench.member("orders", "early");
    early.join(Start::Earliest).await;
    let behind = bench.member("orders", "behind");
    behind.join(Start::Cursor(cursor)).await;
    late.join(Start::Earliest).await;
    assert_eq!(early.drain().await, ["a", "b", "c"]);
    assert_eq!(late.drain().await, ["b", "c"]);
    assert_eq!(behind.drain().await, ["c"]);
}

pub async fn a_group_is_made_with_the_defaults_and_can_be_set(bench: &Bench) {
    let member = bench.member("orders", "billing");
    let made = member.join(Start::Earliest).await;
    assert_eq!(made.spec, GroupSpec::default());
    assert_eq!((made.leased, made.retrying, made.dead), (0, 0, 0));
    let spec = GroupSpec {
        lease: SECOND,
        ..GroupSpec::default()
    };
    assert_eq!(member.set(spec, Start::Latest).await.spec, spec);
    assert_eq!(member.look().await.spec, spec);
    bench.publish("orders", "a").await;
    assert!(member.one().await.remaining <= SECOND);
}

pub async fn what_is_set_holds_from_the_next_delivery_on(bench: &Bench) {
    bench.publish_all("orders", "a", 2).await;
    let member = bench.member("orders", "billing");
    member.join(Start::Earliest).await;
    let first = member.one().await;
    let short = GroupSpec {
        lease: SECOND,
        ..GroupSpec::default()
    };
    member.set(short, Start::Earliest).await;
    let second = member.one().await;
    bench.assert_left(second.remaining, SECOND);
    bench.elapse(SECOND).await;
    bench.elapse_until_late().await;
    member.until(|state| state.retrying == 1).await;
    assert_eq!(member.look().await.leased, 1);
    member.ack(&first).await.unwrap();
}

pub async fn a_group_that_nobody_made_is_not_found(bench: &Bench) {
    let member = bench.member("orders", "billing");
    let not_found = ErrorCode::GroupNotFound;
    assert_eq!(code(member.receive(ALL, HOUR).await), not_found);
    assert_eq!(code(member.delete().await), not_found);
    let port = bench.port();
    assert_eq!(code(port.group(member.id.clone()).await), not_found);
    let replayed = port.replay(member.id.clone(), Replay::All).await;
    assert_eq!(code(replayed), not_found);
    member.join(Start::Latest).await;
    let other = bench.member("bills", "billing");
    assert_eq!(code(other.receive(ALL, HOUR).await), not_found);
}

pub async fn a_group_that_is_deleted_is_forgotten_and_tells_who_waits(bench: &Bench) {
    bench.publish("orders", "a").await;
    let member = bench.member("orders", "billing");
    member.join(Start::Earliest).await;
    let had = member.one().await;
    let waiting = spawn({
        let member = member.clone();
        async move { member.receive(ALL, HOUR).await }
    });
    bench.elapse(ms(10)).await;
    member.delete().await.unwrap();
    assert_eq!(code(waiting.await.unwrap()), ErrorCode::GroupNotFound);
    assert_eq!(code(member.ack(&had).await), ErrorCode::GroupNotFound);
    assert_eq!(bench.look("orders").await.groups, 0);
    // One that is made anew knows nothing of it.
    member.join(Start::Earliest).await;
    assert_eq!(code(member.ack(&had).await), ErrorCode::LeaseLost);
    let again = member.one().await;
    assert_eq!((again.event.event.id(), again.attempt), (Some("a"), 1));
    assert_ne!(again.lease, had.lease);
}

pub async fn pages_of_groups_are_complete_and_in_order(bench: &Bench) {
    for group in ["c", "a", "b"] {
        bench.member("orders", group).join(Start::Latest).await;
    }
    bench.member("bills", "z").join(Start::Latest).await;
    let page = async |after: Option<&str>, page_size| {
        let after = after.map(|name| trellis_core::Name::new(name, "after").unwrap());
        let port = bench.port();
        let listed = port.groups(bench.topic("orders"), after, page_size);
        let (groups, more) = listed.await.unwrap();
        let names = groups.into_iter().map(|it| it.id.name.to_string());
        (names.collect::<Vec<_>>(), more)
    };
    let all = ["a", "b", "c"].map(str::to_owned);
    assert_eq!(page(None, 10).await, (all.to_vec(), false));
    assert_eq!(page(None, 2).await, (all[..2].to_vec(), true));
    assert_eq!(page(Some("b"), 2).await, (all[2..].to_vec(), false));
    assert_eq!(page(Some("c"), 2).await, (vec![], false));
}

pub async fn a_group_tells_what_it_is_at(bench: &Bench) {
    bench.publish_all("orders", "a", 4).await;
    let member = bench.member("orders", "billing");
    let state = member.join(Start::Earliest).await;
    assert!(state.behind >= 4);
    let delivered = member.get(3).await;
    let nack = Settlement::Nack(Some(HOUR));
    member.settle(delivered[0].lease, nack).await.unwrap();
    member
        .settle(delivered[1].lease, Settlement::Reject)
        .await
        .unwrap();
    let state = member.look().await;
    assert_eq!((state.leased, state.retrying, state.dead), (1, 1, 1));
    assert!(state.behind >= 4);
}

pub async fn a_group_settles_past_what_others_publish_beside_it(bench: &Bench) {
    let member = bench.member("orders", "billing");
    member.join(Start::Earliest).await;
    for round in 0..5 {
        bench.publish_all("bills", &format!("b{round}-"), 5).await;
        bench.publish("orders", &format!("a{round}")).await;
    }
    assert_eq!(member.drain().await.len(), 5);
    assert_eq!(member.look().await.behind, 0);
}
