//! [`Election`]: one leader among many, and those who want to know who it is.

use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};

use super::acquire::Locked;
use super::look::LockState;
use super::{Lock, Locks};
use crate::error::Result;

/// An election. Made by [`Locks::election`].
#[derive(Clone, Debug)]
pub struct Election {
    locks: Locks,
    name: String,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Its fencing token: higher than that of every leader before.
    pub token: u64,
    /// Who it is, for people.
    pub owner: String,
    /// What it said when it stood, for example its address.
    pub value: Vec<u8>,
}

impl Election {
    pub(super) fn new(locks: Locks, name: String) -> Self {
        Self { locks, name }
    }

    /// Stands for election, with what others shall know of the leader, and waits in order of arrival. The guard is the
    /// leadership: it ends when the guard is lost, released or dropped.
    pub async fn campaign(&self, value: impl Into<Vec<u8>>) -> Result<Locked> {
        self.lock(value).acquire().await
    }

    /// As [`Election::campaign`], with options.
    pub fn lock(&self, value: impl Into<Vec<u8>>) -> Lock {
        self.locks.lock(self.name.clone()).value(value)
    }

    /// Who leads now; nobody while the office is vacant.
    pub async fn leader(&self) -> Result<Option<Leader>> {
        Ok(leader(self.locks.inspect(self.name.clone()).await?))
    }

    /// Who leads now, and again after each change. See [`Locks::watch`].
    pub async fn observe(&self) -> Result<BoxStream<'static, Result<Option<Leader>>>> {
        let states = self.locks.watch(self.name.clone()).await?;
        Ok(states.map_ok(leader).boxed())
    }
}

fn leader(state: LockState) -> Option<Leader> {
    let holder = state.holders.into_iter().next()?;
    Some(Leader {
        token: holder.token,
        owner: holder.owner,
        value: holder.value,
    })
}
