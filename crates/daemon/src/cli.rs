//! The command line of `trellisd`.

use clap::Parser;
use std::collections::BTreeMap;
use std::path::PathBuf;
use trellis_daemon::Sources;

const SETTINGS_HELP: &str = "\
Settings, strongest last: defaults; trellis.toml in the working directory, or --config FILE; ./.env;
the environment; these flags. Each setting has a variable, TRELLIS_ and its name in capitals with __
for the dot, such as TRELLIS_GRPC__MAX_CALLS for grpc.max_calls; USE_DISTRIBUTED, KAFKA_* and of REDIS_*
HOST, PORT, DB, USERNAME, PASSWORD, URL, KEY_PREFIX go by their usual names as well. An empty variable counts as not set.
`trellisd --dump-config` prints every setting with its meaning, default and bounds.

Exit codes: 0 ended cleanly; 1 could not serve, a fault, or calls were cut while ending; 2 a bad setting.
SIGTERM or SIGINT ends the daemon in order, a second one at once.";

/// The Trellis daemon: quotas that services in any language share over gRPC.
#[derive(Debug, Parser)]
#[command(name = "trellisd", version, after_help = SETTINGS_HELP)]
pub(crate) struct Cli {
    /// Read this file instead of ./trellis.toml; it must exist.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where gRPC is served [default: 127.0.0.1:7117]; port 0 takes a free one, which the log tells.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where /metrics, /healthz and /readyz are served [default: 127.0.0.1:7118].
    #[arg(long, value_name = "ADDRESS")]
    http_listen: Option<String>,
    /// Serve on addresses that are not loopback, without authentication or encryption.
    #[arg(long)]
    insecure: bool,
    /// How log lines are written: text or json [default: text].
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// What is logged: off, error, warn, info, debug, trace, or a filter by module [default: info].
    #[arg(long, value_name = "FILTER")]
    log_level: Option<String>,
    /// Print the settings in force as a trellis.toml, secrets left out, and end.
    #[arg(long)]
    pub dump_config: bool,
    /// Check the settings and end.
    #[arg(long)]
    pub check_config: bool,
}

impl Cli {
    /// Where the settings of this process come from.
    pub(crate) fn sources(&self) -> Sources {
        let insecure = self.insecure.then(|| "true".to_owned());
        let flags = [
            ("listen", self.listen.clone()),
            ("http_listen", self.http_listen.clone()),
            ("insecure", insecure),
            ("log.format", self.log_format.clone()),
            ("log.level", self.log_level.clone()),
        ];
        let given = flags
            .into_iter()
            .filter_map(|(key, text)| Some((key, text?)));
        Sources {
            directory: PathBuf::new(),
            config: self.config.clone(),
            environment: environment(),
            flags: given.collect(),
        }
    }
}

/// The process's environment. What is not UTF-8 is no setting's name, and as a value it is refused by
/// the setting's check or, in free text, shows replacement characters.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, text)| {
            let name = name.into_string().ok()?;
            Some((name, text.to_string_lossy().into_owned()))
        })
        .collect()
}
