//! Where log lines go: stderr, as text or JSON, filtered by the configuration.

use crate::config::{Config, LogFormat};
use std::io::{IsTerminal as _, stderr};
use tracing_subscriber::EnvFilter;

/// Sends the process's log lines to stderr. Does nothing when the process logs already.
pub fn start_logging(config: &Config) {
    let log = &config.settings.log;
    // Checked with the configuration; the fallback logs everything from INFO up.
    let filter = EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal());
    // An error means that the process has a subscriber already, which is then the embedder's choice.
    let _ = match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
}
