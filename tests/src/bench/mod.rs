//! What the benchmarks share: servers on a core of their own, alternating rounds, and the table of ratios.
//!
//! Each comparison alternates its sides over [`ROUNDS`](rounds::ROUNDS) rounds; a figure is the median over the
//! rounds, a ratio the median of the ratios within the rounds, with its spread.
//!
//! CPU per call is the time that the server's threads ran, from the scheduler's own count: it is the
//! figure least troubled by other load on the machine. Needs Linux.

pub mod echo;
pub mod process;
pub mod rounds;
pub mod table;

use process::Pinning;
use table::say;

/// What fails ends the benchmark, with its reason.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What a benchmark's program does: measures the parts that are asked for, or all, or is the bare echo.
pub fn main(
    parts: &[&'static str],
    echo: fn() -> Result<()>,
    measure: impl AsyncFnOnce(Pinning, &[&'static str]) -> Result<()>,
) -> Result<()> {
    match asked(parts) {
        Asked::Echo => echo(),
        Asked::Nothing => Ok(()),
        Asked::Parts(pinning, parts) => run(measure(pinning, &parts)),
    }
}

/// What the command line asks for.
enum Asked {
    /// This program is the bare echo.
    Echo,
    /// Nothing is measured: it was not run as a benchmark.
    Nothing,
    /// These parts, in their order.
    Parts(Pinning, Vec<&'static str>),
}

/// Reads the command line: the names of parts, or none for all. Pins this process when it is to measure.
fn asked(parts: &[&'static str]) -> Asked {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if has(echo::ARGUMENT) {
        return Asked::Echo;
    }
    if !has("--bench") {
        say("this program measures only under `cargo bench`");
        return Asked::Nothing;
    }
    let named: Vec<_> = parts.iter().copied().filter(|part| has(part)).collect();
    let parts = if named.is_empty() {
        parts.to_vec()
    } else {
        named
    };
    Asked::Parts(Pinning::apply(), parts)
}

/// Runs the load generator on one thread, so that the same core sends all load.
fn run(load: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(load)
}
