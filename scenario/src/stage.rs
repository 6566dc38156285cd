//! A stage: the provider, three servers, and what these have in common, all of them processes of their own.

use crate::Result;
use crate::calling::Caller;
use crate::process::Process;
use crate::provider::model::DIMENSIONS;
use crate::server::index::{Index, chunks, documents};
use crate::server::{Config, Mode};
use crate::wire::{EmbedRequest, EmbedResponse, Ledgers};
use crate::workload::{Endpoint, SERVERS};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// Texts embedded in one call while the index is built.
const INDEX_BATCH: usize = 16;

/// What the servers have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Nothing: the guide's mode.
    Alone,
    /// Each server has a daemon, and the daemons have nothing in common.
    Embedded,
    /// Each server has a daemon, and the daemons are one, by way of one Redis.
    Sharing,
}

impl Column {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Embedded => "embedded",
            Self::Sharing => "sharing",
        }
    }
}

/// What the provider is told when it starts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Metering {
    /// Its embeddings.
    pub embeddings: Endpoint,
    /// Its answers.
    pub answers: Endpoint,
}

/// Running processes.
#[derive(Debug)]
pub struct Stage {
    provider: Process,
    servers: Vec<Process>,
    daemons: Vec<Process>,
    redis: Option<Process>,
}

/// Processor time used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// By the servers.
    pub servers: Duration,
    /// By their daemons.
    pub daemons: Duration,
    /// By Redis.
    pub redis: Duration,
    /// By the provider.
    pub provider: Duration,
}

impl Stage {
    /// Starts everything and waits until it serves.
    pub fn start(column: Column, metering: Metering, index: &Path) -> Result<Self> {
        let provider = Process::part("provider", &metering)?;
        let (redis, daemons) = match column {
            Column::Alone => (None, Vec::new()),
            Column::Embedded => (None, daemons(&[])?),
            Column::Sharing => {
                let redis = Process::redis()?;
                let daemons = daemons(&shared(&redis))?;
                (Some(redis), daemons)
            }
        };
        let server = |number: usize| {
            let daemon = || daemons[number].address.clone();
            let mode = match column {
                Column::Alone => Mode::Alone,
                Column::Embedded | Column::Sharing => Mode::Daemon { daemon: daemon() },
            };
            let config = Config {
                name: format!("server-{}", number + 1),
                provider: provider.address.clone(),
                index: index.to_owned(),
                mode,
                embeddings: metering.embeddings,
                answers: metering.answers,
            };
            Process::part("server", &config)
        };
        let servers = (0..SERVERS).map(server).collect::<Result<_>>()?;
        Ok(Self {
            provider,
            servers,
            daemons,
            redis,
        })
    }

    /// Where the servers are.
    pub fn servers(&self) -> Vec<String> {
        let servers = self.servers.iter();
        servers.map(|server| server.address.clone()).collect()
    }

    /// What the provider has counted so far.
    pub async fn ledgers(&self) -> Result<Ledgers> {
        let caller = Caller::new("auditor");
        Ok(caller.get(&self.provider.address, "/ledger").await?)
    }

    /// Processor time used so far.
    pub fn cpu(&self) -> Result<Cpu> {
        let sum = |processes: &[Process]| processes.iter().map(Process::cpu).sum::<Result<_>>();
        Ok(Cpu {
            servers: sum(&self.servers)?,
            daemons: sum(&self.daemons)?,
            redis: self
                .redis
                .as_ref()
                .map_or(Ok(Duration::ZERO), Process::cpu)?,
            provider: self.provider.cpu()?,
        })
    }
}

impl Cpu {
    /// What was used since an earlier look.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            servers: self.servers.saturating_sub(earlier.servers),
            daemons: self.daemons.saturating_sub(earlier.daemons),
            redis: self.redis.saturating_sub(earlier.redis),
            provider: self.provider.saturating_sub(earlier.provider),
        }
    }

    /// All of it.
    pub fn total(self) -> Duration {
        self.servers + self.daemons + self.redis + self.provider
    }
}

/// Variables of a daemon that shares everything on this Redis.
fn shared(redis: &Process) -> Vec<(&'static str, String)> {
    let port = redis.address.rsplit(':').next().unwrap_or_default();
    vec![
        ("USE_DISTRIBUTED", "true".into()),
        ("REDIS_PORT", port.into()),
        // A busy machine is no dead store.
        ("TRELLIS_REDIS__STORE_TIMEOUT", "5s".into()),
        ("TRELLIS_REDIS__DEATH_AFTER", "20s".into()),
    ]
}

/// One daemon for each server.
fn daemons(variables: &[(&str, String)]) -> Result<Vec<Process>> {
    (0..SERVERS).map(|_| Process::daemon(variables)).collect()
}

/// Builds the index of this project's documents by a provider of its own, and writes it to a file. Returns
/// the number of chunks and what the provider counted.
pub async fn build_index(metering: Metering, file: &Path) -> Result<(usize, Ledgers)> {
    let provider = Process::part("provider", &metering)?;
    let caller = Caller::new("index");
    let mut index = Index::default();
    for path in documents()? {
        index.chunks.extend(chunks(&std::fs::read_to_string(path)?));
    }
    for batch in index.chunks.chunks(INDEX_BATCH) {
        let request = EmbedRequest {
            inputs: batch.to_vec(),
        };
        let answer: EmbedResponse = caller
            .post(&provider.address, "/embeddings", &request)
            .await?;
        index.embeddings.extend(answer.embeddings);
    }
    let whole = index.embeddings.iter().all(|of| of.len() == DIMENSIONS);
    if !whole || index.embeddings.len() != index.chunks.len() {
        return Err("the provider embedded something else than was asked".into());
    }
    std::fs::write(file, serde_json::to_vec(&index)?)?;
    let ledgers = caller.get(&provider.address, "/ledger").await?;
    Ok((index.chunks.len(), ledgers))
}
