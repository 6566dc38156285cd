//! Jobs in a data directory, against jobs in memory and against a bare group commit; and how long a start with many takes.

use crate::bare::Bare;
use crate::messages::{self, QUEUE};
use crate::submitting::Submitters;
use crate::working::WORKERS;
use crate::{Lives, MANY, ROUND, SUBMITTERS, Side};
use std::path::Path;
use trellis_tests::bench::Result;
use trellis_tests::bench::process::{Pinning, Server};
use trellis_tests::bench::rounds::{Case, Done, Sample, alternate, now, p50_of_both};
use trellis_tests::bench::table::{Row, Table, Target};

/// About what a submission takes on disk.
const BYTES: usize = 250;

fn keeping(pinning: Pinning, folder: &Path) -> Result<Server> {
    let path = folder.to_str().ok_or("a folder that is no text")?;
    Server::trellis_with(pinning, &[("TRELLIS_DATA_DIR", path)])
}

/// Measures whole lives of jobs, and what a submitter waits for.
pub async fn measure(
    pinning: Pinning,
    echo: &Side,
    memory: &Side,
    table: &mut Table,
) -> Result<()> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let disk = Side::connect(keeping(pinning, &folder.path().join("jobs"))?).await?;
    let job = || messages::submit(QUEUE);
    let in_memory = Lives::open(&memory.server, QUEUE, job()).await?;
    let on_disk = Lives::open(&disk.server, QUEUE, job()).await?;
    let cases = [in_memory.case(), on_disk.case()];
    let [base, own] = alternate(cases, ROUND).await?;
    let row = Row::new(
        format!("on disk, {SUBMITTERS} submitters, {WORKERS} workers: jobs/s"),
        "in memory",
    );
    let row = row.target(Target::AtLeast(0.6));
    table.add(row.compare(&base, &own, Sample::kilocalls_per_second, "k"));

    let plain = Bare::open(&folder.path().join("bare"))?;
    let cases = [
        Case::new(std::process::id(), |deadline| write(&plain, deadline)),
        echo.submits("kept"),
        disk.submits("kept"),
    ];
    let [synced, hop, own] = alternate(cases, ROUND).await?;
    let floor = p50_of_both(&synced, &hop);
    let own: Vec<f64> = own.iter().map(Sample::p50_micros).collect();
    let row = Row::new(
        "on disk, 1 submission in flight: p50".into(),
        "fdatasync + echo",
    );
    table.add(row.target(Target::AtMost(1.3)).figures(&floor, &own, "µs"));
    Ok(())
}

async fn write(bare: &Bare, deadline: std::time::Instant) -> Result<Done> {
    let (bytes, mut done) = ([b'x'; BYTES], Done::default());
    loop {
        let begun = now();
        bare.append(&bytes).await?;
        let answered = now();
        done.add(answered - begun);
        if answered >= deadline {
            return Ok(done);
        }
    }
}

/// Measures a start with many pending jobs.
pub async fn restart(pinning: Pinning, table: &mut Table) -> Result<()> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let server = keeping(pinning, folder.path())?;
    let submitters = Submitters::open(&server).await?;
    submitters.fill(QUEUE, MANY).await?;
    // Killed: the next one reads what it finds.
    drop(server);
    let begun = now();
    let server = keeping(pinning, folder.path())?;
    let seconds = begun.elapsed().as_secs_f64();
    drop(server);
    let row = Row::new(format!("start with {MANY} pending jobs, time to serve"), "");
    table.add(row.target(Target::AtMost(5.0)).value(seconds, "s"));
    Ok(())
}
