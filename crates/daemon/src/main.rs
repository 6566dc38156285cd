//! `trellisd`: settings, logging, ports, the daemon, an exit code.

mod cli;
mod signals;

use clap::Parser as _;
use cli::Cli;
use signals::Signals;
use std::error::Error;
use std::io::{self, Write as _};
use std::num::NonZero;
use std::process::ExitCode;
use std::thread::available_parallelism;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use trellis_daemon::{Config, Listeners, RunError, run, start_logging};

/// Jobs cost a fifth less with it than with glibc's, and an idle limit a tenth less memory. A batch's large buffers stay, too,
/// where glibc gives them back to the system after each call and faults them in again with the next.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const FAILED: u8 = 1;
const BAD_SETTING: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return explain(&usage),
    };
    let config = match Config::load(&cli.sources()) {
        Ok(config) => config,
        Err(error) => return fail(&error, BAD_SETTING),
    };
    if cli.dump_config {
        return print(&config.to_toml());
    }
    if cli.check_config {
        return print("the configuration is valid\n");
    }
    start_logging(&config);
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let bad_setting = error
                .downcast_ref::<RunError>()
                .is_some_and(RunError::is_bad_setting);
            fail(&*error, if bad_setting { BAD_SETTING } else { FAILED })
        }
    }
}

fn serve(config: Config) -> Result<(), Box<dyn Error>> {
    let runtime = runtime(&config)?;
    let ended = runtime.block_on(serve_until_signalled(config));
    // Whatever was cut must not hold the process.
    runtime.shutdown_background();
    ended
}

/// As many threads as there are cores, or as is set. A single one has nobody to hand work to, and does not look for anybody.
fn runtime(config: &Config) -> io::Result<Runtime> {
    let workers = match config.workers() {
        Some(workers) => workers,
        None => available_parallelism().map_or(1, NonZero::get),
    };
    let mut runtime = match workers {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    runtime.worker_threads(workers);
    runtime.enable_all().thread_name("trellisd").build()
}

async fn serve_until_signalled(config: Config) -> Result<(), Box<dyn Error>> {
    let signals = Signals::take_over()?;
    let listeners = Listeners::bind(&config).await?;
    let shutdown = CancellationToken::new();
    tokio::select! {
        ended = run(config, listeners, shutdown.cancelled()) => Ok(ended?),
        () = signals.first_then_second(shutdown.clone()) => Err("cut by a second signal".into()),
    }
}

/// Prints usage, help or version.
fn explain(usage: &clap::Error) -> ExitCode {
    let _ = usage.print();
    if usage.use_stderr() {
        ExitCode::from(BAD_SETTING)
    } else {
        ExitCode::SUCCESS
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, FAILED),
    }
}

fn fail(error: &dyn Error, code: u8) -> ExitCode {
    // A closed stderr leaves the exit code to tell.
    let _ = writeln!(io::stderr(), "trellisd: {error}");
    ExitCode::from(code)
}
