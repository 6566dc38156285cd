//! [`JobOptions`]: what most jobs leave as it is.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use trellis_proto::v1 as proto;

use crate::charge::{Charge, Charges};
use crate::convert;
use crate::error::{Error, Result};

/// What most jobs leave as it is; set by [`Submit`](super::Submit)'s methods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobOptions {
    /// The job is over after this, whether it runs or not; `None` for never.
    pub deadline: Option<SystemTime>,
    /// How long one attempt may take; `None` for as long as its worker has it.
    pub timeout: Option<Duration>,
    /// What happens after an attempt in vain.
    pub retry: RetryPolicy,
    /// Beside which job it may not be.
    pub unique: Option<Unique>,
    /// Whose turn it takes among jobs of the same priority; empty for that which all share who name none.
    pub fair_key: String,
    /// The share of the fair key, from 1; 0 is 1, too.
    pub weight: u32,
    /// Of which so many run at once as the queue says; empty for none.
    pub concurrency_key: String,
    /// For whoever looks.
    pub labels: HashMap<String, String>,
    /// W3C trace context of the submitter.
    pub trace_context: String,
    /// What each attempt takes of limits before it begins.
    pub charges: Vec<Charge>,
    /// Where its result may be already, and is kept: a key of the cache; empty for none.
    pub cache_key: String,
    /// How long its result stays in the cache; `None` for the daemon's default, 24 h.
    pub cache_ttl: Option<Duration>,
}

/// When a job runs again after an attempt in vain; what is `None` is left to the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts after which the job is dead: 1 to 1,000; default 10.
    pub max_attempts: Option<u32>,
    /// The wait after the first attempt; doubled with each further one. Default 1 s.
    pub min_backoff: Option<Duration>,
    /// The longest wait, up to 366 days; default 5 minutes.
    pub max_backoff: Option<Duration>,
    /// By how many hundredths a wait may be shorter, at random: 0 to 100; default 20.
    pub jitter_percent: Option<u32>,
}

/// Of jobs with one key a queue has one that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unique {
    /// The key: 1 to 256 bytes.
    pub key: String,
    /// What happens to a second one.
    pub on_conflict: Conflict,
}

/// What happens when a job comes whose unique key another one has that has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conflict {
    /// The new one is not taken in, and the answer is [`Decision::Rejected`](super::Decision::Rejected).
    #[default]
    Reject,
    /// The new one is not taken in; the old one is as good: [`Decision::Existing`](super::Decision::Existing).
    Return,
    /// The old one ends as replaced, also if it runs.
    Replace,
}

impl JobOptions {
    pub(super) fn to_proto(&self) -> Result<proto::JobOptions> {
        let span = |span: Option<Duration>, field| {
            let span = span.map(|span| convert::to_proto(span, field));
            span.transpose()
        };
        let retry = proto::JobRetryPolicy {
            max_attempts: self.retry.max_attempts.map_or(0, signed),
            min_backoff: span(self.retry.min_backoff, "min_backoff")?,
            max_backoff: span(self.retry.max_backoff, "max_backoff")?,
            jitter_percent: self.retry.jitter_percent.map(signed),
        };
        Ok(proto::JobOptions {
            deadline: self.deadline.map(Into::into),
            timeout: span(self.timeout, "timeout")?,
            retry: Some(retry),
            unique: self.unique.clone().map(Into::into),
            fair_key: self.fair_key.clone(),
            weight: signed(self.weight),
            concurrency_key: self.concurrency_key.clone(),
            labels: self.labels.clone().into_iter().collect(),
            trace_context: self.trace_context.clone(),
            charges: Charges::from(self.charges.clone()).into_proto()?,
            cache_key: self.cache_key.clone(),
            cache_ttl: span(self.cache_ttl, "cache_ttl")?,
            ..proto::JobOptions::default()
        })
    }
}

/// What is too large stays too large, and is refused by the daemon.
pub(super) fn signed(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

pub(super) fn small(value: i32, field: &str) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::invalid_answer(format!("{field} {value} is negative")))
}

