//! The group `jobs`: its table, its typed values, and what becomes of them.

use super::allowed::Allowed::{Choice, Count};
use super::settings::{DAY, HOUR, MILLION, SECOND, Setting, setting, span};
use super::span::Span;
use serde::Deserialize;
use trellis_core::Micros;
use trellis_core::jobs::{JobState, Outcome};
use trellis_core::log::LogLimits;
use trellis_engine::JobsConfig;
use trellis_local::log::{DEFAULT_LIMITS, DiskLogOptions, MemoryLogOptions};
use trellis_service::JobBounds;

const MIB: u64 = 1024 * 1024;
const TIB: u64 = MIB * MIB;

/// The group `jobs`. The table below tells what each means.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct JobsSettings {
    partitions: u32,
    lease: Span,
    reattach_time: Span,
    drain_time: Span,
    max_jobs: usize,
    max_batches: usize,
    max_queues: usize,
    max_waiters: usize,
    held_bytes: u64,
    checkpoint_bytes: usize,
    max_payload_bytes: usize,
    max_chunks: u32,
    chunk_bytes: u64,
    max_batch: usize,
    max_wait: Span,
    max_streams: usize,
    max_stream_in_flight: usize,
    max_stream_bytes: usize,
    max_credit: usize,
    announce: Announced,
}

/// Which ends of jobs are told as events.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Announced {
    None,
    Failures,
    All,
}

impl JobsSettings {
    pub(super) fn engine(&self) -> JobsConfig {
        JobsConfig {
            partitions: self.partitions,
            lease: self.lease.into(),
            max_jobs: self.max_jobs,
            max_batches: self.max_batches,
            max_queues: self.max_queues,
            max_waiters: self.max_waiters,
            held_bytes: usize::try_from(self.held_bytes).unwrap_or(usize::MAX),
            max_chunks: self.max_chunks,
            chunk_bytes: self.chunk_bytes,
            checkpoint_bytes: self.checkpoint_bytes,
        }
    }

    /// Bounds on requests, in a daemon that takes so long to end.
    pub(super) fn bounds(&self, shutdown_timeout: Span) -> JobBounds {
        let half = Micros(Micros::from(shutdown_timeout).0 / 2);
        JobBounds {
            max_payload_bytes: self.max_payload_bytes,
            max_batch: self.max_batch,
            max_wait: self.max_wait.into(),
            max_streams: self.max_streams,
            max_stream_in_flight: self.max_stream_in_flight,
            max_stream_bytes: self.max_stream_bytes,
            max_credit: self.max_credit,
            lease: self.lease.into(),
            reattach_time: self.reattach_time.into(),
            drain_time: half.min(self.drain_time.into()),
        }
    }

    /// The ends that are told as events.
    pub(super) fn announced(&self) -> Vec<JobState> {
        let failures = [Outcome::Failed, Outcome::Dead, Outcome::Expired];
        match self.announce {
            Announced::None => Vec::new(),
            Announced::Failures => failures.map(JobState::from).to_vec(),
            Announced::All => {
                let states = JobState::ALL.into_iter();
                states.filter(|state| state.is_ended()).collect()
            }
        }
    }

    fn limits(&self) -> LogLimits {
        LogLimits {
            partitions: self.partitions,
            ..DEFAULT_LIMITS
        }
    }

    /// The log of a daemon that keeps nothing: jobs are held beside it, and what was read back is dropped. There is room for what is
    /// on its way at once.
    pub(super) fn memory(&self) -> MemoryLogOptions {
        let batches = 2 * u64::from(self.partitions);
        MemoryLogOptions {
            limits: self.limits(),
            max_bytes: batches * DEFAULT_LIMITS.batch_bytes as u64,
            retention: Vec::new(),
        }
    }

    /// The log in a directory, whose files are as those of events, which these options are for.
    pub(super) fn disk(&self, events: DiskLogOptions) -> DiskLogOptions {
        DiskLogOptions {
            limits: self.limits(),
            ..events
        }
    }
}

