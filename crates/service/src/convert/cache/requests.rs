//! What a request of the cache may get wrong, found and named by its field.

use super::PART_BYTES;
use crate::convert::{Context, span};
use prost::bytes::Bytes;
use prost_types::Duration;
use std::collections::HashSet;
use std::sync::Arc;
use trellis_core::cache::{
    ClearTarget, Content, Cost, EndedBy, Failure, Fence, FetchOptions, GetOptions, LeaseId,
    MAX_COST, NewEntry, Policy, Precondition, ReadFrom, StaleMode, Version,
};
use trellis_core::{EntryKey, Error, Micros, Name, Result, Tag};
use trellis_proto::v1;

const MAX_TAGS: usize = 16;
const MAX_CONTENT_TYPE_BYTES: usize = 256;
const MAX_FAILURE_BYTES: usize = 1_024;
/// Numbers of a namespace stay below it.
const MAX_NUMBER: i64 = 1 << 53;
const MILLI: Micros = Micros::from_millis(1);
const LEASE_TTLS: (Micros, Micros) = (Micros::from_millis(100), Micros::from_secs(60));

pub(crate) fn entry_key(key: String, field: &str) -> Result<EntryKey> {
    EntryKey::new(key, field)
}

/// The key at this place of `keys`.
pub(crate) fn entry_key_at(key: String, index: impl std::fmt::Display) -> Result<EntryKey> {
    EntryKey::new(key, "keys").map_err(|error| error.at(format_args!("keys[{index}]")))
}

/// The part of a value in one message.
pub(crate) fn part(bytes: &Bytes, field: &str) -> Result<()> {
    if bytes.len() > PART_BYTES {
        let allowed = format!(
            "must be at most {PART_BYTES} bytes, is {}; send larger values in parts under a lease",
            bytes.len()
        );
        return Err(Error::invalid(field, allowed));
    }
    Ok(())
}

/// A value, or that there is none.
fn content(value: Bytes, negative: bool) -> Result<Content> {
    part(&value, "value")?;
    if !negative {
        return Ok(Content::Value(value));
    }
    if !value.is_empty() {
        return Err(Error::invalid(
            "value",
            "must be empty where `negative` is set",
        ));
    }
    Ok(Content::Negative)
}

/// What is to be kept, but its content. An empty name or list is the one that all entries share, and takes no
/// memory of its own.
fn new_entry(
    (kept, content_type): (Content, String),
    policy: Option<v1::EntryPolicy>,
    cost: Option<v1::Cost>,
    context: &Context<'_>,
) -> Result<NewEntry> {
    if content_type.len() > MAX_CONTENT_TYPE_BYTES || content_type.chars().any(char::is_control) {
        let allowed = "must be at most 256 bytes of UTF-8 without control characters";
        return Err(Error::invalid("content_type", allowed));
    }
    let negative = kept == Content::Negative;
    let policy = policy.unwrap_or_default();
    let policy = self::policy(policy, negative, context).map_err(|error| error.within("policy"))?;
    let cost = cost.map(self::cost).transpose();
    Ok(NewEntry {
        content: kept,
        content_type: if content_type.is_empty() {
            Arc::default()
        } else {
            content_type.into()
        },
        policy,
        cost: cost
            .map_err(|error| error.within("cost"))?
            .unwrap_or_default(),
        fence: None,
    })
}

fn policy(policy: v1::EntryPolicy, negative: bool, context: &Context<'_>) -> Result<Policy> {
    let config = &context.config.cache;
    let ttl = span(policy.ttl, "ttl", (MILLI, config.max_ttl))?;
    let ttl = ttl.unwrap_or(if negative {
        config.default_negative_ttl
    } else {
        config.default_ttl
    });
    let jitter = span(policy.jitter, "jitter", (Micros::ZERO, ttl))?;
    let stale_for = span(
        policy.stale_for,
        "stale_for",
        (Micros::ZERO, config.max_ttl),
    )?;
    let stale_for = stale_for.unwrap_or(Micros::ZERO);
    if negative && stale_for > Micros::ZERO {
        return Err(Error::invalid(
            "stale_for",
            "must be unset for a negative entry",
        ));
    }
    Ok(Policy {
        ttl,
        jitter: jitter.unwrap_or(Micros::ZERO),
        stale_for,
        refresh_after: span(policy.refresh_after, "refresh_after", (MILLI, ttl))?,
        tags: tags(policy.tags)?,
    })
}

