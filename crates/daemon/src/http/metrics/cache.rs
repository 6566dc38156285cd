//! The cache's metrics.

use super::figures::{count, counter, family, gauges};
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt;
use trellis_core::cache::{CacheStatus, Ledger, NearReset, NearStatus};

/// Figures of all namespaces together.
pub(super) fn encode(encoder: &mut DescriptorEncoder, status: &CacheStatus) -> fmt::Result {
    let kept = &status.stats;
    let ledger = &kept.ledger;
    let figures = [
        ("namespaces", "Namespaces in use.", count(status.namespaces)),
        ("entries", "Entries kept.", kept.entries),
        ("bytes", "Bytes of the entries kept.", kept.bytes),
        ("leases", "Keys being computed.", count(kept.leases)),
        (
            "waiters",
            "Calls waiting for a computation.",
            count(kept.waiters),
        ),
        (
            "journalled",
            "Keys, tags and namespaces that the shared store is still to forget.",
            count(status.journalled),
        ),
    ];
    gauges(encoder, "trellis_cache", figures)?;
    let answers = [
        ("hit", ledger.hits),
        ("stale", ledger.stale_hits),
        ("negative", ledger.negative_hits),
        ("coalesced", ledger.coalesced),
        ("miss", ledger.misses),
        ("failed", ledger.failed),
    ];
    family(
        encoder,
        "trellis_cache_answers",
        "Keys answered.",
        "source",
        answers,
    )?;
    let writes = [
        ("set", ledger.sets),
        ("fill", ledger.fills),
        ("fill_refused", ledger.fills_refused),
    ];
    family(
        encoder,
        "trellis_cache_writes",
        "Values written, or refused as too late.",
        "kind",
        writes,
    )?;
    saved(encoder, ledger)?;
    store(encoder, status)?;
    near(encoder, &status.near)
}

/// This daemon's copies of the shared store.
fn near(encoder: &mut DescriptorEncoder, near: &NearStatus) -> fmt::Result {
    let figures = [
        (
            "serving",
            "1 while the shared store tells this daemon of changes, so that near copies are served.",
            u64::from(near.serving),
        ),
        ("entries", "Near copies kept.", near.entries),
        ("bytes", "Bytes of the near copies kept.", near.bytes),
    ];
    gauges(encoder, "trellis_cache_near", figures)?;
    for (noun, help, count) in [
        ("hits", "Keys answered from a near copy.", near.hits),
        (
            "misses",
            "Keys looked up in vain among near copies.",
            near.misses,
        ),
        (
            "invalidations",
            "Changes of entries and clears that the shared store told of.",
            near.invalidations,
        ),
        (
            "evictions",
            "Near copies thrown out for want of room.",
            near.evictions,
        ),
    ] {
        counter(encoder, &format!("trellis_cache_near_{noun}"), help, count)?;
    }
    let resets = NearReset::ALL.iter().zip(near.resets);
    let resets = resets.map(|((_, reason), count)| (*reason, count));
    family(
        encoder,
        "trellis_cache_near_resets",
        "How often all near copies were given up.",
        "reason",
        resets,
    )
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
        counter(encoder, &format!("trellis_cache_{noun}"), help, count)?;
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
        family(encoder, &format!("trellis_cache_{noun}"), help, "by", by)?;
    }
    Ok(())
}
