//! `just scenario`: what servers gain that share a quota and a cache, measured.
//!
//! Three RAG servers answer questions about this project's own documents with the help of a metered
//! provider: they embed the question, find the nearest chunks, and have an answer written. A crowd asks in
//! bursts. The program starts every process (provider, servers, daemons, Redis) on the loopback, measures
//! one column after the other from a cold start, and prints them beside the guide's table.
//!
//! `--short` takes seconds and checks that everything works together; its figures say little.
//!
//! Files: `workload` what is asked, `load` the crowd, `provider` and `server` the two kinds of processes,
//! `stage` and `process` their life, `figures` what is measured, `report` what is printed.

mod calling;
mod figures;
mod load;
mod process;
mod provider;
mod random;
mod report;
mod server;
mod serving;
mod stage;
mod wire;
mod workload;

use clap::{Parser, Subcommand};
use stage::{Column, Metering};
use std::time::Duration;
use workload::Workload;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// How long questions come in the short form.
const SHORT: Duration = Duration::from_secs(6);

/// Measures what servers gain that share a quota and a cache.
#[derive(Debug, Parser)]
#[command(name = "scenario")]
struct Arguments {
    /// Seconds instead of minutes, and one seed: checks that everything works together.
    #[arg(long)]
    short: bool,
    /// Measures this column only; may be repeated.
    #[arg(long, value_name = "NAME")]
    column: Vec<String>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What the program starts itself as.
#[derive(Debug, Subcommand)]
enum Part {
    #[command(hide = true)]
    Provider { config: String },
    #[command(hide = true)]
    Server { config: String },
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.part {
        Some(Part::Provider { config }) => {
            let Metering {
                embeddings,
                answers,
            } = serde_json::from_str(config)?;
            provider::serve(embeddings, answers).await
        }
        Some(Part::Server { config }) => server::serve(serde_json::from_str(config)?).await,
        None => tokio::select! {
            measured = measure(&arguments) => measured,
            // Everything that was started ends with what is dropped here.
            _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
        },
    }
}

async fn measure(arguments: &Arguments) -> Result<()> {
    let workload = Workload::read()?;
    let metering = Metering {
        embeddings: workload.embeddings,
        answers: workload.answers,
    };
    let columns = columns(&arguments.column)?;
    let directory = tempfile::tempdir()?;
    let index = directory.path().join("index.json");
    let (chunks, ledgers) = stage::build_index(metering, &index).await?;
    report::index(chunks, &ledgers)?;
    let seeds = if arguments.short {
        &workload.seeds[..1]
    } else {
        &workload.seeds
    };
    let mut all = Vec::new();
    for seed in seeds {
        let mut arrivals = workload.arrivals(*seed, workload.minutes)?;
        if arguments.short {
            arrivals.retain(|arrival| arrival.at < SHORT);
        }
        report::arrivals(*seed, &arrivals)?;
        for column in &columns {
            let figures = figures::measure(*column, metering, &index, &arrivals, *seed).await?;
            report::run(&figures)?;
            all.push(figures);
        }
    }
    report::table(&workload, &columns, &all)
}

/// The columns of these names, or all.
fn columns(names: &[String]) -> Result<Vec<Column>> {
    let all = [Column::Alone];
    let known = all.map(Column::name);
    if let Some(other) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("no column {other:?}: {}", known.join(", ")).into());
    }
    let wanted =
        |column: &Column| names.is_empty() || names.iter().any(|name| name == column.name());
    Ok(all.into_iter().filter(wanted).collect())
}