fn tags(tags: Vec<String>) -> Result<Arc<[Tag]>> {
    if tags.len() > MAX_TAGS {
        let allowed = format!("must hold at most {MAX_TAGS} tags, has {}", tags.len());
        return Err(Error::invalid("tags", allowed));
    }
    let mut seen = HashSet::with_capacity(tags.len());
    let mut checked = Vec::with_capacity(tags.len());
    for (index, tag) in tags.into_iter().enumerate() {
        let field = format!("tags[{index}]");
        let tag = Tag::new(tag, &field)?;
        if !seen.insert(tag.clone()) {
            return Err(Error::invalid(field, "must not be there twice"));
        }
        checked.push(tag);
    }
    if checked.is_empty() {
        return Ok(Arc::default());
    }
    Ok(checked.into())
}

fn cost(cost: v1::Cost) -> Result<Cost> {
    for (field, amount) in [
        ("calls", cost.calls),
        ("tokens", cost.tokens),
        ("money_micros", cost.money_micros),
    ] {
        if !(0..=MAX_COST).contains(&amount) {
            let allowed = format!("must be 0 to {MAX_COST}, is {amount}");
            return Err(Error::invalid(field, allowed));
        }
    }
    Ok(Cost {
        calls: cost.calls,
        tokens: cost.tokens,
        money_micros: cost.money_micros,
    })
}

/// A key, what is to be kept under it, and on which condition.
pub(crate) fn set_item(
    item: v1::SetItem,
    context: &Context<'_>,
) -> Result<(EntryKey, NewEntry, Precondition)> {
    let key = entry_key(item.key, "key")?;
    let kept = content(item.value, item.negative)?;
    let condition = match item.if_version {
        None => Precondition::Always,
        Some(0) => Precondition::Absent,
        Some(version) => version_is(version)?,
    };
    let kept = (kept, item.content_type);
    let entry = new_entry(kept, item.policy, item.cost, context)?;
    Ok((key, entry, condition))
}

/// A fill's value and how it is kept.
pub(crate) fn fill(request: v1::FillRequest, context: &Context<'_>) -> Result<(LeaseId, NewEntry)> {
    let kept = content(request.value, request.negative)?;
    let kept = (kept, request.content_type);
    let mut entry = new_entry(kept, request.policy, request.cost, context)?;
    entry.fence = fence(request.fence)?;
    Ok((lease_id(request.lease)?, entry))
}

/// The lock under which something is written. Errors name the field below the request.
pub(crate) fn fence(fence: Option<v1::Fence>) -> Result<Option<Fence>> {
    let read = |fence: v1::Fence| {
        let within = u64::try_from(fence.token)
            .ok()
            .filter(|_| (1..MAX_NUMBER).contains(&fence.token));
        let token = within.ok_or_else(|| {
            let allowed = format!(
                "must be the token of a grant, 1 to 2^53 - 1, is {}",
                fence.token
            );
            Error::invalid("fence.token", allowed)
        })?;
        let lock = Name::new(fence.lock, "fence.lock")?;
        Ok(Fence { lock, token })
    };
    fence.map(read).transpose()
}

pub(crate) fn version_is(version: i64) -> Result<Precondition> {
    let version = number(version, "if_version")?;
    Ok(Precondition::Is(Version(version)))
}

pub(crate) fn lease_id(lease: i64) -> Result<LeaseId> {
    number(lease, "lease").map(LeaseId)
}

