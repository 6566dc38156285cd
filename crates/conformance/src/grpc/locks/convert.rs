//! Between the types of the locks port and the contract's messages.
//!
//! What a daemon sends and the port cannot express is a defect, and ends the case that met it.

use super::super::convert::answer;
use prost_types::Duration;
use tonic::Status;
use trellis_client as client;
use trellis_core::locks::{
    AcquireLocks, AcquiredLocks, GrantedLock, HeldLease, Holder, LeaseId, LockGrant, LockHolder,
    LockMode, LockOutcome, LockPurpose, LockState, LockTarget, LockWaiter, LostReason, OnBreak,
    OpenSession, Token, Wait,
};
use trellis_core::{Error, Micros, Name, RequestId, Result, Scope};
use trellis_proto::v1;

pub(in crate::grpc) fn error(status: Status) -> Error {
    let failed = answer::<()>(Err(client::Error::from(status)));
    failed.unwrap_err()
}

/// The error of one item of a stream.
pub(in crate::grpc) fn item_error(status: &tonic_types::Status) -> Error {
    use prost::Message as _;
    let details = status.encode_to_vec().into();
    let code = tonic::Code::from_i32(status.code);
    error(Status::with_details(code, status.message.as_str(), details))
}

pub(super) fn span(span: Micros) -> Duration {
    std::time::Duration::from(span).try_into().unwrap()
}

pub(in crate::grpc) fn micros(duration: Option<Duration>) -> Micros {
    std::time::Duration::try_from(duration.unwrap())
        .unwrap()
        .into()
}

pub(in crate::grpc) fn scope(scope: Option<v1::Scope>) -> Scope {
    match v1::ScopeKind::try_from(scope.unwrap().kind).unwrap() {
        v1::ScopeKind::Shared => Scope::Shared,
        v1::ScopeKind::Local => Scope::Local,
        other => panic!("{other:?}"),
    }
}

pub(in crate::grpc) fn count(count: i64) -> usize {
    usize::try_from(count).unwrap()
}

pub(super) fn token(value: i64) -> Token {
    if value == 0 {
        return Token::NONE;
    }
    Token::new(value, "token").unwrap()
}

pub(super) fn token_out(token: Token) -> i64 {
    i64::try_from(token.get()).unwrap()
}

pub(super) fn name(name: String) -> Name {
    Name::new(name, "name").unwrap()
}

fn targets(targets: &[LockTarget]) -> Vec<v1::LockTarget> {
    let targets = targets.iter().map(|target| v1::LockTarget {
        name: target.name.as_str().to_owned(),
        mode: match target.mode {
            // Spelled as callers do who leave it out.
            LockMode::Exclusive => v1::LockMode::Unspecified.into(),
            LockMode::Shared => v1::LockMode::Shared.into(),
        },
    });
    targets.collect()
}

fn id(id: Option<&RequestId>) -> String {
    id.map_or_else(String::new, |id| id.as_str().to_owned())
}

fn purpose(purpose: LockPurpose) -> i32 {
    match purpose {
        // Spelled as callers do who leave it out.
        LockPurpose::Correctness => v1::LockPurpose::Unspecified.into(),
        LockPurpose::Efficiency => v1::LockPurpose::Efficiency.into(),
    }
}

/// A unary acquire, and how long it may wait if it does.
pub(super) fn acquire_out(
    acquire: &AcquireLocks,
) -> (v1::LockServiceAcquireRequest, Option<Micros>) {
    let Holder::Lease { ttl, owner } = &acquire.holder else {
        panic!("{acquire:?} is of a session");
    };
    let wait = match acquire.wait {
        Wait::Try => None,
        Wait::For(wait) => Some(wait),
    };
    let request = v1::LockServiceAcquireRequest {
        namespace: acquire.namespace.as_str().to_owned(),
        locks: targets(acquire.locks.targets()),
        ttl: Some(span(*ttl)),
        value: acquire.value.to_vec().into(),
        owner: owner.to_string(),
        request_id: id(acquire.request_id.as_ref()),
        max_wait: wait.map(span),
        pipeline: String::new(),
        purpose: purpose(acquire.purpose),
    };
    (request, wait)
}

pub(super) fn session_acquire_out(acquire: &AcquireLocks) -> v1::LockSessionAcquire {
    v1::LockSessionAcquire {
        locks: targets(acquire.locks.targets()),
        value: acquire.value.to_vec().into(),
        max_wait: match acquire.wait {
            Wait::Try => None,
            Wait::For(wait) => Some(span(wait)),
        },
        request_id: id(acquire.request_id.as_ref()),
        purpose: purpose(acquire.purpose),
    }
}

