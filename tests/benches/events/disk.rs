//! Events in a data directory, against a bare group commit; and how long a start with many of them takes.

use crate::bare::Bare;
use crate::{MANY, ROUND, Side};
use futures::future::try_join_all;
use std::path::Path;
use std::time::Instant;
use trellis_tests::bench::Result;
use trellis_tests::bench::process::{Pinning, Server};
use trellis_tests::bench::rounds::{Case, Done, Sample, alternate, now, p50_of_both};
use trellis_tests::bench::table::{Row, Table, Target};

/// Writers of the bare group commit, each of which waits for its bytes before it writes the next.
const WRITERS: usize = 64;

/// As many publishers that wait for their event in the same way, as streams with so many in flight; and as many that do not wait.
const WAITING: (usize, usize) = (8, 8);
const PIPELINED: (usize, usize) = (WRITERS, 8);

/// About what an event takes on disk.
const BYTES: usize = 400;

fn keeping(pinning: Pinning, folder: &Path) -> Result<Server> {
    let path = folder.to_str().ok_or("a folder that is no text")?;
    let settings = [
        ("TRELLIS_DATA_DIR", path),
        ("TRELLIS_EVENTS__RETENTION_BYTES", "1099511627776"),
    ];
    Server::trellis_with(pinning, &settings)
}

/// Measures many publishers, and one.
pub async fn measure(pinning: Pinning, echo: &Side, table: &mut Table) -> Result<()> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let trellis = Side::connect(keeping(pinning, &folder.path().join("events"))?).await?;
    let bare = Bare::open(&folder.path().join("bare"))?;
    let own = std::process::id();
    let cases = [
        Case::new(own, |deadline| write(&bare, WRITERS, deadline)),
        trellis.publishes(PIPELINED.0, PIPELINED.1),
        trellis.publishes(WAITING.0, WAITING.1),
    ];
    let [floor, pipelined, waiting] = alternate(cases, ROUND).await?;
    let row = |what: &str| {
        let what = format!("published on disk, {WRITERS} publishers{what}: events/s");
        Row::new(what, "bare group commit")
    };
    let first = row(" with 8 in flight").target(Target::AtLeast(0.8));
    table.add(first.compare(&floor, &pipelined, Sample::kilocalls_per_second, "k"));
    let second = row(" with 1 in flight");
    table.add(second.compare(&floor, &waiting, Sample::kilocalls_per_second, "k"));

    let cases = [
        Case::new(own, |deadline| write(&bare, 1, deadline)),
        echo.publishes(1, 1),
        trellis.publishes(1, 1),
    ];
    let [synced, hop, disk] = alternate(cases, ROUND).await?;
    let floor = p50_of_both(&synced, &hop);
    let disk: Vec<f64> = disk.iter().map(Sample::p50_micros).collect();
    let row = Row::new(
        "published on disk, 1 in flight: p50".into(),
        "fdatasync + echo",
    );
    let row = row.target(Target::AtMost(1.3));
    table.add(row.figures(&floor, &disk, "µs"));
    Ok(())
}

async fn write(bare: &Bare, writers: usize, deadline: Instant) -> Result<Done> {
    let lanes = (0..writers).map(|_| async {
        let (bytes, mut done) = ([b'x'; BYTES], Done::default());
        loop {
            let begun = now();
            bare.append(&bytes).await?;
            let answered = now();
            done.add(answered - begun);
            if answered >= deadline {
                return Result::Ok(done);
            }
        }
    });
    Ok(Done::sum(try_join_all(lanes).await?))
}

/// Measures a start with many events.
pub async fn restart(pinning: Pinning, table: &mut Table) -> Result<()> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let server = Side::connect(keeping(pinning, folder.path())?).await?;
    server.publishers.fill("many", MANY).await?;
    // Killed: the next one reads what it finds.
    drop(server);
    let begun = now();
    let server = keeping(pinning, folder.path())?;
    let seconds = begun.elapsed().as_secs_f64();
    drop(server);
    let row = Row::new(format!("start with {MANY} events, time to serve"), "");
    table.add(row.target(Target::AtMost(2.0)).value(seconds, "s"));
    Ok(())
}