fn number(number: i64, field: &str) -> Result<u64> {
    let within = u64::try_from(number)
        .ok()
        .filter(|_| (1..MAX_NUMBER).contains(&number));
    within.ok_or_else(|| {
        let allowed = format!("must be a number that an answer told, is {number}");
        Error::invalid(field, allowed)
    })
}

pub(crate) fn offset(offset: i64) -> Result<usize> {
    usize::try_from(offset)
        .map_err(|_| Error::invalid("offset", format!("must be 0 or more, is {offset}")))
}

pub(crate) fn clear(tag: String) -> Result<ClearTarget> {
    if tag.is_empty() {
        return Ok(ClearTarget::All);
    }
    Tag::new(tag, "tag").map(ClearTarget::Tag)
}

/// Where an entry may be read from.
fn read_from(read: i32) -> Result<ReadFrom> {
    match v1::Read::try_from(read) {
        Ok(v1::Read::Unspecified | v1::Read::Near) => Ok(ReadFrom::Near),
        Ok(v1::Read::Shared) => Ok(ReadFrom::Store),
        Err(_) => Err(Error::invalid("read", "must be NEAR or SHARED")),
    }
}

pub(crate) fn get_options(allow_stale: bool, read: i32) -> Result<GetOptions> {
    let read = read_from(read)?;
    Ok(GetOptions { allow_stale, read })
}

pub(crate) fn options(
    options: Option<v1::FetchOptions>,
    context: &Context<'_>,
) -> Result<FetchOptions> {
    let config = &context.config.cache;
    let options = options.unwrap_or_default();
    let checked = || {
        let stale = match v1::StaleMode::try_from(options.stale) {
            Ok(v1::StaleMode::Unspecified | v1::StaleMode::Never) => StaleMode::Never,
            Ok(v1::StaleMode::WhileRevalidate) => StaleMode::WhileRevalidate,
            Ok(v1::StaleMode::OnError) => StaleMode::OnError,
            Err(_) => {
                let allowed = "must be NEVER, WHILE_REVALIDATE or ON_ERROR";
                return Err(Error::invalid("stale", allowed));
            }
        };
        let lease_ttl = span(options.lease_ttl, "lease_ttl", LEASE_TTLS)?;
        let bounds = (MILLI, config.max_compute);
        let compute = span(options.compute_deadline, "compute_deadline", bounds)?;
        Ok(FetchOptions {
            stale,
            refresh: options.refresh,
            lease_ttl: lease_ttl.unwrap_or(config.default_lease_ttl),
            compute_deadline: compute.unwrap_or(config.default_compute),
            read: read_from(options.read)?,
        })
    };
    checked().map_err(|error| error.within("options"))
}

/// How long to wait; `None` when the request does not say.
pub(crate) fn wait(max_wait: Option<Duration>, context: &Context<'_>) -> Result<Option<Micros>> {
    let bounds = (Micros::ZERO, context.config.cache.max_wait);
    span(max_wait, "max_wait", bounds)
}

pub(crate) fn ended_by(failure: Option<v1::FillFailure>, context: &Context<'_>) -> Result<EndedBy> {
    let Some(failure) = failure else {
        return Ok(EndedBy::GivingUp);
    };
    let checked = || {
        let code = match failure.code {
            0 => 2,
            code @ 1..=16 => code,
            code => {
                let allowed = format!("must be a gRPC code, 1 to 16, is {code}");
                return Err(Error::invalid("code", allowed));
            }
        };
        if failure.message.len() > MAX_FAILURE_BYTES {
            let allowed = format!("must be at most {MAX_FAILURE_BYTES} bytes");
            return Err(Error::invalid("message", allowed));
        }
        let bounds = (Micros::ZERO, context.config.cache.max_failure_ttl);
        let remembered = span(failure.retry_after, "retry_after", bounds)?;
        Ok(EndedBy::Failing(Failure {
            code,
            message: failure.message.as_str().into(),
            remembered_for: remembered.unwrap_or(Micros::ZERO),
        }))
    };
    checked().map_err(|error| error.within("failure"))
}
