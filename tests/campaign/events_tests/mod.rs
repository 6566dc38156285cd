//! The short form of the campaign of events, and that it finds a log that lost its end.

mod checker;

use crate::events::checker::Kind;
use crate::events::run::go;
use crate::killed::Run;
use crate::{MACHINE, NONE, seed};
use std::time::Duration;

#[tokio::test]
async fn nothing_is_lost_or_doubled_whenever_the_daemon_is_killed() {
    let _with_others = MACHINE.read().await;
    let report = go(Run::short(seed())).await;
    println!("{}", report.text());
    assert_eq!(report.faults(), NONE, "{}", report.text());
}

#[tokio::test]
async fn a_log_that_lost_its_end_is_found_and_told_event_by_event() {
    let _with_others = MACHINE.read().await;
    let run = Run {
        kills: 2,
        broken: true,
        patience: Duration::from_secs(10),
        ..Run::short(seed())
    };
    let report = go(run).await;
    println!("{}", report.text());
    let lost = report.faults.iter().filter(|it| it.kind == Kind::Lost);
    assert!(lost.clone().count() > 0, "{}", report.text());
    for fault in lost {
        assert!(fault.what.contains("acknowledged at"), "{}", fault.what);
    }
}
