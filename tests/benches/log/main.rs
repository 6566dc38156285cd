//! `just bench log`: what the disk log costs, as ratios to plain files measured in the same run.
//!
//! Appends are compared with a bare group commit: writers put bytes into a buffer, one thread writes it to the end of a file,
//! syncs and wakes them. Catch-up reads are compared with reading the same files plainly, from the page cache like
//! those of the log, without a look at what is read. Opening a log is a figure that stands for itself.
//!
//! Everything runs in this process, on all cores, in a folder of the build directory; so what is measured is this disk.
//! With the name of a part (append, read) only that one is measured. Takes about a minute.
//!
//! Files: `bare` the plain group commit, `append` writers on both, `read` catching up and opening.

mod append;
mod bare;
mod read;

use std::path::Path;
use std::sync::Arc;
use trellis_core::{Clock, Now, Time};
use trellis_local::log::{DiskLog, DiskLogOptions};
use trellis_tests::bench::Result;
use trellis_tests::bench::rounds::now;
use trellis_tests::bench::table::{Table, say};

/// What is measured, in this order.
const PARTS: [&str; 2] = ["append", "read"];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if !has("--bench") {
        say("this program measures only under `cargo bench`");
        return Ok(());
    }
    let all = !PARTS.iter().any(|part| has(part));
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut table = Table::default();
    runtime.block_on(async {
        if all || has("append") {
            append::measure(folder.path(), &mut table).await?;
        }
        if all || has("read") {
            read::measure(folder.path(), &mut table).await?;
        }
        Result::Ok(())
    })?;
    table.print();
    Ok(())
}

/// The time since the program's start, for the stamps of records.
struct SinceStart(std::time::Instant);

impl Clock for SinceStart {
    fn now(&self) -> Now {
        let elapsed = u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX);
        Now {
            mono: Time(elapsed),
            wall: Time(elapsed),
        }
    }
}

/// The log of a folder, as a daemon opens it by default.
fn open(folder: &Path) -> Result<DiskLog> {
    let clock = Arc::new(SinceStart(now()));
    Ok(DiskLog::open(folder, DiskLogOptions::default(), clock)?)
}
