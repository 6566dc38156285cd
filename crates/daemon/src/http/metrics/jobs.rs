//! The metrics of jobs.

use super::figures::{count, counter, family, gauges};
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::fmt;
use std::time::Duration;
use trellis_core::jobs::{JobState, JobsStatus, PICKUP_BOUNDS, Pickups};

/// What jobs are at now, and what happened since the start.
pub(super) fn encode(encoder: &mut DescriptorEncoder, status: &JobsStatus) -> fmt::Result {
    let figures = [
        (
            "queues",
            "Queues that have jobs or were set.",
            count(status.queues),
        ),
        (
            "reserving",
            "Calls and streams of workers that wait for jobs.",
            count(status.reserving),
        ),
        (
            "waiting",
            "Calls that wait for jobs to end.",
            count(status.waiting),
        ),
        (
            "held_bytes",
            "Bytes of payloads, checkpoints and results in memory.",
            count(status.held_bytes),
        ),
        (
            "log_failed",
            "1 while jobs of a partition cannot be changed before a restart, else 0.",
            u64::from(status.failure.is_some()),
        ),
    ];
    gauges(encoder, "trellis_jobs", figures)?;
    let help = "Jobs by what they are at; those that have ended, while they are kept.";
    let mut kept = encoder.encode_descriptor("trellis_jobs_kept", help, None, MetricType::Gauge)?;
    for state in JobState::ALL {
        let label = [("state", name(state))];
        kept.encode_family(&label)?
            .encode_gauge(&status.count(state))?;
    }
    let counters = [
        ("submitted", "Jobs taken in.", status.submitted),
        ("attempts", "Attempts begun.", status.attempts),
        (
            "attempts_lost",
            "Attempts whose worker was lost.",
            status.lost,
        ),
    ];
    for (noun, help, value) in counters {
        counter(encoder, &format!("trellis_jobs_{noun}"), help, value)?;
    }
    let ends = JobState::ALL.into_iter().zip(status.ended);
    let ends = ends.filter(|(state, _)| state.is_ended());
    family(
        encoder,
        "trellis_jobs_ended",
        "Jobs that have ended, by how.",
        "outcome",
        ends.map(|(state, ended)| (name(state), ended)),
    )?;
    pickups(encoder, &status.pickups)
}

fn pickups(encoder: &mut DescriptorEncoder, pickups: &Pickups) -> fmt::Result {
    let seconds = |bound: trellis_core::Micros| Duration::from(bound).as_secs_f64();
    let below: u64 = pickups.counts.iter().sum();
    let bounds = PICKUP_BOUNDS.into_iter().map(seconds);
    let mut buckets: Vec<(f64, u64)> = bounds.zip(pickups.counts).collect();
    buckets.push((f64::INFINITY, pickups.count.saturating_sub(below)));
    let help = "From the submission of jobs that were ready at once until a worker had them first.";
    encoder
        .encode_descriptor(
            "trellis_jobs_pickup_seconds",
            help,
            None,
            MetricType::Histogram,
        )?
        .encode_histogram::<NoLabelSet>(seconds(pickups.sum), pickups.count, &buckets, None)
}

fn name(state: JobState) -> &'static str {
    match state {
        JobState::Delayed => "delayed",
        JobState::Ready => "ready",
        JobState::Running => "running",
        JobState::Succeeded => "succeeded",
        JobState::Failed => "failed",
        JobState::Dead => "dead",
        JobState::Cancelled => "cancelled",
        JobState::Expired => "expired",
        JobState::Replaced => "replaced",
    }
}
