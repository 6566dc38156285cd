//! Declaring and forgetting limits.

use trellis_proto::v1 as proto;

use crate::acquired::SpecSource;
use crate::convert;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::scope::Scope;
use crate::spec::Spec;

/// A limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub spec: Spec,
    /// Keys with a spec of their own.
    pub overrides: Vec<KeyOverride>,
    /// Where the spec comes from.
    pub source: SpecSource,
    /// Live buckets.
    pub buckets: i64,
    /// How daemons come to its units.
    pub sharing: Sharing,
}

/// Another spec for one key of a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOverride {
    /// The key.
    pub key: String,
    /// Its spec.
    pub spec: Spec,
}

/// What becomes of the level of a limit's buckets when its spec changes. Held slots stay held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LevelPolicy {
    /// A rate keeps the units available, at most the new burst; a window keeps the units used.
    #[default]
    KeepAmount,
    /// The share that is available stays the same, rounded down.
    KeepProportion,
    /// Full.
    Refill,
}

/// How daemons that share a store come to the units of a limit. Without a shared store it has no effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Units are taken ahead where a limit is hot and a daemon's share of it is worth it.
    #[default]
    Auto,
    /// Every call is decided in the store.
    Exact,
    /// As [`Sharing::Auto`], however small the share.
    Leased,
}

/// A declaration being put together. Made by [`Limits::set_limit`].
#[derive(Clone, Debug)]
#[must_use = "a limit is not set until the call is sent"]
pub struct SetLimit {
    limits: Limits,
    name: String,
    spec: Spec,
    overrides: Vec<KeyOverride>,
    level_policy: LevelPolicy,
    sharing: Sharing,
    request_id: String,
}

/// The limit as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The limit.
    pub limit: Limit,
    /// It did not exist before.
    pub created: bool,
    /// Which guarantee the answer carries.
    pub scope: Scope,
}

impl SetLimit {
    pub(crate) fn new(limits: Limits, name: String, spec: Spec) -> Self {
        Self {
            limits,
            name,
            spec,
            overrides: Vec::new(),
            level_policy: LevelPolicy::default(),
            sharing: Sharing::default(),
            request_id: String::new(),
        }
    }

    /// Gives one key a spec of its own. Overrides that the limit had and that are not given again are
    /// dropped. At most 1,000.
    pub fn override_key(mut self, key: impl Into<String>, spec: impl Into<Spec>) -> Self {
        self.overrides.push(KeyOverride {
            key: key.into(),
            spec: spec.into(),
        });
        self
    }

    /// What becomes of the level. Default [`LevelPolicy::KeepAmount`].
    pub fn level_policy(mut self, policy: LevelPolicy) -> Self {
        self.level_policy = policy;
        self
    }

    /// How daemons come to its units. Default [`Sharing::Auto`].
    pub fn sharing(mut self, sharing: Sharing) -> Self {
        self.sharing = sharing;
        self
    }

    /// Makes a repeat with the same id get the first answer.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = id.into();
        self
    }

    /// Sends the declaration.
    pub async fn send(self) -> Result<Declared> {
        let request = proto::SetLimitRequest {
            namespace: self.limits.namespace_name(),
            name: self.name,
            spec: Some(self.spec.try_into()?),
            overrides: self
                .overrides
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_>>()?,
            level_policy: proto::LevelPolicy::from(self.level_policy).into(),
            sharing: proto::Sharing::from(self.sharing).into(),
            request_id: self.request_id,
        };
        let request = self.limits.request(request);
        let answer = self.limits.stub().set_limit(request).await?.into_inner();
        Ok(Declared {
            limit: convert::required(answer.limit, "limit")?.try_into()?,
            created: answer.created,
            scope: answer.scope.try_into()?,
        })
    }
}

/// A deletion being put together. Made by [`Limits::delete_limit`].
#[derive(Clone, Debug)]
#[must_use = "a limit is not deleted until the call is sent"]
pub struct DeleteLimit {
    limits: Limits,
    name: String,
    request_id: String,
}

/// Whether there was something to forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The limit existed.
    pub deleted: bool,
    /// Which guarantee the answer carries.
    pub scope: Scope,
}

impl DeleteLimit {
    pub(crate) fn new(limits: Limits, name: String) -> Self {
        Self {
            limits,
            name,
            request_id: String::new(),
        }
    }

    /// Makes a repeat with the same id get the first answer.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = id.into();
        self
    }

    /// Sends the deletion.
    pub async fn send(self) -> Result<Deleted> {
        let request = self.limits.request(proto::DeleteLimitRequest {
            namespace: self.limits.namespace_name(),
            name: self.name,
            request_id: self.request_id,
        });
        let answer = self.limits.stub().delete_limit(request).await?.into_inner();
        Ok(Deleted {
            deleted: answer.deleted,
            scope: answer.scope.try_into()?,
        })
    }
}

impl TryFrom<proto::Limit> for Limit {
    type Error = Error;

    fn try_from(limit: proto::Limit) -> Result<Self> {
        Ok(Self {
            name: limit.name,
            spec: convert::required(limit.spec, "limit.spec")?.try_into()?,
            overrides: convert::all(limit.overrides)?,
            source: SpecSource::decode(limit.source)?,
            buckets: limit.buckets,
            sharing: Sharing::decode(limit.sharing)?,
        })
    }
}

impl TryFrom<KeyOverride> for proto::KeyOverride {
    type Error = Error;

    fn try_from(item: KeyOverride) -> Result<Self> {
        Ok(Self {
            key: item.key,
            spec: Some(item.spec.try_into()?),
        })
    }
}

impl TryFrom<proto::KeyOverride> for KeyOverride {
    type Error = Error;

    fn try_from(item: proto::KeyOverride) -> Result<Self> {
        let spec = convert::required(item.spec, "override.spec")?.try_into()?;
        Ok(Self {
            key: item.key,
            spec,
        })
    }
}

impl Sharing {
    /// A daemon for which there is nothing to choose leaves it unset.
    pub(crate) fn decode(value: i32) -> Result<Self> {
        match proto::Sharing::try_from(value) {
            Ok(proto::Sharing::Unspecified | proto::Sharing::Auto) => Ok(Self::Auto),
            Ok(proto::Sharing::Exact) => Ok(Self::Exact),
            Ok(proto::Sharing::Leased) => Ok(Self::Leased),
            Err(_) => Err(convert::unknown(value, "sharing")),
        }
    }
}

impl From<Sharing> for proto::Sharing {
    fn from(sharing: Sharing) -> Self {
        match sharing {
            Sharing::Auto => Self::Auto,
            Sharing::Exact => Self::Exact,
            Sharing::Leased => Self::Leased,
        }
    }
}

impl From<LevelPolicy> for proto::LevelPolicy {
    fn from(policy: LevelPolicy) -> Self {
        match policy {
            LevelPolicy::KeepAmount => Self::KeepAmount,
            LevelPolicy::KeepProportion => Self::KeepProportion,
            LevelPolicy::Refill => Self::Refill,
        }
    }
}