/// The table of the group.
pub(super) static JOBS: &[Setting] = &[
    setting(
        "jobs.partitions",
        "16",
        Count(1, 1_024),
        "Parts over which queues are spread; each is written and read by itself. In a `data_dir` it stays what it was at first.",
    ),
    setting(
        "jobs.lease",
        "30s",
        span(SECOND, HOUR),
        "How long a worker has a job when nothing is heard of it, unless it says otherwise; and after a start, how long the \
         workers of before have to speak.",
    ),
    setting(
        "jobs.reattach_time",
        "3s",
        span(Span::millis(100), Span::secs(60)),
        "How long a worker has its jobs when its stream has broken: it names them on a new one in that time, or they run again.",
    ),
    setting(
        "jobs.drain_time",
        "5s",
        span(Span::millis(1), HOUR),
        "How long workers may go on with the jobs they have, and finish them, when the daemon shuts down; never more than half of \
         `shutdown_timeout`.",
    ),
    setting(
        "jobs.max_jobs",
        "2000000",
        Count(1, 1_000 * MILLION),
        "Jobs of each partition, those that have ended and are kept included. Near it, those that succeeded, expired or were taken \
         back are forgotten before their time, 30 s after their end at the earliest, 10 minutes with a `request_id`. Further jobs \
         fail with TOO_MANY_JOBS.",
    ),
    setting(
        "jobs.max_batches",
        "10000",
        Count(1, MILLION),
        "Batches of each partition that are open or kept. Further ones fail with TOO_MANY_JOBS.",
    ),
    setting(
        "jobs.max_queues",
        "10000",
        Count(1, MILLION),
        "Queues of each partition that have jobs or were set. Further ones fail with TOO_MANY_QUEUES.",
    ),
    setting(
        "jobs.max_waiters",
        "10000",
        Count(1, MILLION),
        "Calls of each partition that wait for a job to run, or for one to end, and those that watch one. Further ones fail \
         with TOO_MANY_WAITERS.",
    ),
    setting(
        "jobs.held_bytes",
        "1073741824",
        Count(MIB, TIB),
        "Bytes of payloads, checkpoints and results in memory, of all partitions together. With a `data_dir` what goes beyond is \
         read from disk; without one jobs are forgotten near it as near `jobs.max_jobs`, and further ones fail with TOO_MANY_BYTES.",
    ),
    setting(
        "jobs.checkpoint_bytes",
        "67108864",
        Count(65_536, TIB),
        "Bytes after which a partition writes its state anew in `data_dir`, if they are also more than twice that state: a \
         start reads about as much.",
    ),
    setting(
        "jobs.max_payload_bytes",
        "1048576",
        Count(1, MIB),
        "The largest payload, result and checkpoint, in bytes.",
    ),
    setting(
        "jobs.max_chunks",
        "1000",
        Count(1, 10_000),
        "Pieces of the result of one attempt. Further ones fail with TOO_MANY_BYTES.",
    ),
    setting(
        "jobs.chunk_bytes",
        "4194304",
        Count(1, 1_024 * MIB),
        "Bytes of all pieces of the result of one attempt. Further ones fail with TOO_MANY_BYTES.",
    ),
    setting(
        "jobs.max_batch",
        "1000",
        Count(1, 4_000),
        "Jobs in one SubmitBatch, and ends in one Finish.",
    ),
    setting(
        "jobs.max_wait",
        "1h",
        span(SECOND, DAY),
        "The longest `max_wait` of Reserve and Wait.",
    ),
    setting(
        "jobs.max_streams",
        "4096",
        Count(1, MILLION),
        "Streams of workers, and of whoever watches jobs, open in this daemon. Further ones fail with TOO_MANY_STREAMS.",
    ),
    setting(
        "jobs.max_stream_in_flight",
        "1024",
        Count(1, MILLION),
        "Requests in hand on one stream; then it is not read further.",
    ),
    setting(
        "jobs.max_stream_bytes",
        "8388608",
        Count(MIB, 1_024 * MIB),
        "Bytes of the requests in hand on one stream; then it is not read further.",
    ),
    setting(
        "jobs.max_credit",
        "10000",
        Count(1, MILLION),
        "Jobs that a worker may have at once on one stream.",
    ),
    setting(
        "jobs.announce",
        "failures",
        Choice(&["none", "failures", "all"]),
        "Which ends of jobs are told on the topic `trellis.daemon`: none, those that are FAILED, DEAD or EXPIRED, or all.",
    ),
];

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    #[test]
    fn defaults_are_those_of_engine_and_service() {
        let settings = Config::from_toml("").unwrap().settings;
        assert_eq!(settings.jobs.engine(), JobsConfig::default());
        let bounds = settings.jobs.bounds(settings.shutdown_timeout);
        assert_eq!(bounds, JobBounds::default());
        let failures = [JobState::Failed, JobState::Dead, JobState::Expired];
        assert_eq!(settings.jobs.announced(), failures);
    }

    #[test]
    fn whatever_is_allowed_engine_and_disk_can_take() {
        for text in [
            "jobs.partitions = 1024\njobs.held_bytes = 1048576\njobs.lease = \"1s\"",
            "jobs.partitions = 1\njobs.checkpoint_bytes = 65536\njobs.lease = \"1h\"",
        ] {
            let settings = Config::from_toml(text).unwrap().settings;
            settings.jobs.engine().check().unwrap();
            let disk = settings.jobs.disk(DiskLogOptions::default());
            disk.check().unwrap();
            assert_eq!(disk.limits.partitions, settings.jobs.partitions);
        }
    }

    #[test]
    fn workers_have_less_time_than_the_daemon() {
        let config = Config::from_toml("shutdown_timeout = \"100ms\"").unwrap();
        assert_eq!(config.service().jobs.drain_time, Micros::from_millis(50));
        let config = Config::from_toml("shutdown_timeout = \"1h\"").unwrap();
        assert_eq!(config.service().jobs.drain_time, Micros::from_secs(5));
    }
}
