//! From which offset on a time is covered.

use crate::log::prelude::*;
use trellis_core::{Micros, Time};

pub async fn a_seek_to_a_time_misses_nothing_since_then(bench: &Bench) {
    let mut appended = Vec::new();
    for index in 0..20 {
        appended.push(bench.append_value(FIRST, &index.to_string()).await);
        if index % 3 == 2 {
            bench.elapse(Micros::from_millis(5)).await;
        }
    }
    let end = appended[19].end;
    bench.all_below(FIRST, end).await;
    for first in &appended {
        let offset = bench.log().seek(FIRST, first.time).await.unwrap();
        let since = appended.iter().filter(|it| it.time >= first.time);
        let mut tail = bench.tail(FIRST, offset);
        tail.until(end).await;
        for one in since {
            assert!(
                tail.at(one.first).is_some(),
                "{one:?} is missed from {offset:?}"
            );
        }
    }
}

pub async fn a_seek_before_and_after_everything_stays_within_the_bounds(bench: &Bench) {
    let appended = bench.append_value(FIRST, "a").await;
    bench.all_below(FIRST, appended.end).await;
    let early = bench.log().seek(FIRST, Time(0)).await.unwrap();
    assert!(early <= appended.first);
    let late = bench.log().seek(FIRST, Time::NEVER).await.unwrap();
    assert!(late <= bench.bounds(FIRST).await.end);
}
