//! The short form of the campaign of jobs, and that it finds a log that lost its end.

mod checker;

use crate::jobs::checker::Kind;
use crate::jobs::run::go;
use crate::killed::Run;
use crate::{MACHINE, NONE, seed};
use std::time::Duration;

#[tokio::test]
async fn every_job_ends_once_whenever_the_daemon_is_killed() {
    let _with_others = MACHINE.read().await;
    let report = go(Run::short(seed())).await;
    println!("{}", report.text());
    assert_eq!(report.faults(), NONE, "{}", report.text());
}

#[tokio::test]
async fn a_log_of_jobs_that_lost_its_end_is_found() {
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
    assert!(lost.count() > 0, "{}", report.text());
}
