//! Rules that bind settings to each other or to what this version can do.

use super::Settings;
use super::effective::Effective;
use super::error::Problem;
use std::net::SocketAddr;

/// Everything the settings break.
pub(super) fn broken(settings: &Settings, effective: &Effective) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse = |broken: bool, key: &str, allowed: &str| {
        if broken {
            problems.push(effective.problem(key, allowed));
        }
    };
    for (key, address) in [
        ("listen", settings.listen),
        ("http_listen", settings.http_listen),
    ] {
        refuse(
            !settings.insecure && !is_loopback(address),
            key,
            "must be a loopback address such as 127.0.0.1 or [::1], since callers are not \
             authenticated; --insecure (insecure = true, TRELLIS_INSECURE=true) allows any",
        );
    }
    refuse(
        settings.listen == settings.http_listen && settings.listen.port() != 0,
        "http_listen",
        "must differ from listen",
    );
    refuse(
        settings.limits.default_reservation_ttl > settings.limits.max_reservation_ttl,
        "limits.default_reservation_ttl",
        "must be at most limits.max_reservation_ttl",
    );
    refuse(
        settings.use_distributed,
        "use_distributed",
        "distributed mode is not built yet; unset USE_DISTRIBUTED to run embedded",
    );
    refuse(
        !settings.data_dir.is_empty(),
        "data_dir",
        "state on disk is not built yet; unset TRELLIS_DATA_DIR to keep state in memory",
    );
    problems
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}
