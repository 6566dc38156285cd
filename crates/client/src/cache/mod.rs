//! The cache of a namespace: values kept, and each computed by one caller at a time.
//!
//! [`Cache::get_or_compute`] and its kin are for most callers. [`Cache::fetch`] gives their parts: what
//! happens to each key, leases, and values token by token.

mod compute;
mod entry;
mod failure;
mod key;
mod session;
mod stats;

pub use entry::{Cost, Entry, Keep, Source, StaleMode};
pub use failure::ComputeError;
pub use key::CacheKey;
pub use session::{Fetch, FetchEvent};
pub use stats::CacheStats;

use crate::client::Shared;
use crate::error::{Error, Result};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use trellis_proto::v1 as proto;

/// The cache of one namespace. Clones share the client's connection.
#[derive(Clone, Debug)]
pub struct Cache {
    shared: Arc<Shared>,
    namespace: Arc<str>,
    read: proto::Read,
}

/// What is asked of an entry before it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    Always,
    /// That there is no fresh entry.
    Absent,
    /// That the fresh entry has this version.
    Version(i64),
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is kept, under this version.
    Stored(i64),
    /// The condition did not hold: the version of the fresh entry, if there is one.
    Mismatch(Option<i64>),
}

impl Cache {
    pub(crate) fn new(shared: Arc<Shared>, namespace: String) -> Self {
        Self {
            shared,
            namespace: namespace.into(),
            read: proto::Read::Unspecified,
        }
    }

    /// The same cache, its reads answered by the shared store alone: never by a daemon's copy, which may be behind by as
    /// long as a message takes.
    #[must_use]
    pub fn read_shared(mut self) -> Self {
        self.read = proto::Read::Shared;
        self
    }

    fn request<T>(&self, message: T) -> tonic::Request<T> {
        self.shared.request(message, Duration::ZERO)
    }

    fn namespace(&self) -> String {
        self.namespace.to_string()
    }

    /// The fresh entry under a key.
    pub async fn get(&self, key: impl Into<String>) -> Result<Option<Entry>> {
        let key = key.into();
        let mut value: Vec<u8> = Vec::new();
        let mut version = None;
        loop {
            let request = proto::GetRequest {
                namespace: self.namespace(),
                key: key.clone(),
                allow_stale: false,
                read: self.read.into(),
                offset: i64::try_from(value.len()).unwrap_or(i64::MAX),
            };
            let request = self.request(request);
            let answer = self.shared.cache().get(request).await?.into_inner();
            let Some(entry) = answer.entry else {
                return Ok(None);
            };
            if *version.get_or_insert(entry.version) != entry.version {
                // Another value was written meanwhile: from its start.
                value.clear();
                version = None;
            } else if is_part(value.len(), &entry) && !entry.value.is_empty() {
                value.extend_from_slice(&entry.value);
            } else {
                return Entry::read(&value, entry, answer.scope).map(Some);
            }
        }
    }

    /// The fresh entries under keys, in their order.
    pub async fn get_many(&self, keys: Vec<String>) -> Result<Vec<Option<Entry>>> {
        use proto::batch_get_result::Result as One;
        let mut found = Vec::with_capacity(keys.len());
        while found.len() < keys.len() {
            let before = found.len();
            let request = proto::BatchGetRequest {
                namespace: self.namespace(),
                keys: keys[before..].to_vec(),
                allow_stale: false,
                read: self.read.into(),
            };
            let request = self.request(request);
            let answer = self.shared.cache().batch_get(request).await?.into_inner();
            for (key, result) in keys[before..].iter().zip(answer.results) {
                match result.result {
                    Some(One::Miss(_)) => found.push(None),
                    Some(One::Entry(entry)) if is_part(0, &entry) => {
                        found.push(self.get(key.as_str()).await?);
                    }
                    Some(One::Entry(entry)) => {
                        found.push(Some(Entry::read(&[], entry, answer.scope.clone())?));
                    }
                    Some(One::Deferred(_)) => break,
                    Some(One::Error(status)) => return Err(Error::from_item(&status)),
                    None => return Err(Error::invalid_answer("a key without an answer")),
                }
            }
            if found.len() == before {
                return Err(Error::invalid_answer("no key of a batch was answered"));
            }
        }
        Ok(found)
    }

    /// Keeps a value of at most 1 MiB; larger ones are written by [`Cache::get_or_compute`] or a [`Fetch`].
    pub async fn set(
        &self,
        key: impl Into<String>,
        value: impl Into<Bytes>,
        keep: &Keep,
    ) -> Result<Written> {
        let value = Some(value.into());
        self.set_if(key, value, keep, Condition::Always).await
    }