impl From<Unique> for proto::JobUnique {
    fn from(unique: Unique) -> Self {
        let on_conflict = match unique.on_conflict {
            Conflict::Reject => proto::JobConflict::Reject,
            Conflict::Return => proto::JobConflict::Return,
            Conflict::Replace => proto::JobConflict::Replace,
        };
        Self {
            key: unique.key,
            on_conflict: on_conflict.into(),
        }
    }
}

impl TryFrom<proto::JobUnique> for Unique {
    type Error = Error;

    fn try_from(unique: proto::JobUnique) -> Result<Self> {
        use proto::JobConflict as Wire;
        let on_conflict = match Wire::try_from(unique.on_conflict) {
            Ok(Wire::Unspecified | Wire::Reject) => Conflict::Reject,
            Ok(Wire::Return) => Conflict::Return,
            Ok(Wire::Replace) => Conflict::Replace,
            Err(_) => return Err(convert::unknown(unique.on_conflict, "on_conflict")),
        };
        let key = unique.key;
        Ok(Self { key, on_conflict })
    }
}

impl TryFrom<proto::JobOptions> for JobOptions {
    type Error = Error;

    fn try_from(options: proto::JobOptions) -> Result<Self> {
        let retry = options.retry.unwrap_or_default();
        let max_attempts = small(retry.max_attempts, "max_attempts")?;
        let jitter = retry
            .jitter_percent
            .map(|it| small(it, "jitter_percent"))
            .transpose()?;
        let deadline = options
            .deadline
            .map(|it| convert::time(Some(it), "deadline"));
        Ok(Self {
            deadline: deadline.transpose()?,
            timeout: convert::optional_duration(options.timeout, "timeout")?,
            retry: RetryPolicy {
                max_attempts: Some(max_attempts).filter(|it| *it > 0),
                min_backoff: convert::optional_duration(retry.min_backoff, "min_backoff")?,
                max_backoff: convert::optional_duration(retry.max_backoff, "max_backoff")?,
                jitter_percent: jitter,
            },
            unique: options.unique.map(TryInto::try_into).transpose()?,
            fair_key: options.fair_key,
            weight: small(options.weight, "weight")?,
            concurrency_key: options.concurrency_key,
            labels: options.labels.into_iter().collect(),
            trace_context: options.trace_context,
            charges: convert::all(options.charges)?,
            cache_key: options.cache_key,
            cache_ttl: convert::optional_duration(options.cache_ttl, "cache_ttl")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn options_go_through_the_contract_unchanged() {
        let options = JobOptions {
            deadline: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(7)),
            timeout: Some(Duration::from_secs(8)),
            retry: RetryPolicy {
                max_attempts: Some(3),
                min_backoff: Some(Duration::ZERO),
                max_backoff: Some(Duration::from_secs(9)),
                jitter_percent: Some(0),
            },
            unique: Some(Unique {
                key: "page-7".to_owned(),
                on_conflict: Conflict::Replace,
            }),
            fair_key: "tenant".to_owned(),
            weight: 4,
            concurrency_key: "scanner".to_owned(),
            labels: HashMap::from([("team".to_owned(), "a".to_owned())]),
            trace_context: "00-1".to_owned(),
            charges: vec![Charge::new("llm.tokens", 900).key("user-7")],
            cache_key: "page-7".to_owned(),
            cache_ttl: Some(Duration::from_mins(5)),
        };
        let wire = options.to_proto().unwrap();
        assert_eq!(JobOptions::try_from(wire).unwrap(), options);
        let none = JobOptions::default();
        assert_eq!(
            JobOptions::try_from(none.to_proto().unwrap()).unwrap(),
            none
        );
    }

    #[test]
    fn a_span_that_does_not_fit_is_refused_by_name() {
        let options = JobOptions {
            timeout: Some(Duration::MAX),
            ..JobOptions::default()
        };
        let error = options.to_proto().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        assert!(error.message().contains("timeout"));
    }
}
