//! The cache's metrics.

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::fmt;
use trellis_core::cache::{CacheStatus, Ledger};

/// Figures of all namespaces together.
pub(super) fn encode(encoder: &mut DescriptorEncoder, status: &CacheStatus) -> fmt::Result {
    let kept = &status.stats;
    let ledger = &kept.ledger;
    let as_count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    for (noun, help, value) in [
        (
            "namespaces",
            "Namespaces in use.",
            as_count(status.namespaces),
        ),
        ("entries", "Entries kept.", kept.entries),
        ("bytes", "Bytes of the entries kept.", kept.bytes),
        ("leases", "Keys being computed.", as_count(kept.leases)),
        (
            "waiters",
            "Calls waiting for a computation.",
            as_count(kept.waiters),
        ),
        (
            "journalled",
            "Keys, tags and namespaces that the shared store is still to forget.",
            as_count(status.journalled),
        ),
    ] {
        let name = format!("trellis_cache_{noun}");
        encoder
            .encode_descriptor(&name, help, None, MetricType::Gauge)?
            .encode_gauge(&value)?;
    }
    let answers = [
        ("hit", ledger.hits),
        ("stale", ledger.stale_hits),
        ("negative", ledger.negative_hits),
        ("coalesced", ledger.coalesced),
        ("miss", ledger.misses),
        ("failed", ledger.failed),
    ];
    family(encoder, "answers", "Keys answered.", "source", &answers)?;
    let writes = [
        ("set", ledger.sets),
        ("fill", ledger.fills),
        ("fill_refused", ledger.fills_refused),
    ];
    family(
        encoder,
        "writes",
        "Values written, or refused as too late.",
        "kind",
        &writes,
    )?;
    saved(encoder, ledger)?;
    store(encoder, status)
}

/// What befalls entries and the shared store.
fn store(encoder: &mut DescriptorEncoder, status: &CacheStatus) -> fmt::Result {
    for (noun, help, count) in [
        (
            "evictions",
            "Entries thrown out for want of room.",
            status.evictions,
        ),
        (
            "damaged",
            "Values in the shared store that could not be read; each counted as a miss.",
            status.damaged,
        ),
        (
            "outages",
            "How often this daemon has begun to cache alone because the shared store was away.",
            status.outages,
        ),
    ] {
        let name = format!("trellis_cache_{noun}");
        encoder
            .encode_descriptor(&name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, f64>(&count, None)?;
    }
    Ok(())
}

/// What hits and coalesced calls saved.
fn saved(encoder: &mut DescriptorEncoder, ledger: &Ledger) -> fmt::Result {
    let (hits, joined) = (ledger.saved_by_hits, ledger.saved_by_coalescing);
    for (noun, help, by_hits, by_coalescing) in [
        (
            "saved_calls",
            "Provider calls saved.",
            hits.calls,
            joined.calls,
        ),
        ("saved_tokens", "Tokens saved.", hits.tokens, joined.tokens),
        (
            "saved_money_micros",
            "Money saved, in millionths of the callers' currency.",
            hits.money_micros,
            joined.money_micros,
        ),
    ] {
        let count = |amount: i64| u64::try_from(amount).unwrap_or(0);
        let by = [
            ("hits", count(by_hits)),
            ("coalescing", count(by_coalescing)),
        ];
        family(encoder, noun, help, "by", &by)?;
    }
    Ok(())
}

fn family(
    encoder: &mut DescriptorEncoder,
    noun: &str,
    help: &str,
    label: &str,
    counts: &[(&str, u64)],
) -> fmt::Result {
    let name = format!("trellis_cache_{noun}");
    let mut counter = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
    for (value, count) in counts {
        counter
            .encode_family(&[(label, *value)])?
            .encode_counter::<NoLabelSet, _, f64>(count, None)?;
    }
    Ok(())
}
