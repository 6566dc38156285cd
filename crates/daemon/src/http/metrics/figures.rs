//! Single figures and families of counts, as Prometheus has them.

use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::fmt;

/// A figure that goes up and down.
pub(super) fn gauge(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    value: impl EncodeGaugeValue + Copy,
) -> fmt::Result {
    encoder
        .encode_descriptor(name, help, None, MetricType::Gauge)?
        .encode_gauge(&value)
}

/// Figures of one thing, each by its noun.
pub(super) fn gauges<'a>(
    encoder: &mut DescriptorEncoder,
    thing: &str,
    figures: impl IntoIterator<Item = (&'a str, &'a str, u64)>,
) -> fmt::Result {
    for (noun, help, value) in figures {
        gauge(encoder, &format!("{thing}_{noun}"), help, value)?;
    }
    Ok(())
}

/// A count since the start; the encoder adds `_total` to the name.
pub(super) fn counter(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    count: u64,
) -> fmt::Result {
    encoder
        .encode_descriptor(name, help, None, MetricType::Counter)?
        .encode_counter::<NoLabelSet, _, f64>(&count, None)
}

/// Counts since the start, by the values of a label.
pub(super) fn family<'a>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    label: &str,
    counts: impl IntoIterator<Item = (&'a str, u64)>,
) -> fmt::Result {
    let mut counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, count) in counts {
        counter
            .encode_family(&[(label, value)])?
            .encode_counter::<NoLabelSet, _, f64>(&count, None)?;
    }
    Ok(())
}

/// A count of things in memory as a gauge has it.
pub(super) fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
