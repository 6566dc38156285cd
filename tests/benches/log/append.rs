//! Writers that each wait for their record before they append the next.

use crate::bare::Bare;
use bytes::Bytes;
use futures::future::try_join_all;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use trellis_core::log::{Log, Partition, Record};
use trellis_local::log::DiskLog;
use trellis_tests::bench::Result;
use trellis_tests::bench::rounds::{Case, Done, Sample, alternate, now};
use trellis_tests::bench::table::{Row, Table, Target};

const ROUND: Duration = Duration::from_millis(500);

/// Bytes of a record's value.
const VALUE: usize = 512;

/// Partitions that the writers are spread over.
const PARTITIONS: u32 = 16;

/// Measures one writer, and many.
pub async fn measure(folder: &Path, table: &mut Table) -> Result<()> {
    let log = Arc::new(crate::open(&folder.join("appended"))?);
    let bare = Arc::new(Bare::open(&folder.join("bare"))?);
    for writers in [1, 64] {
        let process = std::process::id();
        let cases = [
            Case::new(process, |deadline| {
                on_all(writers, deadline, |_, until| {
                    bare_writer(bare.clone(), until)
                })
            }),
            Case::new(process, |deadline| {
                on_all(writers, deadline, |writer, until| {
                    log_writer(log.clone(), Partition(writer % PARTITIONS), until)
                })
            }),
        ];
        let [floor, own] = alternate(cases, ROUND).await?;
        let row = |what: &str| {
            let what = format!("append {VALUE} B, {writers} writers: {what}");
            Row::new(what, "bare group commit")
        };
        let (rate, p50) = (row("records/s"), row("p50"));
        let (rate, p50) = match writers {
            1 => (rate, p50.target(Target::AtMost(1.3))),
            _ => (rate.target(Target::AtLeast(0.8)), p50),
        };
        table.add(rate.compare(&floor, &own, Sample::kilocalls_per_second, "k"));
        table.add(p50.compare(&floor, &own, Sample::p50_micros, "µs"));
        table.add(row("p99").compare(&floor, &own, Sample::p99_micros, "µs"));
        let cpu = row("CPU per record, writers included");
        table.add(cpu.compare(&floor, &own, Sample::cpu_micros_per_call, "µs"));
    }
    Ok(())
}

/// Runs writers as tasks of their own until the deadline.
async fn on_all<W>(
    writers: u32,
    deadline: Instant,
    writer: impl Fn(u32, Instant) -> W,
) -> Result<Done>
where
    W: Future<Output = Result<Done>> + Send + 'static,
{
    let tasks = (0..writers).map(|number| spawn(writer(number, deadline)));
    let done = try_join_all(tasks).await?;
    Ok(Done::sum(done.into_iter().collect::<Result<_>>()?))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark has no supervisor: its tasks end with the round"
)]
fn spawn<F>(task: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    tokio::spawn(task)
}

async fn bare_writer(bare: Arc<Bare>, deadline: Instant) -> Result<Done> {
    let value = [b'x'; VALUE];
    let mut done = Done::default();
    while now() < deadline {
        let begun = now();
        bare.append(&value).await?;
        done.add(begun.elapsed());
    }
    Ok(done)
}

async fn log_writer(log: Arc<DiskLog>, partition: Partition, deadline: Instant) -> Result<Done> {
    let value = Bytes::from_static(&[b'x'; VALUE]);
    let mut done = Done::default();
    while now() < deadline {
        let begun = now();
        let record = Record {
            value: value.clone(),
            ..Record::default()
        };
        log.append(partition, record.into()).outcome().await?;
        done.add(begun.elapsed());
    }
    Ok(done)
}
