//! Values that come in parts.

use crate::cache::prelude::*;
use trellis_core::cache::Content;

pub async fn parts_come_in_order_and_end_with_the_whole_value(bench: &Bench) {
    let lease = bench.lease("k").await;
    let mut waiter = bench.ask(&["k"]).parts().wait().await;
    let mut sent = 0;
    for part in ["one ", "two ", "three "] {
        let appended = bench.append(lease, sent, part).await.unwrap().unwrap();
        sent += part.len();
        assert_eq!(appended.size, sent);
        assert_eq!(waiter.parts(part.len()).await, part.as_bytes());
    }
    bench.fill(lease, "four").await.unwrap();
    assert_eq!(text(&waiter.value().await), "one two three four");
    let hit = bench.get("k").await.unwrap();
    assert_eq!(text(&hit), "one two three four");
}

pub async fn who_comes_late_gets_what_came_before(bench: &Bench) {
    let lease = bench.lease("k").await;
    bench.append(lease, 0, "so far").await.unwrap().unwrap();
    let mut late = bench.ask(&["k"]).parts().wait().await;
    assert_eq!(late.parts(6).await, b"so far");
    let whole = bench.wait("k").await;
    bench.fill(lease, ", so good").await.unwrap();
    assert_eq!(text(&late.value().await), "so far, so good");
    assert_eq!(text(&whole.value().await), "so far, so good");
}

pub async fn a_takeover_restarts_the_value(bench: &Bench) {
    let lease = bench.lease("k").await;
    let mut first = bench.ask(&["k"]).parts().wait().await;
    let mut second = bench.ask(&["k"]).parts().wait().await;
    bench.append(lease, 0, "old").await.unwrap().unwrap();
    assert_eq!(first.parts(3).await, b"old");
    assert_eq!(second.parts(3).await, b"old");
    bench.give_up(lease).await.unwrap();
    second.restarted(LeaseEnd::GivenUp).await;
    let next = first.lease().await;
    let late = bench.append(lease, 3, "er").await.unwrap();
    assert_eq!(late, Err(LeaseEnd::GivenUp));
    bench.append(next, 0, "new").await.unwrap().unwrap();
    assert_eq!(second.parts(3).await, b"new");
    bench.fill(next, "er").await.unwrap();
    assert_eq!(text(&second.value().await), "newer");
}

pub async fn a_part_that_came_already_is_not_taken_twice(bench: &Bench) {
    let lease = bench.lease("k").await;
    for (offset, part) in [(0, "abc"), (0, "abc"), (1, "bcd"), (2, "cd"), (4, "e")] {
        bench.append(lease, offset, part).await.unwrap().unwrap();
    }
    bench.fill(lease, "").await.unwrap();
    assert_eq!(text(&bench.get("k").await.unwrap()), "abcde");
}

pub async fn a_part_after_a_gap_is_refused_with_the_field(bench: &Bench) {
    let lease = bench.lease("k").await;
    bench.append(lease, 0, "abc").await.unwrap().unwrap();
    assert_eq!(field(bench.append(lease, 4, "e").await), "offset");
    bench.append(lease, 3, "d").await.unwrap().unwrap();
    bench.fill(lease, "").await.unwrap();
    assert_eq!(text(&bench.get("k").await.unwrap()), "abcd");
}

pub async fn a_slow_reader_does_not_slow_the_filler(bench: &Bench) {
    let lease = bench.lease("k").await;
    let mut slow = bench.ask(&["k"]).parts().wait().await;
    let part = vec![b'x'; 256 * 1024];
    for number in 0..12 {
        let appended = bench.append(lease, number * part.len(), part.clone()).await;
        appended.unwrap().unwrap();
    }
    bench.fill(lease, "end").await.unwrap();
    let size = 12 * part.len() + 3;
    assert_eq!(bench.get("k").await.unwrap().content.len(), size);
    let mut told = 0;
    loop {
        match slow.next().await {
            Progress::Part(part) => told += part.len(),
            Progress::Ended(Landing::Value(hit)) => {
                assert!(told <= size, "{told}");
                assert_eq!(hit.content.len(), size);
                return;
            }
            other => panic!("neither a part nor the value: {other:?}"),
        }
    }
}

pub async fn a_large_value_arrives_whole(bench: &Bench) {
    let value: Vec<u8> = (0..3_000_000_u32).map(|byte| (byte % 251) as u8).collect();
    let lease = bench.lease("k").await;
    let waiter = bench.wait("k").await;
    let mut sent = 0;
    for part in value.chunks(700_000) {
        let appended = bench.append(lease, sent, part.to_vec()).await;
        sent = appended.unwrap().unwrap().size;
    }
    bench.fill(lease, "").await.unwrap();
    let expected = Content::Value(value.into());
    assert!(waiter.value().await.content == expected);
    assert!(bench.get("k").await.unwrap().content == expected);
    assert!(bench.ask(&["k"]).hit().await.0.content == expected);
}

pub async fn a_value_in_parts_cannot_end_as_none(bench: &Bench) {
    let lease = bench.lease("k").await;
    bench.append(lease, 0, "a").await.unwrap().unwrap();
    let refused = bench.try_fill(lease, negative(), true).await;
    assert_eq!(field(refused), "negative");
    bench.fill(lease, "b").await.unwrap();
    assert_eq!(text(&bench.get("k").await.unwrap()), "ab");
}
