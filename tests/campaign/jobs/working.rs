//! What workers do with a job, and how they say it.

use super::field::{Field, name, result};
use super::history::{Attempt, Heard, Said, Word};
use crate::history::Micros;
use crate::random::Random;
use trellis_proto::v1::job_attempt_end::End;
use trellis_proto::v1::{AssignedJob, JobAttemptEnd, JobFailed, JobSucceeded, JobThrottled};

/// What a worker says of an attempt; `None`: nothing, ever.
pub fn decide(field: &Field, random: &mut Random) -> Option<Word> {
    if Field::is(&field.calm) {
        return Some(Word::Succeeded);
    }
    match random.of(0..100) {
        0..82 => Some(Word::Succeeded),
        82..90 => Some(Word::Failed),
        90..93 => Some(Word::Given),
        93..96 => Some(Word::Throttled),
        _ => None,
    }
}

/// An attempt as it is written down when it comes.
pub fn attempt(job: &AssignedJob, life: u64, granted: Micros, received: Micros) -> Attempt {
    Attempt {
        job: job.job_id.clone(),
        name: name(job.options.as_ref()),
        lease: job.lease_id.clone(),
        life,
        number: job.attempt,
        granted,
        received,
        held: Vec::new(),
        said: None,
    }
}

pub fn end(attempt: &Attempt, word: Word) -> JobAttemptEnd {
    let failed = |permanent| {
        End::Failed(JobFailed {
            error: "as the campaign wants it".into(),
            permanent,
            retry_after: None,
        })
    };
    let end = match word {
        Word::Succeeded => End::Succeeded(JobSucceeded {
            result: result(&attempt.lease).into(),
        }),
        Word::Failed => failed(false),
        Word::Given => failed(true),
        Word::Throttled => End::Throttled(JobThrottled {
            retry_after: Some(prost_types::Duration {
                seconds: 0,
                nanos: 20_000_000,
            }),
        }),
    };
    JobAttemptEnd {
        lease_id: attempt.lease.clone(),
        end: Some(end),
    }
}

/// Writes down that something is said, perhaps again, and that the worker has no longer a right to the job.
pub fn say(attempt: &mut Attempt, word: Word, now: Micros) {
    for held in &mut attempt.held {
        held.until = held.until.min(now);
    }
    let said = attempt.said.get_or_insert(Said {
        word,
        sent: now,
        times: 0,
        heard: Heard::Nothing,
    });
    said.times += 1;
}

/// Writes down what the answer was.
pub fn hear(attempt: &mut Attempt, heard: Heard) {
    if let Some(said) = &mut attempt.said {
        // What is refused when it is said again may have been done the first time.
        if heard != Heard::Refused || said.times == 1 {
            said.heard = heard;
        }
    }
}
