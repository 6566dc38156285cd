//! Looks at locks, and what operators do.

use std::time::Duration;

use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use trellis_proto::v1 as proto;

use super::Locks;
use crate::convert;
use crate::error::{Error, Result};

/// A lock as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockState {
    /// Its name.
    pub name: String,
    /// Who holds it; at most 100 are shown.
    pub holders: Vec<LockHolder>,
    /// How many wait for it.
    pub waiters: u64,
}

/// A lease that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// Its fencing token.
    pub token: u64,
    /// Who it is, for people.
    pub owner: String,
    /// What it wants others to know.
    pub value: Vec<u8>,
    /// How long its lease lasts unless it is kept alive.
    pub remaining: Duration,
}

impl Locks {
    /// Who holds a lock and how many wait for it.
    pub async fn inspect(&self, name: impl Into<String>) -> Result<LockState> {
        let request = proto::LockServiceInspectRequest {
            namespace: self.namespace_name(),
            name: name.into(),
        };
        let request = self.shared().request(request, Duration::ZERO);
        let answer = self.shared().locks().inspect(request).await?.into_inner();
        convert::required(answer.lock, "lock")?.try_into()
    }

    /// The state of a lock now, and again after each change of its holders. A reader that is slower than the changes
    /// misses those in between, never the last. Ends with an error.
    pub async fn watch(
        &self,
        name: impl Into<String>,
    ) -> Result<BoxStream<'static, Result<LockState>>> {
        let request = proto::LockServiceWatchRequest {
            namespace: self.namespace_name(),
            name: name.into(),
        };
        let states = self.shared().locks().watch(request).await?.into_inner();
        let states = states
            .map_err(Error::from)
            .and_then(|answer| async { convert::required(answer.lock, "lock")?.try_into() });
        Ok(states.boxed())
    }

    /// Whether a token is that of a lease that holds the lock now.
    pub async fn check_token(&self, name: impl Into<String>, token: u64) -> Result<bool> {
        let request = proto::LockServiceCheckTokenRequest {
            namespace: self.namespace_name(),
            name: name.into(),
            token: signed(token)?,
        };
        let request = self.shared().request(request, Duration::ZERO);
        let answer = self.shared().locks().check_token(request).await?;
        Ok(answer.into_inner().current)
    }

    /// Takes a lock from whoever holds it with this token; tells how many leases ended. The daemon's log and the
    /// holder are told who did it and why.
    pub async fn force_release(
        &self,
        name: impl Into<String>,
        token: u64,
        actor: impl Into<String>,
        reason: impl Into<String>,
    ) -> Result<u64> {
        let request = proto::LockServiceForceReleaseRequest {
            namespace: self.namespace_name(),
            name: name.into(),
            expected_token: signed(token)?,
            reason: reason.into(),
            actor: actor.into(),
            request_id: String::new(),
        };
        let request = self.shared().request(request, Duration::ZERO);
        let answer = self.shared().locks().force_release(request).await?;
        unsigned(answer.into_inner().released, "released")
    }
}

fn signed(token: u64) -> Result<i64> {
    i64::try_from(token).map_err(|_| Error::invalid_request("a token is at most 2^53 - 1"))
}

pub(super) fn unsigned(value: i64, field: &str) -> Result<u64> {
    u64::try_from(value).map_err(|_| Error::invalid_answer(format!("{field} is {value}")))
}

impl TryFrom<proto::LockState> for LockState {
    type Error = Error;

    fn try_from(state: proto::LockState) -> Result<Self> {
        let holders = state.holders.into_iter().map(|holder| {
            Ok(LockHolder {
                token: unsigned(holder.token, "holders.token")?,
                owner: holder.owner,
                value: holder.value.into(),
                remaining: convert::duration(holder.lease_remaining, "lease_remaining")?,
            })
        });
        Ok(Self {
            name: state.name,
            holders: holders.collect::<Result<_>>()?,
            waiters: unsigned(state.waiter_count, "waiter_count")?,
        })
    }
}
