//! Between the contract's messages of locks and the port's types.

use super::{Context, count, duration, fitting, page_after, page_size, request_id, scope, span};
use prost::bytes::Bytes;
use std::sync::Arc;
use trellis_core::locks::{
    AcquireLocks, AcquiredLocks, ForceRelease, GrantedLock, HeldLease, Holder, LeaseId, LeaseRef,
    ListLocks, LockGrant, LockMode, LockOutcome, LockPage, LockPurpose, LockSet, LockState,
    LockTarget, LostReason, OnBreak, OpenSession, SessionId, SessionKey, SessionState, Token,
    TokenState, Wait,
};
use trellis_core::{Error, Key, Micros, Name, Namespace, Result};
use trellis_proto::v1;

/// The shortest time of a lease or session.
const MIN_TTL: Micros = Micros::from_millis(100);

fn mode(mode: i32, field: impl FnOnce() -> String) -> Result<LockMode> {
    match v1::LockMode::try_from(mode) {
        Ok(v1::LockMode::Unspecified | v1::LockMode::Exclusive) => Ok(LockMode::Exclusive),
        Ok(v1::LockMode::Shared) => Ok(LockMode::Shared),
        Err(_) => Err(Error::invalid(
            field(),
            format!("must be EXCLUSIVE or SHARED, is {mode}"),
        )),
    }
}

fn purpose(purpose: i32) -> Result<LockPurpose> {
    match v1::LockPurpose::try_from(purpose) {
        Ok(v1::LockPurpose::Unspecified | v1::LockPurpose::Correctness) => {
            Ok(LockPurpose::Correctness)
        }
        Ok(v1::LockPurpose::Efficiency) => Ok(LockPurpose::Efficiency),
        Err(_) => Err(Error::invalid(
            "purpose",
            format!("must be CORRECTNESS or EFFICIENCY, is {purpose}"),
        )),
    }
}

fn targets(locks: Vec<v1::LockTarget>, context: &Context<'_>) -> Result<LockSet> {
    let max = context.config.locks.max_targets;
    if locks.len() > max {
        let allowed = format!("must name 1 to {max} locks, names {}", locks.len());
        return Err(Error::invalid("locks", allowed));
    }
    let targets = locks.into_iter().enumerate().map(|(index, target)| {
        let name = Name::new(target.name, "name");
        Ok(LockTarget {
            name: name.map_err(|error| error.within(format_args!("locks[{index}]")))?,
            mode: mode(target.mode, || format!("locks[{index}].mode"))?,
        })
    });
    LockSet::new(targets.collect::<Result<_>>()?)
}

fn value(value: &Bytes, context: &Context<'_>) -> Result<Arc<[u8]>> {
    let max = context.config.locks.max_value_bytes;
    if value.len() > max {
        let allowed = format!("must be at most {max} bytes, is {}", value.len());
        return Err(Error::invalid("value", allowed));
    }
    Ok(Arc::from(&value[..]))
}

/// Text for people, which may be empty.
fn label(text: String, field: &str) -> Result<Arc<str>> {
    Key::new(text, field).map(|text| text.as_str().into())
}

fn ttl(ttl: Option<prost_types::Duration>, context: &Context<'_>) -> Result<Micros> {
    let bounds = &context.config.locks;
    let ttl = span(ttl, "ttl", (MIN_TTL, bounds.max_ttl))?;
    Ok(ttl.unwrap_or(bounds.default_ttl))
}

fn max_wait(wait: Option<prost_types::Duration>, context: &Context<'_>) -> Result<Option<Micros>> {
    let wait = span(
        wait,
        "max_wait",
        (Micros::ZERO, context.config.locks.max_wait),
    )?;
    Ok(wait.map(|wait| wait.min(context.deadline.unwrap_or(wait))))
}

pub(crate) fn try_acquire(
    request: v1::LockServiceTryAcquireRequest,
    context: &Context<'_>,
) -> Result<AcquireLocks> {
    Ok(AcquireLocks {
        namespace: context.namespace(request.namespace)?,
        locks: targets(request.locks, context)?,
        holder: Holder::Lease {
            ttl: ttl(request.ttl, context)?,
            owner: label(request.owner, "owner")?,
        },
        value: value(&request.value, context)?,
        wait: Wait::Try,
        purpose: purpose(request.purpose)?,
        request_id: request_id(request.request_id)?,
    })
}

