//! What is set of topics and groups, and their lists.

use super::super::pages::{page_after, page_size};
use super::super::{Context, span};
use super::{dead_letters_token, group, groups_token, topic, topics_token};
use trellis_core::events::{GroupId, GroupSpec, ListTopics, Replay, Topic, TopicRetention};
use trellis_core::log::Offset;
use trellis_core::{Error, Micros, Name, Result};
use trellis_proto::v1;

/// The longest lease and back-off.
const HOUR: Micros = Micros::from_secs(3_600);
/// The least that a topic can be told to keep.
const MIN_AGE: Micros = Micros::from_secs(1);
const MIN_BYTES: u64 = 1024 * 1024;
/// Longer than anybody keeps anything: 100 years.
const MAX_AGE: Micros = Micros::from_secs(100 * 366 * 24 * 3_600);

/// Deliveries that a group may allow.
const MAX_ATTEMPTS: u32 = 1_000;

/// Dead letters that one replay may name.
const MAX_REPLAYED: usize = 1_000;

pub(crate) fn retention(retention: Option<v1::EventRetention>) -> Result<TopicRetention> {
    let retention = retention.unwrap_or_default();
    let unset = |age: &prost_types::Duration| age.seconds == 0 && age.nanos == 0;
    let max_age = retention.max_age.filter(|age| !unset(age));
    Ok(TopicRetention {
        max_age: span(max_age, "retention.max_age", (MIN_AGE, MAX_AGE))?,
        max_bytes: at_least(retention.max_bytes, MIN_BYTES, "retention.max_bytes")?,
        max_events: at_least(retention.max_events, 1, "retention.max_events")?,
    })
}

/// A bound that is 0 for none.
fn at_least(bound: i64, min: u64, field: &str) -> Result<Option<u64>> {
    match u64::try_from(bound) {
        Ok(0) => Ok(None),
        Ok(bound) if bound >= min => Ok(Some(bound)),
        _ => {
            let allowed = format!("must be 0 or at least {min}, is {bound}");
            Err(Error::invalid(field, allowed))
        }
    }
}

pub(crate) fn group_spec(spec: Option<v1::EventGroupSpec>) -> Result<GroupSpec> {
    let (spec, default) = (spec.unwrap_or_default(), GroupSpec::default());
    let max_attempts = match u32::try_from(spec.max_attempts) {
        Ok(0) => default.max_attempts,
        Ok(attempts) if attempts <= MAX_ATTEMPTS => attempts,
        _ => {
            let allowed = format!("must be 0 to {MAX_ATTEMPTS}, is {}", spec.max_attempts);
            return Err(Error::invalid("spec.max_attempts", allowed));
        }
    };
    let lease = span(spec.lease, "spec.lease", (Micros::from_secs(1), HOUR))?;
    let min_backoff = span(spec.min_backoff, "spec.min_backoff", (Micros::ZERO, HOUR))?;
    let min_backoff = min_backoff.unwrap_or(default.min_backoff);
    let max_backoff = span(spec.max_backoff, "spec.max_backoff", (min_backoff, HOUR))?;
    Ok(GroupSpec {
        lease: lease.unwrap_or(default.lease),
        max_attempts,
        min_backoff,
        max_backoff: max_backoff.unwrap_or(default.max_backoff.max(min_backoff)),
        ordered: spec.ordered,
    })
}

pub(crate) fn list_topics(
    request: v1::EventServiceListTopicsRequest,
    context: &Context<'_>,
) -> Result<ListTopics> {
    let namespace = context.namespace(request.namespace)?;
    let owner = topics_token(&namespace);
    Ok(ListTopics {
        page_size: page_size(request.page_size)?,
        after: page_after(&request.page_token, &owner, |name, field| {
            Name::new(name, field)
        })?,
        namespace,
    })
}

/// Whose groups, after which, and how many.
pub(crate) fn list_groups(
    request: v1::EventServiceListGroupsRequest,
    context: &Context<'_>,
) -> Result<(Topic, Option<Name>, usize)> {
    let topic = topic(request.namespace, request.topic, context)?;
    let owner = groups_token(&topic);
    let after = page_after(&request.page_token, &owner, |name, field| {
        Name::new(name, field)
    })?;
    Ok((topic, after, page_size(request.page_size)?))
}

