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
//! `stage` and `process` their life, `figures` what is measured, `shows` two
//! properties that need no table, `targets` what sharing is to reach, `report` what is printed.

mod calling;
mod figures;
mod load;
mod process;
mod provider;
mod random;
mod report;
mod server;
mod serving;
mod shows;
mod stage;
mod targets;
mod wire;
mod workload;

use clap::{Parser, Subcommand, ValueEnum};
use stage::{Column, Metering, Stage};
use std::time::Duration;
use workload::Workload;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// How long questions come in the short form.
const SHORT: Duration = Duration::from_secs(6);

/// The period of the limit that three servers divide, and in the short form.
const MINUTE: Duration = Duration::from_mins(1);
const SHORT_PERIOD: Duration = Duration::from_secs(2);

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
    /// Measures with this seed instead of those of the file; may be repeated.
    #[arg(long, value_name = "NUMBER")]
    seed: Vec<u64>,
    /// Shows one property instead: `shares`, how one limit is divided; `hello`, what one text costs.
    #[arg(long, value_name = "NAME")]
    show: Option<Show>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// A property that needs no table.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Show {
    Shares,
    Hello,
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
    let mut columns = columns(&arguments.column)?;
    let directory = tempfile::tempdir()?;
    let index = directory.path().join("index.json");
    let (chunks, ledgers) = stage::build_index(metering, &index).await?;
    report::index(chunks, &ledgers)?;
    for column in columns.clone() {
        let calls = shows::hello(column, metering, &index).await?;
        report::hello(column, calls)?;
        // What is not shared must not be called sharing.
        if column == Column::Sharing && calls != 1 {
            report::not_shared()?;
            columns.retain(|column| *column != Column::Sharing);
        }
    }
    if !matches!(arguments.show, Some(Show::Hello)) {
        let period = if arguments.short {
            SHORT_PERIOD
        } else {
            MINUTE
        };
        report::shares(period, &shows::shares(metering, period, &index).await?)?;
    }
    if arguments.show.is_some() {
        return Ok(());
    }
    let (seeds, span) = match (&arguments.seed[..], arguments.short) {
        ([], false) => (&workload.seeds[..], MINUTE * workload.minutes),
        ([], true) => (&workload.seeds[..1], SHORT),
        (seeds, false) => (seeds, MINUTE * workload.minutes),
        (seeds, true) => (seeds, SHORT),
    };
    let mut all = Vec::new();
    for seed in seeds {
        let mut arrivals = workload.arrivals(*seed, workload.minutes)?;
        arrivals.retain(|arrival| arrival.at < span);
        report::arrivals(*seed, &arrivals)?;
        for column in &columns {
            let stage = Stage::start(*column, metering, &index)?;
            let figures = figures::measure(&stage, &arrivals, span).await?;
            report::run(*column, &figures)?;
            all.push((*column, figures));
        }
    }
    report::table(&workload, &columns, &all)
}

/// The columns of these names, or all.
fn columns(names: &[String]) -> Result<Vec<Column>> {
    let all = [Column::Alone, Column::Embedded, Column::Sharing];
    let known = all.map(Column::name);
    if let Some(other) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("no column {other:?}: {}", known.join(", ")).into());
    }
    let wanted =
        |column: &Column| names.is_empty() || names.iter().any(|name| name == column.name());
    Ok(all.into_iter().filter(wanted).collect())
}