pub(crate) fn acquire(
    request: v1::LockServiceAcquireRequest,
    context: &Context<'_>,
) -> Result<AcquireLocks> {
    Ok(AcquireLocks {
        namespace: context.namespace(request.namespace)?,
        locks: targets(request.locks, context)?,
        holder: Holder::Lease {
            ttl: ttl(request.ttl, context)?,
            owner: label(request.owner, "owner")?,
        },
        value: value(&request.value, context)?,
        wait: Wait::For(max_wait(request.max_wait, context)?.unwrap_or_default()),
        purpose: purpose(request.purpose)?,
        request_id: request_id(request.request_id)?,
    })
}

pub(crate) fn session_acquire(
    request: v1::LockSessionAcquire,
    session: SessionKey,
    context: &Context<'_>,
) -> Result<AcquireLocks> {
    Ok(AcquireLocks {
        namespace: context.namespace.clone(),
        locks: targets(request.locks, context)?,
        holder: Holder::Session(session),
        value: value(&request.value, context)?,
        wait: max_wait(request.max_wait, context)?.map_or(Wait::Try, Wait::For),
        purpose: purpose(request.purpose)?,
        request_id: request_id(request.request_id)?,
    })
}

/// A lease by the names that a request gives.
pub(crate) fn lease(namespace: String, lease: &str, context: &Context<'_>) -> Result<LeaseRef> {
    Ok(LeaseRef {
        namespace: context.namespace(namespace)?,
        lease: LeaseId::parse(lease, "lease_id")?,
    })
}

/// A lock by the names that a request gives.
pub(crate) fn lock(
    namespace: String,
    name: String,
    context: &Context<'_>,
) -> Result<(Namespace, Name)> {
    Ok((context.namespace(namespace)?, Name::new(name, "name")?))
}

pub(crate) fn force_release(
    request: v1::LockServiceForceReleaseRequest,
    context: &Context<'_>,
) -> Result<ForceRelease> {
    let words = |text: String, field: &str| Name::new(text, field).map(|it| it.as_str().into());
    Ok(ForceRelease {
        namespace: context.namespace(request.namespace)?,
        name: Name::new(request.name, "name")?,
        expected: Token::new(request.expected_token, "expected_token")?,
        reason: words(request.reason, "reason")?,
        actor: words(request.actor, "actor")?,
        request_id: request_id(request.request_id)?,
    })
}

/// What the first message of a session asks for.
pub(crate) enum Opening {
    New(OpenSession),
    Again(Namespace, SessionId),
}

pub(crate) fn open(request: v1::LockSessionOpen, context: &Context<'_>) -> Result<Opening> {
    let namespace = context.namespace(request.namespace)?;
    if !request.session_secret.is_empty() {
        let session = SessionId::parse(&request.session_secret, "session_secret")?;
        return Ok(Opening::Again(namespace, session));
    }
    let on_break = match v1::OnBreak::try_from(request.on_break) {
        Ok(v1::OnBreak::Unspecified | v1::OnBreak::Keep) => OnBreak::Keep,
        Ok(v1::OnBreak::Release) => OnBreak::Release,
        Err(_) => {
            let allowed = format!("must be KEEP or RELEASE, is {}", request.on_break);
            return Err(Error::invalid("on_break", allowed));
        }
    };
    Ok(Opening::New(OpenSession {
        namespace,
        ttl: ttl(request.ttl, context)?,
        owner: label(request.owner, "owner")?,
        on_break,
    }))
}

/// What stands before the last name of a page in its token.
fn locks_token(namespace: &Namespace) -> String {
    format!("locks/{namespace}/")
}

pub(crate) fn list(
    request: v1::LockServiceListRequest,
    context: &Context<'_>,
) -> Result<ListLocks> {
    let namespace = context.namespace(request.namespace)?;
    let owner = locks_token(&namespace);
    let after = page_after(&request.page_token, &owner, |name, field| {
        Name::new(name, field)
    })?;
    Ok(ListLocks {
        namespace,
        page_size: page_size(request.page_size)?,
        after,
    })
}