pub(super) fn open_out(open: &OpenSession) -> v1::LockSessionOpen {
    v1::LockSessionOpen {
        namespace: open.namespace.as_str().to_owned(),
        ttl: Some(span(open.ttl)),
        owner: open.owner.to_string(),
        on_break: match open.on_break {
            OnBreak::Keep => v1::OnBreak::Unspecified.into(),
            OnBreak::Release => v1::OnBreak::Release.into(),
        },
        session_secret: String::new(),
        pipeline: String::new(),
    }
}

fn mode(mode: i32) -> LockMode {
    match v1::LockMode::try_from(mode).unwrap() {
        v1::LockMode::Exclusive => LockMode::Exclusive,
        v1::LockMode::Shared => LockMode::Shared,
        v1::LockMode::Unspecified => panic!("a mode is missing"),
    }
}

pub(super) fn lease(id: &str) -> LeaseId {
    LeaseId::parse(id, "lease_id").unwrap()
}

pub(super) fn grant(grant: v1::LockGrant) -> LockGrant {
    let locks = grant.locks.into_iter().map(|lock| GrantedLock {
        name: name(lock.name),
        mode: mode(lock.mode),
        token: token(lock.token),
    });
    LockGrant {
        lease: lease(&grant.lease_id),
        locks: locks.collect(),
        remaining: micros(grant.lease_remaining),
        generation: u64::try_from(grant.generation).unwrap(),
    }
}

pub(super) fn held(held: v1::LockSessionHeld) -> HeldLease {
    let id = held.request_id;
    HeldLease {
        grant: grant(held.grant.unwrap()),
        request_id: (!id.is_empty()).then(|| RequestId::new(id, "request_id").unwrap()),
    }
}

pub(super) fn refused(refused: v1::LockRefused) -> AcquiredLocks {
    let position = u32::try_from(refused.position).unwrap();
    let outcome = match v1::LockOutcome::try_from(refused.outcome).unwrap() {
        v1::LockOutcome::Held => LockOutcome::Held {
            retry_after: micros(refused.retry_after),
            position,
        },
        v1::LockOutcome::TimedOut => LockOutcome::TimedOut {
            retry_after: micros(refused.retry_after),
            position,
        },
        v1::LockOutcome::Lost => LockOutcome::Lost,
        other => panic!("{other:?}"),
    };
    AcquiredLocks {
        outcome,
        scope: scope(refused.scope),
    }
}

pub(super) fn granted(granted: v1::LockGranted) -> AcquiredLocks {
    AcquiredLocks {
        outcome: LockOutcome::Granted(grant(granted.grant.unwrap())),
        scope: scope(granted.scope),
    }
}

pub(super) fn acquired(answer: v1::LockServiceAcquireResponse) -> AcquiredLocks {
    if answer.grant.is_some() {
        assert_eq!(answer.outcome, i32::from(v1::LockOutcome::Granted));
        return granted(v1::LockGranted {
            grant: answer.grant,
            scope: answer.scope,
        });
    }
    refused(v1::LockRefused {
        outcome: answer.outcome,
        retry_after: answer.retry_after,
        position: answer.position,
        scope: answer.scope,
    })
}

pub(super) fn lost(lost: v1::LockLost) -> LostReason {
    match v1::LostReason::try_from(lost.reason).unwrap() {
        v1::LostReason::Expired => LostReason::Expired,
        v1::LostReason::NotRestored => LostReason::NotRestored,
        // The contract has one text for both.
        v1::LostReason::Forced => LostReason::Forced {
            reason: lost.message.into(),
            actor: "".into(),
        },
        v1::LostReason::Unspecified => panic!("a reason is missing"),
    }
}

pub(super) fn state(state: v1::LockState) -> LockState {
    let holders = state.holders.into_iter().map(|holder| LockHolder {
        token: token(holder.token),
        mode: mode(holder.mode),
        owner: holder.owner.into(),
        value: holder.value.to_vec().into(),
        held_for: micros(holder.held_for),
        remaining: micros(holder.lease_remaining),
    });
    let waiters = (1..).zip(state.waiters).map(|(position, waiter)| {
        assert_eq!(waiter.position, position);
        LockWaiter {
            mode: mode(waiter.mode),
            owner: waiter.owner.into(),
            waiting_for: micros(waiter.waiting_for),
        }
    });
    LockState {
        name: name(state.name),
        holders: holders.collect(),
        holder_count: count(state.holder_count),
        waiters: waiters.collect(),
        waiter_count: count(state.waiter_count),
    }
}

/// What a call returns, its error as the port has it.
pub(in crate::grpc) fn call<T>(
    result: std::result::Result<tonic::Response<T>, Status>,
) -> Result<T> {
    result.map(tonic::Response::into_inner).map_err(error)
}
