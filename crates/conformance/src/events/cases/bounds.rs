//! Every bound has an answer, and room again is used again.

use crate::events::prelude::*;
use crate::spawn;

pub async fn a_topic_above_the_bound_is_refused(bench: &Bench) {
    let most = Settings::default().max_topics;
    for number in 0..most {
        bench.publish(&format!("topic-{number}"), "a").await;
    }
    let refused = bench.publish_event("more", &event("a")).await;
    assert_eq!(code(refused), ErrorCode::TooManyTopics);
    bench.publish("topic-0", "b").await;
}

pub async fn a_group_above_the_bound_is_refused(bench: &Bench) {
    let most = Settings::default().max_groups;
    for number in 0..most {
        let member = bench.member("orders", &format!("group-{number}"));
        member.join(Start::Latest).await;
    }
    let more = bench.member("orders", "more");
    assert_eq!(
        code(more.try_join(Start::Latest).await),
        ErrorCode::TooManyGroups
    );
    bench.member("orders", "group-0").join(Start::Latest).await;
    bench.member("orders", "group-0").delete().await.unwrap();
    more.join(Start::Latest).await;
}

pub async fn a_waiting_call_above_the_bound_is_refused(bench: &Bench) {
    let member = bench.member("orders", "billing");
    member.join(Start::Latest).await;
    let most = Settings::default().max_waiters;
    let mut waiting = Vec::new();
    for _ in 0..most {
        let member = member.clone();
        waiting.push(spawn(async move { member.receive(ALL, HOUR).await }));
        bench.elapse(ms(10)).await;
    }
    let more = async || member.receive(ALL, ms(1)).await.map(|it| it.len());
    assert_eq!(code(more().await), ErrorCode::TooManyWaiters);
    let gone = waiting.pop().unwrap();
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    assert_eq!(bench.until(more, Result::is_ok).await, Ok(0));
}

pub async fn a_group_takes_in_no_more_than_its_bound_until_something_is_settled(bench: &Bench) {
    let most = Settings::default().max_open;
    bench.publish_all("orders", "a", most + 2).await;
    let member = bench.member("orders", "billing");
    member.join(Start::Earliest).await;
    let mut delivered = Vec::new();
    while delivered.len() < most {
        delivered.extend(member.receive(ALL, HOUR).await.unwrap());
    }
    assert_eq!(delivered.len(), most);
    assert!(member.ids(10).await.is_empty());
    member.ack(&delivered[0]).await.unwrap();
    assert_eq!(member.ids(10).await, [format!("a{most}")]);
}