pub(crate) fn page(page: LockPage, namespace: &Namespace) -> v1::LockServiceListResponse {
    let (locks, cut) = fitting(page.locks.into_iter().map(state));
    let last = locks.last().filter(|_| cut || page.more);
    v1::LockServiceListResponse {
        next_page_token: last
            .map(|last| format!("{}{}", locks_token(namespace), last.name))
            .unwrap_or_default(),
        locks,
        scope: Some(scope(&page.scope)),
    }
}

fn token(token: Token) -> i64 {
    count(token.get())
}

fn wire_mode(mode: LockMode) -> i32 {
    match mode {
        LockMode::Exclusive => v1::LockMode::Exclusive.into(),
        LockMode::Shared => v1::LockMode::Shared.into(),
    }
}

pub(crate) fn grant(grant: &LockGrant) -> v1::LockGrant {
    let locks = grant
        .locks
        .iter()
        .map(|lock: &GrantedLock| v1::GrantedLock {
            name: lock.name.as_str().to_owned(),
            mode: wire_mode(lock.mode),
            token: token(lock.token),
        });
    v1::LockGrant {
        lease_id: grant.lease.reveal(),
        locks: locks.collect(),
        lease_remaining: Some(duration(grant.remaining)),
        generation: count(grant.generation),
    }
}

/// An outcome that is not a grant: outcome, time to retry, place.
fn refusal(outcome: &LockOutcome) -> (v1::LockOutcome, Option<Micros>, u32) {
    match *outcome {
        LockOutcome::Granted(_) => (v1::LockOutcome::Granted, None, 0),
        LockOutcome::Held {
            retry_after,
            position,
        } => (v1::LockOutcome::Held, Some(retry_after), position),
        LockOutcome::TimedOut {
            retry_after,
            position,
        } => (v1::LockOutcome::TimedOut, Some(retry_after), position),
        LockOutcome::Lost => (v1::LockOutcome::Lost, None, 0),
    }
}

pub(crate) fn acquired(acquired: AcquiredLocks) -> v1::LockServiceAcquireResponse {
    let (outcome, retry_after, position) = refusal(&acquired.outcome);
    let granted = match acquired.outcome {
        LockOutcome::Granted(granted) => Some(grant(&granted)),
        _ => None,
    };
    v1::LockServiceAcquireResponse {
        outcome: outcome.into(),
        grant: granted,
        retry_after: retry_after.map(duration),
        position: i64::from(position),
        scope: Some(scope(&acquired.scope)),
    }
}

pub(crate) fn tried(tried: AcquiredLocks) -> v1::LockServiceTryAcquireResponse {
    let answer = acquired(tried);
    v1::LockServiceTryAcquireResponse {
        outcome: answer.outcome,
        grant: answer.grant,
        retry_after: answer.retry_after,
        position: answer.position,
        scope: answer.scope,
    }
}

pub(crate) fn session_acquired(
    acquired: AcquiredLocks,
) -> v1::lock_service_session_response::Response {
    use v1::lock_service_session_response::Response;
    let (outcome, retry_after, position) = refusal(&acquired.outcome);
    let scope = Some(scope(&acquired.scope));
    match acquired.outcome {
        LockOutcome::Granted(granted) => Response::Granted(v1::LockGranted {
            grant: Some(grant(&granted)),
            scope,
        }),
        _ => Response::Refused(v1::LockRefused {
            outcome: outcome.into(),
            retry_after: retry_after.map(duration),
            position: i64::from(position),
            scope,
        }),
    }
}

/// The messages that tell of a session: more than one where its leases do not fit one.
pub(crate) fn opened(state: SessionState) -> Vec<v1::LockSessionOpened> {
    let whole = v1::LockSessionOpened {
        session_secret: state.id().reveal(),
        ttl: Some(duration(state.ttl)),
        lease_remaining: Some(duration(state.remaining)),
        held: Vec::new(),
        generation: count(state.generation),
        scope: Some(scope(&state.scope)),
        more_held: false,
    };
    let mut held = state.held.into_iter().map(held).peekable();
    let mut messages = Vec::new();
    loop {
        let mut message = whole.clone();
        let mut bytes = 0;
        while let Some(next) = held.next_if(|next| fits(&mut bytes, next)) {
            message.held.push(next);
        }
        message.more_held = held.peek().is_some();
        let last = !message.more_held;
        messages.push(message);
        if last {
            return messages;
        }
    }
}