    /// Keeps a value, or that there is none, under a condition.
    pub async fn set_if(
        &self,
        key: impl Into<String>,
        value: Option<Bytes>,
        keep: &Keep,
        condition: Condition,
    ) -> Result<Written> {
        let mut item = item(key.into(), value, keep)?;
        item.if_version = match condition {
            Condition::Always => None,
            Condition::Absent => Some(0),
            Condition::Version(version) => Some(version),
        };
        let request = self.request(proto::SetRequest {
            namespace: self.namespace(),
            item: Some(item),
            fence: keep.wire_fence(),
        });
        let answer = self.shared.cache().set(request).await?.into_inner();
        if answer.stored {
            return Ok(Written::Stored(answer.version));
        }
        let version = Some(answer.version).filter(|version| *version != 0);
        Ok(Written::Mismatch(version))
    }

    /// Keeps values; each has its own answer, in their order: its version.
    pub async fn set_many(
        &self,
        items: Vec<(String, Bytes)>,
        keep: &Keep,
    ) -> Result<Vec<Result<i64>>> {
        use proto::batch_set_result::Result as One;
        let items = items.into_iter();
        let items = items.map(|(key, value)| item(key, Some(value), keep));
        let request = self.request(proto::BatchSetRequest {
            namespace: self.namespace(),
            items: items.collect::<Result<_>>()?,
            fence: keep.wire_fence(),
        });
        let answer = self.shared.cache().batch_set(request).await?.into_inner();
        let results = answer
            .results
            .into_iter()
            .map(|result| match result.result {
                Some(One::Response(answer)) => Ok(answer.version),
                Some(One::Error(status)) => Err(Error::from_item(&status)),
                None => Err(Error::invalid_answer("an item without an answer")),
            });
        Ok(results.collect())
    }

    /// Forgets an entry; tells whether there was one.
    pub async fn delete(&self, key: impl Into<String>) -> Result<bool> {
        let request = self.request(proto::DeleteRequest {
            namespace: self.namespace(),
            key: key.into(),
            if_version: None,
        });
        let answer = self.shared.cache().delete(request).await?;
        Ok(answer.into_inner().deleted)
    }

    /// Forgets entries; tells how many there were.
    pub async fn delete_many(&self, keys: Vec<String>) -> Result<usize> {
        use proto::batch_delete_result::Result as One;
        let request = self.request(proto::BatchDeleteRequest {
            namespace: self.namespace(),
            keys,
        });
        let answer = self.shared.cache().batch_delete(request).await?;
        let mut deleted = 0;
        for result in answer.into_inner().results {
            match result.result {
                Some(One::Response(answer)) => deleted += usize::from(answer.deleted),
                Some(One::Error(status)) => return Err(Error::from_item(&status)),
                None => return Err(Error::invalid_answer("a key without an answer")),
            }
        }
        Ok(deleted)
    }

    /// Forgets every entry that bears a tag, at once.
    pub async fn clear_tag(&self, tag: impl Into<String>) -> Result<()> {
        let tag = tag.into();
        if tag.is_empty() {
            let message = "an empty tag; clear_all clears the namespace";
            return Err(Error::invalid_request(message));
        }
        self.clear(tag).await
    }

    /// Forgets every entry of the namespace, at once.
    pub async fn clear_all(&self) -> Result<()> {
        self.clear(String::new()).await
    }

    async fn clear(&self, tag: String) -> Result<()> {
        let namespace = self.namespace();
        let request = self.request(proto::ClearRequest { namespace, tag });
        self.shared.cache().clear(request).await?;
        Ok(())
    }

    /// What is kept, what happened since the namespace came into use, and what hits saved.
    pub async fn stats(&self) -> Result<CacheStats> {
        let namespace = self.namespace();
        let request = self.request(proto::StatsRequest { namespace });
        self.shared
            .cache()
            .stats(request)
            .await?
            .into_inner()
            .try_into()
    }

    /// Gets or computes keys, step by step, with values in parts as they are computed. Equal keys are one, at
    /// its first place.
    pub async fn fetch(
        &self,
        keys: impl IntoIterator<Item = impl Into<String>>,
        keep: &Keep,
    ) -> Result<Fetch> {
        let keys = keys.into_iter().map(Into::into).collect();
        let asked = (&*self.namespace, self.read);
        Fetch::open(&self.shared, asked, keys, keep).await
    }
}

fn item(key: String, value: Option<Bytes>, keep: &Keep) -> Result<proto::SetItem> {
    Ok(proto::SetItem {
        key,
        negative: value.is_none(),
        value: value.unwrap_or_default(),
        content_type: keep.content_type.clone(),
        policy: Some(keep.policy()?),
        cost: Some(keep.wire_cost()),
        if_version: None,
    })
}

/// Whether more of the value is to be read after `before` bytes and those of this entry.
fn is_part(before: usize, entry: &proto::Entry) -> bool {
    usize::try_from(entry.size).is_ok_and(|size| before + entry.value.len() < size)
}
