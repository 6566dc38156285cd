//! What was asked of a log and what it answered, and whether what it holds agrees.

use super::life::{Life, record};
use std::collections::BTreeMap;
use trellis_core::log::{Appended, LogError, LogResult, Record};

pub(super) const PARTITIONS: u32 = 3;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It stands from this offset on.
    Stands(u64),
    /// It does not stand and never will.
    Never,
    /// The next opening decides.
    Unknown,
}

struct Asked {
    partition: u32,
    records: Vec<Record>,
    fate: Fate,
}

/// See the module.
#[derive(Default)]
pub(super) struct History {
    asked: Vec<Asked>,
    /// By partition: the highest start that was acknowledged, and the highest that was asked for.
    trims: BTreeMap<u32, (u64, u64)>,
    pub(super) acknowledged: usize,
    pub(super) refused: usize,
    pub(super) unknown: usize,
}

impl History {
    /// The records of the next batch: each names the batch and its place in it.
    pub(super) fn next(&self, sizes: &[usize]) -> Vec<Record> {
        let id = self.asked.len();
        let named = sizes.iter().enumerate().map(|(index, size)| {
            let mut value = format!("{id}/{index}/").into_bytes();
            value.resize(value.len() + size, b'x');
            record(value)
        });
        named.collect()
    }

    /// Notes a batch before it is appended; tells its number.
    pub(super) fn ask(&mut self, partition: u32, records: Vec<Record>) -> usize {
        self.asked.push(Asked {
            partition,
            records,
            fate: Fate::Unknown,
        });
        self.asked.len() - 1
    }

    /// Notes what was answered.
    pub(super) fn answered(&mut self, id: usize, answer: &LogResult<Appended>) {
        self.asked[id].fate = match answer {
            Ok(appended) => {
                self.acknowledged += 1;
                Fate::Stands(appended.first.0)
            }
            Err(LogError::Unknown { .. }) => {
                self.unknown += 1;
                Fate::Unknown
            }
            Err(_) => {
                self.refused += 1;
                Fate::Never
            }
        };
    }

    /// Notes a trim.
    pub(super) fn trimmed(&mut self, partition: u32, before: u64, answer: &LogResult<()>) {
        let (acknowledged, asked) = self.trims.entry(partition).or_default();
        *asked = (*asked).max(before);
        if answer.is_ok() {
            *acknowledged = (*acknowledged).max(before);
        }
    }

    /// Compares; after an opening, what was unknown is decided for good.
    pub(super) fn check(&mut self, life: &Life, opened: bool) -> Result<(), String> {
        for partition in 0..PARTITIONS {
            self.check_partition(life, partition, opened)
                .map_err(|what| format!("partition {partition}: {what}"))?;
        }
        Ok(())
    }

    fn check_partition(&mut self, life: &Life, partition: u32, opened: bool) -> Result<(), String> {
        let bounds = life.bounds(partition);
        let (start, end) = (bounds.start.0, bounds.end.0);
        let (least, most) = self.trims.get(&partition).copied().unwrap_or_default();
        if start < least || start > most {
            return Err(format!(
                "starts at {start}, trimmed to {least}, asked for {most}"
            ));
        }
        let records = life
            .read_all(partition)
            .map_err(|error| error.to_string())?;
        let offsets: Vec<u64> = records.iter().map(|record| record.offset.0).collect();
        if offsets != (start..end).collect::<Vec<_>>() {
            return Err(format!("{start} to {end} holds {offsets:?}"));
        }
        let mut found: BTreeMap<usize, Vec<(u64, Record)>> = BTreeMap::new();
        for record in records {
            let id = batch_of(&record.record)?;
            found
                .entry(id)
                .or_default()
                .push((record.offset.0, record.record));
        }
        for (id, asked) in self.asked.iter_mut().enumerate() {
            if asked.partition == partition {
                let found = found.remove(&id).unwrap_or_default();
                asked
                    .check(&found, start, opened)
                    .map_err(|what| format!("batch {id}: {what}"))?;
            }
        }
        match found.first_key_value() {
            Some((id, _)) => Err(format!("batch {id} stands where it was not appended")),
            None => Ok(()),
        }
    }
}

impl Asked {
    fn check(&mut self, found: &[(u64, Record)], start: u64, opened: bool) -> Result<(), String> {
        let fate = self.fate;
        let first = match fate {
            Fate::Never if !found.is_empty() => return Err("refused, and stands".to_owned()),
            Fate::Never => return Ok(()),
            // Not durable as far as this life knows, so not to be seen.
            Fate::Unknown if !opened && !found.is_empty() => {
                return Err("unknown, and seen before a restart".to_owned());
            }
            Fate::Unknown if !opened => return Ok(()),
            Fate::Unknown => {
                let Some((offset, _)) = found.first() else {
                    self.fate = Fate::Never;
                    return Ok(());
                };
                self.fate = Fate::Stands(*offset);
                *offset
            }
            Fate::Stands(first) => first,
        };
        let expected = (first..).zip(self.records.iter().cloned());
        let expected: Vec<_> = expected.filter(|(offset, _)| *offset >= start).collect();
        if found == expected {
            return Ok(());
        }
        let offsets: Vec<_> = found.iter().map(|(offset, _)| offset).collect();
        let count = self.records.len();
        Err(format!(
            "{fate:?}: {count} records, start {start}, found at {offsets:?}"
        ))
    }
}

/// The batch that a record names.
fn batch_of(record: &Record) -> Result<usize, String> {
    let text = String::from_utf8_lossy(&record.value);
    let id = text.split('/').next().and_then(|id| id.parse().ok());
    id.ok_or_else(|| format!("a record that nobody appended: {:?}", text.get(..40)))
}