/// Whose dead letters, from where on, and how many.
pub(crate) fn list_dead_letters(
    request: v1::EventServiceListDeadLettersRequest,
    context: &Context<'_>,
) -> Result<(GroupId, Offset, usize)> {
    let id = group((request.namespace, request.topic, request.group), context)?;
    let owner = dead_letters_token(&id);
    let from = page_after(&request.page_token, &owner, |offset, field| {
        offset
            .parse()
            .map(Offset)
            .map_err(|_| Error::invalid(field, "must end with an offset"))
    })?;
    Ok((id, from.unwrap_or_default(), page_size(request.page_size)?))
}

pub(crate) fn replay(offsets: Vec<i64>) -> Result<Replay> {
    if offsets.is_empty() {
        return Ok(Replay::All);
    }
    if offsets.len() > MAX_REPLAYED {
        let allowed = format!("must be at most {MAX_REPLAYED}, are {}", offsets.len());
        return Err(Error::invalid("offsets", allowed));
    }
    let offsets = offsets.into_iter().enumerate().map(|(index, offset)| {
        u64::try_from(offset).map(Offset).map_err(|_| {
            let allowed = format!("must be at least 0, is {offset}");
            Error::invalid(format!("offsets[{index}]"), allowed)
        })
    });
    offsets.collect::<Result<_>>().map(Replay::These)
}

#[cfg(test)]
mod tests {
    use super::super::super::duration;
    use super::*;

    fn field<T: std::fmt::Debug>(result: Result<T>) -> String {
        result.unwrap_err().violation.unwrap().field
    }

    #[test]
    fn a_retention_out_of_bounds_is_refused_with_the_field_and_none_is_the_default() {
        assert_eq!(retention(None), Ok(TopicRetention::default()));
        let zero = v1::EventRetention {
            max_age: Some(duration(Micros::ZERO)),
            ..Default::default()
        };
        assert_eq!(retention(Some(zero)), Ok(TopicRetention::default()));
        let age = |max_age| v1::EventRetention {
            max_age: Some(duration(max_age)),
            ..Default::default()
        };
        for bad in [Micros(999_999), Micros(MAX_AGE.0 + 1)] {
            assert_eq!(field(retention(Some(age(bad)))), "retention.max_age");
        }
        let bytes = |max_bytes| v1::EventRetention {
            max_bytes,
            ..Default::default()
        };
        for bad in [-1, 1, 1_048_575] {
            assert_eq!(field(retention(Some(bytes(bad)))), "retention.max_bytes");
        }
        let events = v1::EventRetention {
            max_events: -1,
            ..Default::default()
        };
        assert_eq!(field(retention(Some(events))), "retention.max_events");
    }

    #[test]
    fn a_spec_out_of_bounds_is_refused_with_the_field_and_none_is_the_default() {
        assert_eq!(group_spec(None), Ok(GroupSpec::default()));
        let spec = |change: fn(&mut v1::EventGroupSpec)| {
            let mut spec = v1::EventGroupSpec::default();
            change(&mut spec);
            group_spec(Some(spec))
        };
        let seconds = |seconds| Some(duration(Micros::from_secs(seconds)));
        assert_eq!(
            field(spec(|it| it.max_attempts = 1_001)),
            "spec.max_attempts"
        );
        assert_eq!(field(spec(|it| it.max_attempts = -1)), "spec.max_attempts");
        let long = v1::EventGroupSpec {
            min_backoff: seconds(120),
            ..Default::default()
        };
        assert_eq!(
            group_spec(Some(long)).unwrap().max_backoff,
            Micros::from_secs(120)
        );
        let reversed = v1::EventGroupSpec {
            min_backoff: seconds(2),
            max_backoff: seconds(1),
            ..Default::default()
        };
        assert_eq!(field(group_spec(Some(reversed))), "spec.max_backoff");
        let lease = v1::EventGroupSpec {
            lease: seconds(0),
            ..Default::default()
        };
        assert_eq!(field(group_spec(Some(lease))), "spec.lease");
    }

    #[test]
    fn a_replay_names_few_places_or_none_for_all() {
        assert_eq!(replay(vec![]), Ok(Replay::All));
        assert_eq!(replay(vec![7]), Ok(Replay::These(vec![Offset(7)])));
        assert_eq!(field(replay(vec![7, -1])), "offsets[1]");
        assert_eq!(field(replay(vec![7; 1_001])), "offsets");
    }
}
