//! How long the job of a worker that is gone waits for another one.

use crate::messages;
use crate::submitting::Submitters;
use crate::working::Worker;
use std::time::Duration;
use trellis_tests::bench::Result;
use trellis_tests::bench::process::Server;
use trellis_tests::bench::rounds::now;
use trellis_tests::bench::table::{Row, Table, Target};

const QUEUE: &str = "killed";

/// The connection of the first worker ends as that of a killed process does; the second one waits already.
pub async fn measure(server: &Server, table: &mut Table) -> Result<()> {
    let submitters = Submitters::open(server).await?;
    let mut first = Worker::open(server.connect().await?, QUEUE, 1).await?;
    submitters.submit(messages::submit(QUEUE)).await?;
    first.job().await?;
    let mut second = Worker::open(server.connect().await?, QUEUE, 1).await?;
    let killed = now();
    drop(first);
    let again = tokio::time::timeout(Duration::from_mins(1), second.job()).await;
    let lease = again.map_err(|_| "the job of a worker that is gone does not come again")??;
    let seconds = killed.elapsed().as_secs_f64();
    second.finish(lease)?;
    let row = Row::new("a worker is killed: its job begins again after".into(), "");
    table.add(row.target(Target::AtMost(5.0)).value(seconds, "s"));
    Ok(())
}
