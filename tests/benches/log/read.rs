//! Opening a log of a million records, and reading all of them.

use bytes::Bytes;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use trellis_core::log::{Batch, Log, Offset, Partition, Record};
use trellis_tests::bench::Result;
use trellis_tests::bench::rounds::{ROUNDS, median, now};
use trellis_tests::bench::table::{Row, Table, Target, say};

const RECORDS: u32 = 1_000_000;

/// Bytes of a record's value.
const VALUE: usize = 128;

/// Budget of one read.
const BUDGET: usize = 1024 * 1024;

/// Records in one partition one by one, as a publisher that waits for each leaves them; in batches; and one by one, but among
/// those of seven other partitions, which the reader has to pass over.
const SHAPES: [(&str, u32, u32); 3] = [
    ("single", 1, 1),
    ("batches of 100", 100, 1),
    ("single, 8 partitions", 1, 8),
];

/// Measures every shape.
pub async fn measure(folder: &Path, table: &mut Table) -> Result<()> {
    for (shape, batch, partitions) in SHAPES {
        let folder = folder.join(format!("read-{batch}-{partitions}"));
        write(&folder, batch, partitions).await?;
        opening(&folder, shape, table)?;
        reading(&folder, (shape, partitions), table).await?;
    }
    Ok(())
}

/// Fills a log, and ends it as a crash does: without the summary of its last file.
async fn write(folder: &Path, batch: u32, partitions: u32) -> Result<()> {
    let log = crate::open(folder)?;
    let record = Record {
        value: Bytes::from_static(&[b'x'; VALUE]),
        ..Record::default()
    };
    let batches = RECORDS / batch;
    let mut under_way = std::collections::VecDeque::new();
    for number in 0..batches {
        let records = vec![record.clone(); batch as usize];
        let partition = Partition(number % partitions);
        under_way.push_back(log.append(partition, Batch::new(records)?));
        // Far below the bound on what waits.
        if under_way.len() > 10_000 / batch as usize
            && let Some(oldest) = under_way.pop_front()
        {
            oldest.outcome().await?;
        }
    }
    for appending in under_way {
        appending.outcome().await?;
    }
    Ok(())
}

fn opening(folder: &Path, shape: &str, table: &mut Table) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begun = now();
        let log = crate::open(folder)?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        drop(log);
    }
    let row = Row::new(format!("open 1 M records, {shape}"), "");
    table.add(
        row.target(Target::AtMost(2_000.0))
            .value(median(&times), "ms"),
    );
    Ok(())
}

async fn reading(folder: &Path, (shape, partitions): (&str, u32), table: &mut Table) -> Result<()> {
    let log = crate::open(folder)?;
    let (mut plain, mut own) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        let begun = now();
        bytes = read_files(folder)?;
        plain.push(f64::from(RECORDS) / begun.elapsed().as_secs_f64() / 1e6);
        let begun = now();
        let records = read_log(&log).await?;
        own.push(f64::from(records) / begun.elapsed().as_secs_f64() / 1e6);
        assert_eq!(records, RECORDS / partitions, "not all were read");
    }
    say(&format!("{shape}: {} MB in files", bytes / 1_000_000));
    let row = Row::new(
        format!("catch up, {shape}: M records/s"),
        "plain read of the files",
    );
    table.add(row.figures(&plain, &own, "M"));
    Ok(())
}

/// Reads every file of a folder.
fn read_files(folder: &Path) -> Result<u64> {
    let mut buffer = vec![0; 256 * 1024];
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let mut file = File::open(entry?.path())?;
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
        }
    }
    Ok(bytes)
}

/// Reads the first partition from start to end.
async fn read_log(log: &dyn Log) -> Result<u32> {
    let partition = Partition(0);
    let mut next = Offset(0);
    let mut records = 0;
    loop {
        let read = log.read(partition, next, BUDGET).await?;
        if read.next == next {
            return Ok(records);
        }
        next = read.next;
        records += u32::try_from(read.records.len())?;
    }
}
