//! What is printed: Markdown, so that it can be kept as it is.

use crate::Result;
use crate::figures::Figures;
use crate::shows::Shares;
use crate::stage::Column;
use crate::targets::targets;
use crate::wire::Ledgers;
use crate::workload::{Arrival, Workload, digest, distinct};
use std::io::Write as _;
use std::time::Duration;

/// Prints a line.
fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// What building the index took.
pub fn index(chunks: usize, ledgers: &Ledgers) -> Result<()> {
    let total = ledgers.embeddings.total();
    say(&format!(
        "index: {chunks} chunks of this project's documents, {} embedding calls, {} tokens, ${:.6}; not counted below",
        total.calls,
        total.input_tokens,
        crate::figures::ratio(total.nano_dollars, 1_000_000_000),
    ))
}

/// What is asked with a seed.
pub fn arrivals(seed: u64, arrivals: &[Arrival]) -> Result<()> {
    say(&format!(
        "seed {seed}: {} requests, {} different questions, digest {:016x}",
        arrivals.len(),
        distinct(arrivals),
        digest(arrivals),
    ))
}

/// What one text costs at three servers.
pub fn hello(column: Column, calls: u64) -> Result<()> {
    let name = column.name();
    say(&format!(
        "\"Hello\" at three servers at once, {name}: {calls} embedding calls"
    ))
}

/// Why a column is left out.
pub fn not_shared() -> Result<()> {
    say("the daemons of this build do not share their cache: the column \"sharing\" is left out")
}

/// How one limit is divided.
pub fn shares(period: Duration, shares: &Shares) -> Result<()> {
    let lines = shares
        .periods
        .iter()
        .map(|[one, two, three]| format!("{one}/{two}/{three} = {}", one + two + three));
    let lines: Vec<_> = lines.collect();
    say(&format!(
        "a limit of {} in {} s, three servers that want more: {} in successive periods (in the first, whoever came \
         first); refused by the provider: {}",
        crate::shows::LIMIT,
        period.as_secs(),
        lines.join(", "),
        shares.refused,
    ))
}

/// One run.
pub fn run(column: Column, figures: &Figures) -> Result<()> {
    say(&format!(
        "  {:<11} mean {:>6.1} ms  hits {:>5.1} %  answer calls {:>6.1}/min  violations {:>5.1}/min  failed {}  \
         (others used {:.1} cores){}",
        column.name(),
        figures.mean_ms(),
        100.0 * figures.answers_from.share_saved(),
        figures.per_minute(figures.answers.calls),
        figures.violations(),
        figures.failed.0,
        figures.other_cpu.as_secs_f64() / figures.elapsed.as_secs_f64(),
        figures
            .failed
            .1
            .as_deref()
            .map(|why| format!(": {why}"))
            .unwrap_or_default(),
    ))
}

