//! Sliding windows and calendar periods: never over, and back in time.

use crate::limits::prelude::*;

pub async fn a_window_is_never_over_in_any_interval(bench: &Bench) {
    let (amount, period) = (10, ms(600));
    bench.declare("requests", window(amount, period)).await;
    let mut admitted: Vec<(Instant, Instant, i64)> = Vec::new();
    for step in 0..160_u32 {
        let (want, before) = (1 + i64::from(step % 4), Instant::now());
        let outcome = bench.take("requests", want).acquired().await.outcome;
        if matches!(outcome, Outcome::Granted(_)) {
            admitted.push((before, Instant::now(), want));
        }
        // Shorter than a sub-window and longer.
        bench.elapse(ms(3 + u64::from(step % 17))).await;
    }
    let total: i64 = admitted.iter().map(|(.., taken)| taken).sum();
    assert!(total > 2 * amount, "{admitted:?}");
    for (first, (before, ..)) in admitted.iter().enumerate() {
        let within =
            |(_, after, _): &&(Instant, Instant, i64)| Micros::from(*after - *before) < period;
        let inside = admitted[first..].iter().take_while(within);
        let sum: i64 = inside.map(|(.., taken)| taken).sum();
        assert!(sum <= amount, "{sum} in one period");
    }
}

pub async fn no_unit_comes_back_with_an_earlier_one(bench: &Bench) {
    let period = ms(600);
    bench.declare("requests", window(10, period)).await;
    bench.take("requests", 6).granted().await;
    // So soon after the first that they may be counted together.
    bench.elapse(ms(8)).await;
    let second = Instant::now();
    bench.take("requests", 4).granted().await;
    bench.elapse(ms(596)).await;
    let third = bench.take("requests", 7).acquired().await.outcome;
    if Micros::from(second.elapsed()) < period {
        assert!(
            matches!(third, Outcome::Denied(_)),
            "11 in one period: {third:?}"
        );
    }
}

pub async fn a_burst_in_a_window_comes_back_after_exactly_the_period(bench: &Bench) {
    bench.declare("requests", window(10, ms(600))).await;
    bench.take("requests", 10).granted().await;
    bench.elapse_almost(ms(600)).await;
    assert_eq!(bench.remaining("requests").await, 0);
    bench.elapse_the_rest().await;
    bench.elapse(bench.tolerance()).await;
    assert_eq!(bench.remaining("requests").await, 10);
    bench.take("requests", 10).granted().await;
}

pub async fn units_of_a_window_come_back_one_after_the_other(bench: &Bench) {
    bench.declare("requests", window(10, ms(600))).await;
    bench.take("requests", 4).granted().await;
    bench.elapse(ms(300)).await;
    bench.take("requests", 6).granted().await;
    bench.assert_told(bench.take("requests", 4).denied().await, ms(300));
    bench.assert_told(bench.take("requests", 5).denied().await, ms(600));
    bench.elapse(ms(400)).await;
    assert_eq!(bench.remaining("requests").await, 4);
    bench.take("requests", 5).denied().await;
    bench.take("requests", 4).granted().await;
}

pub async fn a_calendar_limit_opens_with_its_next_period(bench: &Bench) {
    bench
        .declare("daily", calendar(2, CalendarUnit::Minute))
        .await;
    bench.take("daily", 2).granted().await;
    let told = bench.take("daily", 1).denied().await;
    assert!(told <= Micros::from_secs(60), "{told:?}");
    bench.elapse_almost(told).await;
    bench.take("daily", 1).denied().await;
    bench.elapse_the_rest().await;
    bench.elapse(bench.tolerance()).await;
    bench.take("daily", 2).granted().await;
}

pub async fn a_call_waits_for_the_next_calendar_period(bench: &Bench) {
    bench
        .declare("daily", calendar(2, CalendarUnit::Minute))
        .await;
    bench.take("daily", 2).granted().await;
    let (told, asked) = (bench.take("daily", 1).denied().await, Instant::now());
    let waiting = bench.take("daily", 1).wait(HOUR).start();
    let (_, granted) = waiting.granted().await;
    bench.assert_took(asked, granted, told);
}