/// Whether one more item fits a message that has so many bytes of them.
fn fits<T: prost::Message>(bytes: &mut usize, item: &T) -> bool {
    const BUDGET: usize = trellis_proto::MAX_MESSAGE_BYTES - 4_096;
    *bytes += item.encoded_len() + 8;
    *bytes <= BUDGET
}

fn held(held: HeldLease) -> v1::LockSessionHeld {
    v1::LockSessionHeld {
        grant: Some(grant(&held.grant)),
        request_id: held.request_id.map(String::from).unwrap_or_default(),
    }
}

pub(crate) fn lost(lease: LeaseId, reason: &LostReason) -> v1::LockLost {
    v1::LockLost {
        lease_id: lease.reveal(),
        reason: match reason {
            LostReason::Expired => v1::LostReason::Expired.into(),
            LostReason::Forced { .. } => v1::LostReason::Forced.into(),
            LostReason::NotRestored => v1::LostReason::NotRestored.into(),
        },
        message: reason.message(),
    }
}

pub(crate) fn state(state: LockState) -> v1::LockState {
    let holders = state.holders.into_iter().map(|holder| v1::LockHolder {
        token: token(holder.token),
        mode: wire_mode(holder.mode),
        owner: holder.owner.to_string(),
        value: Bytes::copy_from_slice(&holder.value),
        held_for: Some(duration(holder.held_for)),
        lease_remaining: Some(duration(holder.remaining)),
    });
    let waiters = (1..)
        .zip(state.waiters)
        .map(|(position, waiter)| v1::LockWaiter {
            position,
            mode: wire_mode(waiter.mode),
            owner: waiter.owner.to_string(),
            waiting_for: Some(duration(waiter.waiting_for)),
        });
    v1::LockState {
        name: state.name.into(),
        holders: holders.collect(),
        holder_count: count(state.holder_count),
        waiters: waiters.collect(),
        waiter_count: count(state.waiter_count),
    }
}

pub(crate) fn token_state(state: &TokenState) -> v1::LockServiceCheckTokenResponse {
    v1::LockServiceCheckTokenResponse {
        current: state.remaining.is_some(),
        held_token: token(state.held),
        lease_remaining: state.remaining.map(duration),
        scope: Some(scope(&state.scope)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ServiceConfig;

    fn field(request: v1::LockServiceTryAcquireRequest) -> String {
        let namespace = Namespace::new("n", "namespace").unwrap();
        let context = Context {
            config: &ServiceConfig::default(),
            namespace: &namespace,
            deadline: None,
        };
        let error = try_acquire(request, &context).unwrap_err();
        error.violation.unwrap().field
    }

    fn one() -> v1::LockServiceTryAcquireRequest {
        v1::LockServiceTryAcquireRequest {
            locks: vec![v1::LockTarget {
                name: "a".into(),
                mode: 0,
            }],
            ..Default::default()
        }
    }

    #[test]
    fn a_bad_field_is_refused_by_its_name() {
        let mut none = one();
        none.locks.clear();
        assert_eq!(field(none), "locks");
        let mut many = one();
        many.locks = vec![v1::LockTarget::default(); 33];
        assert_eq!(field(many), "locks");
        let mut unnamed = one();
        unnamed.locks.push(v1::LockTarget::default());
        assert_eq!(field(unnamed), "locks[1].name");
        let mut odd = one();
        odd.locks[0].mode = 9;
        assert_eq!(field(odd), "locks[0].mode");
        let mut short = one();
        short.ttl = Some(duration(Micros(99_999)));
        assert_eq!(field(short), "ttl");
        let mut large = one();
        large.value = vec![0; 4_097].into();
        assert_eq!(field(large), "value");
        let mut aimless = one();
        aimless.purpose = 9;
        assert_eq!(field(aimless), "purpose");
        let mut control = one();
        control.owner = "a\tb".into();
        assert_eq!(field(control), "owner");
    }
}