/// One row: its name, the guide's two figures, and ours.
struct Row {
    name: &'static str,
    guide: [&'static str; 2],
    figure: fn(&Figures) -> f64,
    show: fn(f64) -> String,
}

const ROWS: &[Row] = &[
    Row {
        name: "mean response",
        guide: ["250 ms", "180 ms"],
        figure: Figures::mean_ms,
        show: ms,
    },
    Row {
        name: "p50",
        guide: ["", ""],
        figure: |of| of.percentile_ms(50.0),
        show: ms,
    },
    Row {
        name: "p90",
        guide: ["", ""],
        figure: |of| of.percentile_ms(90.0),
        show: ms,
    },
    Row {
        name: "p99",
        guide: ["", ""],
        figure: |of| of.percentile_ms(99.0),
        show: ms,
    },
    Row {
        name: "slowest",
        guide: ["", ""],
        figure: |of| of.percentile_ms(100.0),
        show: ms,
    },
    Row {
        name: "cache hits (answers)",
        guide: ["10 %", "85 %"],
        figure: |of| 100.0 * of.answers_from.share_saved(),
        show: percent,
    },
    Row {
        name: "… of them waited for another's call",
        guide: ["", ""],
        figure: |of| 100.0 * coalesced(of),
        show: percent,
    },
    Row {
        name: "cache hits (embeddings)",
        guide: ["", ""],
        figure: |of| 100.0 * of.embeddings_from.share_saved(),
        show: percent,
    },
    Row {
        name: "answer calls a minute",
        guide: ["900", "150"],
        figure: |of| of.per_minute(of.answers.calls),
        show: count,
    },
    Row {
        name: "embedding calls a minute",
        guide: ["", ""],
        figure: |of| of.per_minute(of.embeddings.calls),
        show: count,
    },
    Row {
        name: "rate-limit violations a minute",
        guide: ["50", "0"],
        figure: Figures::violations,
        show: count,
    },
    Row {
        name: "requests without an answer",
        guide: ["", ""],
        figure: |of| crate::figures::ratio(of.failed.0, 1),
        show: count,
    },
    Row {
        name: "server CPU, of one core",
        guide: ["80 %", "45 %"],
        figure: Figures::server_cpu_percent,
        show: percent,
    },
    Row {
        name: "… with its daemon and its part of Redis",
        guide: ["", ""],
        figure: Figures::whole_cpu_percent,
        show: percent,
    },
    Row {
        name: "answers cost a day",
        guide: ["$100", "$17"],
        figure: Figures::answer_dollars_a_day,
        show: dollars,
    },
    Row {
        name: "embeddings cost a day",
        guide: ["", ""],
        figure: Figures::embedding_dollars_a_day,
        show: dollars,
    },
];

fn coalesced(figures: &Figures) -> f64 {
    let from = figures.answers_from;
    crate::figures::ratio(from.coalesced, from.computed + from.hit + from.coalesced)
}

fn ms(value: f64) -> String {
    format!("{value:.0} ms")
}

fn percent(value: f64) -> String {
    format!("{value:.1} %")
}

fn count(value: f64) -> String {
    format!("{value:.0}")
}

fn dollars(value: f64) -> String {
    format!("${value:.2}")
}

/// The guide's table beside the measured one: means over the seeds, with the lowest and the highest.
pub fn table(workload: &Workload, columns: &[Column], all: &[(Column, Figures)]) -> Result<()> {
    say("")?;
    let names: Vec<_> = columns.iter().map(|column| column.name()).collect();
    say(&format!(
        "| | guide: alone | guide: sharing | {} |",
        names.join(" | ")
    ))?;
    say(&format!("|---|---|---|{}", "---|".repeat(columns.len())))?;
    for row in ROWS {
        let cells: Vec<_> = columns
            .iter()
            .map(|column| cell(row, *column, all))
            .collect();
        let [alone, sharing] = row.guide;
        say(&format!(
            "| {} | {alone} | {sharing} | {} |",
            row.name,
            cells.join(" | ")
        ))?;
    }
    say("")?;
    for target in targets(all) {
        let met = if target.met { "met" } else { "MISSED" };
        say(&format!("- {}: {met}, {}", target.says, target.measured))?;
    }
    say("")?;
    say(&words(workload))
}

fn cell(row: &Row, column: Column, all: &[(Column, Figures)]) -> String {
    let values: Vec<f64> = all
        .iter()
        .filter(|(of, _)| *of == column)
        .map(|(_, figures)| (row.figure)(figures))
        .collect();
    let mean = values.iter().sum::<f64>() / crate::figures::ratio(values.len() as u64, 1);
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (mean, least, most) = ((row.show)(mean), (row.show)(least), (row.show)(most));
    if least == most {
        mean
    } else {
        format!("{mean} ({least}-{most})")
    }
}

/// The workload in words.
fn words(workload: &Workload) -> String {
    let Workload {
        trends,
        embeddings,
        answers,
        ..
    } = workload;
    format!(
        "The workload: {} requests in each minute, open loop, for {} minutes from a cold start. Every question is asked \
         by {} to {} people, the first at a moment drawn evenly, the others within {} ms; no question comes again later. \
         Requests go to the three servers in turn. A latency counts from the moment at which the question was to be \
         asked. The provider admits {} embedding calls and {} answer calls in any second and answers all others with \
         429; an embedding takes about {} ms, an answer about {} ms and {:.1} ms per token.",
        workload.requests_per_minute,
        workload.minutes,
        trends.copies_min,
        trends.copies_max,
        trends.spread_ms,
        embeddings.limit,
        answers.limit,
        embeddings.latency_ms,
        answers.latency_ms,
        f64::from(answers.latency_us_per_output_token) / 1000.0,
    )
}
