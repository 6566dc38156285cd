//! What is known of one job.

use super::charges::{ChargedBuckets, Taken};
use super::ids::LeaseId;
use super::spec::{DEFAULT_RETRY, JobOptions};
use super::stream::Stream;
use crate::log::Offset;
use crate::{Name, Namespace, Time};

/// Where bytes of a job stand in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The record that carries them.
    pub offset: Offset,
    /// How many they are.
    pub bytes: u32,
}

/// An attempt under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// By which its worker speaks of it.
    pub id: LeaseId,
    /// When it began.
    pub since: Time,
    /// Who has it.
    pub worker: Name,
}

/// How a job ended: once, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Its worker was done with it.
    Succeeded,
    /// Its worker said that trying again does not help.
    Failed,
    /// It was tried as often as its policy allows.
    Dead,
    /// Somebody took it back.
    Cancelled,
    /// Its deadline passed.
    Expired,
    /// Another job of the same unique key took its place.
    Replaced,
}

/// The end of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// How.
    pub outcome: Outcome,
    /// When.
    pub at: Time,
    /// When it is forgotten.
    pub kept_until: Time,
    /// The attempt that brought it, or that was under way.
    pub lease: Option<LeaseId>,
    /// The how manieth of its batch it was to end, from 1; 0 of a job of none.
    pub batch_number: u32,
}

/// What a job is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It waits for its time, or for its back-off to end.
    Delayed(Time),
    /// It waits for a worker.
    Ready,
    /// A worker has it.
    Running(Lease),
    /// It is over.
    Ended(Box<Ending>),
}

/// Phases and outcomes in one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobState {
    /// It waits for its time, or for its back-off to end.
    Delayed,
    /// It waits for a worker.
    Ready,
    /// A worker has it.
    Running,
    /// See [`Outcome::Succeeded`].
    Succeeded,
    /// See [`Outcome::Failed`].
    Failed,
    /// See [`Outcome::Dead`].
    Dead,
    /// See [`Outcome::Cancelled`].
    Cancelled,
    /// See [`Outcome::Expired`].
    Expired,
    /// See [`Outcome::Replaced`].
    Replaced,
}

impl JobState {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Delayed,
        Self::Ready,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Dead,
        Self::Cancelled,
        Self::Expired,
        Self::Replaced,
    ];

    /// Whether the job is over.
    #[must_use]
    pub fn is_ended(self) -> bool {
        self > Self::Running
    }
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Succeeded,
        Self::Failed,
        Self::Dead,
        Self::Cancelled,
        Self::Expired,
        Self::Replaced,
    ];
}

impl From<Outcome> for JobState {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::Failed => Self::Failed,
            Outcome::Dead => Self::Dead,
            Outcome::Cancelled => Self::Cancelled,
            Outcome::Expired => Self::Expired,
            Outcome::Replaced => Self::Replaced,
        }
    }
}

/// See the module. The bytes of payload, checkpoint and result stand in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The offset of its submission, which is its place among those that came to its queue.
    pub number: u64,
    /// When it was submitted, in the time of the log.
    pub submitted: Time,
    /// Its payload.
    pub payload: Place,
    /// The payload is a reference.
    pub is_reference: bool,
    /// What the last attempt left: a checkpoint, or the result.
    pub left: Option<Place>,
    /// 0 to 9; the highest goes first.
    pub priority: u8,
    /// Attempts begun.
    pub attempts: u32,
    /// What it is at.
    pub phase: Phase,
    /// Why the last attempt was in vain.
    pub error: Option<Box<str>>,
    /// What was told of it while it ran.
    pub(super) stream: Option<Box<Stream>>,
    /// It waits for another one of its cache key.
    pub(super) joined: bool,
    /// What the attempt under way has taken of limits.
    pub(super) taken: Option<Box<Taken>>,
    /// Its place among those of its priority, since it was ready first.
    pub(super) tag: Option<u64>,
    /// Its queue, in the index.
    pub(super) queue: usize,
    pub(super) asked: Option<Box<Asked>>,
}

/// What was asked for, where that is not what most jobs leave as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    options: JobOptions,
    /// What these charge.
    pub buckets: Option<ChargedBuckets>,
}

impl Asked {
    /// The options of a job of a namespace.
    pub fn new(options: &JobOptions, namespace: &Namespace) -> Option<Box<Self>> {
        let buckets = ChargedBuckets::of(&options.charges, namespace);
        let options = (!options.is_common()).then(|| options.clone())?;
        Some(Box::new(Self { options, buckets }))
    }
}

/// What a job has that leaves everything as it is.
static COMMON: JobOptions = JobOptions {
    deadline: None,
    timeout: None,
    retry: DEFAULT_RETRY,
    unique: None,
    turn: None,
    concurrency_key: None,
    charges: Vec::new(),
    batch: None,
    cached: None,
    labels: Vec::new(),
    trace: String::new(),
    request: None,
    retry_of: None,
};

impl Job {
    /// What was asked for.
    #[must_use]
    pub fn options(&self) -> &JobOptions {
        self.asked.as_ref().map_or(&COMMON, |asked| &asked.options)
    }

    /// Bytes of what its worker gets: payload, checkpoint and options.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let left = self.left.map_or(0, |left| left.bytes);
        let bytes = u64::from(self.payload.bytes) + u64::from(left);
        usize::try_from(bytes).unwrap_or(usize::MAX) + self.options().bytes()
    }

    /// Phase or outcome.
    #[must_use]
    pub fn state(&self) -> JobState {
        match &self.phase {
            Phase::Delayed(_) => JobState::Delayed,
            Phase::Ready => JobState::Ready,
            Phase::Running(_) => JobState::Running,
            Phase::Ended(ending) => ending.outcome.into(),
        }
    }

    /// The attempt under way.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        match &self.phase {
            Phase::Running(lease) => Some(lease),
            _ => None,
        }
    }

    /// How it ended.
    #[must_use]
    pub fn ending(&self) -> Option<&Ending> {
        match &self.phase {
            Phase::Ended(ending) => Some(ending),
            _ => None,
        }
    }

    /// When time changes its phase: it is ready, its attempt has taken too long, or it is forgotten.
    pub(super) fn due(&self) -> Option<Time> {
        match &self.phase {
            Phase::Delayed(until) => Some(*until),
            Phase::Ready => None,
            Phase::Running(lease) => self.options().timeout.map(|most| lease.since + most),
            Phase::Ended(ending) => Some(ending.kept_until),
        }
    }

    /// When it ends for its deadline.
    pub(super) fn deadline(&self) -> Option<Time> {
        let deadline = self.options().deadline;
        deadline.filter(|_| !matches!(self.phase, Phase::Ended(_)))
    }
}
