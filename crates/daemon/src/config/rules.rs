//! Rules that bind settings to each other or to what this version can do.

use super::Settings;
use super::effective::Effective;
use super::error::Problem;
use super::store;
use std::net::SocketAddr;

/// The most bytes of a `BatchAcquireResponse`. Most clients refuse a message above 4 MiB; the rest is
/// for what is not reckoned here, such as the text of a reason.
const MAX_BATCH_ANSWER_BYTES: usize = 3_584 * 1_024;
/// What one charge adds to such an answer at most. A system test measures all three.
const CHARGE_ANSWER_BYTES: usize = 84;
/// What one item adds beside its charges.
const ITEM_ANSWER_BYTES: usize = 120;
/// What an item adds that is an error.
const ERROR_ANSWER_BYTES: usize = 704;

/// Everything the settings break. A rule about a setting that is refused already says nothing.
pub(super) fn broken(settings: &Settings, effective: &Effective) -> Vec<Problem> {
    let mut problems = Vec::new();
    // The first key is the one to blame.
    let mut refuse = |broken: bool, keys: &[&str], allowed: &str| {
        if broken && !keys.iter().any(|key| effective.is_refused(key)) {
            problems.push(effective.problem(keys[0], allowed));
        }
    };
    for (key, address) in [
        ("listen", settings.listen),
        ("http_listen", settings.http_listen),
    ] {
        refuse(
            !settings.insecure && !is_loopback(address),
            &[key, "insecure"],
            "must be a loopback address such as 127.0.0.1 or [::1], since callers are not \
             authenticated; --insecure (insecure = true, TRELLIS_INSECURE=true) allows any",
        );
    }
    refuse(
        settings.listen == settings.http_listen && settings.listen.port() != 0,
        &["http_listen", "listen"],
        "must differ from listen",
    );
    refuse(
        settings.limits.default_reservation_ttl > settings.limits.max_reservation_ttl,
        &[
            "limits.default_reservation_ttl",
            "limits.max_reservation_ttl",
        ],
        "must be at most limits.max_reservation_ttl",
    );
    for (keys, allowed) in settings.cache.broken() {
        refuse(true, &keys, allowed);
    }
    refuse(
        settings.locks.default_ttl > settings.locks.max_ttl,
        &["locks.default_ttl", "locks.max_ttl"],
        "must be at most locks.max_ttl",
    );
    let largest = largest_batch(settings.limits.max_charges);
    let charges = effective.problem("limits.max_charges", "");
    refuse(
        settings.limits.max_batch > largest,
        &["limits.max_batch", "limits.max_charges"],
        &format!(
            "must be at most {largest} with {} = {} ({}): the answer to a batch must fit the 4 MiB \
             that clients accept",
            charges.setting, settings.limits.max_charges, charges.origin
        ),
    );
    if settings.use_distributed {
        problems.extend(store::broken(settings, effective));
    }
    problems
}

/// The most items of a batch whose answer is small enough for every client.
fn largest_batch(max_charges: usize) -> usize {
    let item = ITEM_ANSWER_BYTES + max_charges * CHARGE_ANSWER_BYTES;
    MAX_BATCH_ANSWER_BYTES / item.max(ERROR_ANSWER_BYTES)
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}
