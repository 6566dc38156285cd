//! The cache port over a channel to the daemon.

mod convert;
mod fetch;

use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use tonic::transport::Channel;
use trellis_core::cache::{
    Appended, Begin, Begun, Cache, CacheStats, CacheStatus, ClearTarget, Content, Deleted, EndedBy,
    Filled, GetOptions, Hit, Lease, LeaseEnd, LeaseId, Lookup, NewEntry, Precondition, ReadFrom,
    Version, Wait, Written,
};
use trellis_core::{EntryKey, Namespace, Result, Scope};
use trellis_proto::v1;
use trellis_proto::v1::cache_service_client::CacheServiceClient;

/// The largest message of the suite: a value above the bound must reach the daemon.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

type Held<T> = std::result::Result<T, LeaseEnd>;

/// A daemon's cache, as its callers see it.
///
/// Keys that may have to be waited for go over a Fetch stream, detached, so that a lease lives by its renewals
/// as it does at the port; everything else is a unary call.
#[derive(Clone, Debug)]
pub struct GrpcCache {
    stub: CacheServiceClient<Channel>,
    /// Where reads are answered from that do not ask for the store.
    read: ReadFrom,
}

impl GrpcCache {
    /// The cache behind a channel.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        let stub = CacheServiceClient::new(channel).max_encoding_message_size(MAX_MESSAGE_BYTES);
        let read = ReadFrom::Near;
        Self { stub, read }
    }

    /// The same cache, all reads answered from there.
    #[must_use]
    pub fn reading(mut self, read: ReadFrom) -> Self {
        self.read = read;
        self
    }

    fn reads_from(&self, asked: ReadFrom) -> ReadFrom {
        match asked {
            ReadFrom::Near => self.read,
            ReadFrom::Store => ReadFrom::Store,
        }
    }

    fn stub(&self) -> CacheServiceClient<Channel> {
        self.stub.clone()
    }

    /// What is left of a value that came in part.
    async fn whole(
        &self,
        namespace: &str,
        key: &str,
        entry: v1::Entry,
        options: GetOptions,
    ) -> Result<Hit> {
        let (mut value, size) = (entry.value.to_vec(), convert::size(entry.size));
        while value.len() < size {
            let request = v1::GetRequest {
                namespace: namespace.to_owned(),
                key: key.to_owned(),
                allow_stale: options.allow_stale,
                read: convert::read(options.read).into(),
                offset: convert::signed(value.len() as u64),
            };
            let answer = convert::answer(self.stub().get(request).await)?;
            let part = answer.entry.expect("the entry is still there");
            assert_eq!(part.version, entry.version);
            value.extend_from_slice(&part.value);
        }
        let entry = v1::Entry {
            value: value.into(),
            ..entry
        };
        Ok(convert::hit(entry))
    }
}

#[async_trait]
impl Cache for GrpcCache {
    async fn get(
        &self,
        namespace: &Namespace,
        keys: &[EntryKey],
        options: GetOptions,
    ) -> Result<(Vec<Lookup>, Scope)> {
        let read = self.reads_from(options.read);
        let options = GetOptions { read, ..options };
        let request = v1::BatchGetRequest {
            namespace: namespace.to_string(),
            keys: keys.iter().map(ToString::to_string).collect(),
            allow_stale: options.allow_stale,
            read: convert::read(options.read).into(),
        };
        let answer = convert::answer(self.stub().batch_get(request).await)?;
        let mut found = Vec::with_capacity(keys.len());
        for (key, result) in keys.iter().zip(answer.results) {
            found.push(match result.result.unwrap() {
                v1::batch_get_result::Result::Miss(_) => Lookup::Miss,
                v1::batch_get_result::Result::Entry(entry) => {
                    let whole = self.whole(namespace.as_str(), key.as_str(), entry, options);
                    Lookup::Hit(whole.await?)
                }
                v1::batch_get_result::Result::Deferred(_) => panic!("no case is so large"),
                v1::batch_get_result::Result::Error(error) => return Err(convert::item(&error)),
            });
        }
        Ok((found, convert::scope(answer.scope)))
    }

    async fn set(
        &self,
        namespace: &Namespace,
        key: &EntryKey,
        entry: NewEntry,
        precondition: Precondition,
    ) -> Result<(Written, Scope)> {
        let negative = entry.content == Content::Negative;
        let item = v1::SetItem {
            key: key.to_string(),
            value: entry.content.value().cloned().unwrap_or_default(),
            negative,
            content_type: entry.content_type.to_string(),
            policy: Some(convert::policy(&entry.policy)),
            cost: Some(convert::cost_out(entry.cost)),
            if_version: match precondition {
                Precondition::Always => None,
                Precondition::Absent => Some(0),
                Precondition::Is(version) => Some(convert::signed(version.0)),
            },
        };
        let request = v1::SetRequest {
            namespace: namespace.to_string(),
            item: Some(item),
            fence: entry.fence.map(convert::fence),
        };
        let answer = convert::answer(self.stub().set(request).await)?;
        let written = if answer.stored {
            Written::Stored(Version(convert::unsigned(answer.version)))
        } else {
            Written::Mismatch(convert::version(answer.version))
        };
        Ok((written, convert::scope(answer.scope)))
    }

    async fn delete(
        &self,
        namespace: &Namespace,
        key: &EntryKey,
        precondition: Precondition,
    ) -> Result<(Deleted, Scope)> {
        let request = v1::DeleteRequest {
            namespace: namespace.to_string(),
            key: key.to_string(),
            if_version: match precondition {
                Precondition::Is(version) => Some(convert::signed(version.0)),
                Precondition::Always | Precondition::Absent => None,
            },
        };
        let answer = convert::answer(self.stub().delete(request).await)?;
        let deleted = match (answer.deleted, answer.mismatch) {
            (true, _) => Deleted::Gone,
            (false, false) => Deleted::Absent,
            (false, true) => Deleted::Mismatch(convert::version(answer.version)),
        };
        Ok((deleted, convert::scope(answer.scope)))
    }

    async fn clear(&self, namespace: &Namespace, target: ClearTarget) -> Result<(u64, Scope)> {
        let request = v1::ClearRequest {
            namespace: namespace.to_string(),
            tag: match target {
                ClearTarget::All => String::new(),
                ClearTarget::Tag(tag) => tag.to_string(),
            },
        };
        let answer = convert::answer(self.stub().clear(request).await)?;
        let generation = convert::unsigned(answer.generation);
        Ok((generation, convert::scope(answer.scope)))
    }

    async fn begin(self: Arc<Self>, mut begin: Begin) -> Result<(Vec<Result<Begun>>, Scope)> {
        begin.options.read = self.reads_from(begin.options.read);
        if begin.wait == Wait::No {
            let mut answers = Vec::with_capacity(begin.keys.len());
            for key in &begin.keys {
                answers.push(self.begin_one(&begin, key).await);
            }
            return Ok((answers, Scope::Local));
        }
        fetch::begin(self.stub(), begin).await
    }

    async fn append(
        &self,
        namespace: &Namespace,
        lease: LeaseId,
        offset: usize,
        part: Bytes,
    ) -> Result<(Held<Appended>, Scope)> {
        let request = v1::AppendFillRequest {
            namespace: namespace.to_string(),
            lease: convert::signed(lease.0),
            offset: convert::signed(offset as u64),
            part,
        };
        let answer = convert::answer(self.stub().append_fill(request).await)?;
        let size = convert::size(answer.size);
        let appended = convert::held(answer.lease_end, Appended { size });
        Ok((appended, convert::scope(answer.scope)))
    }

    async fn fill(
        &self,
        namespace: &Namespace,
        lease: LeaseId,
        entry: NewEntry,
        keep: bool,
    ) -> Result<(Held<Filled>, Scope)> {
        let negative = entry.content == Content::Negative;
        let request = v1::FillRequest {
            namespace: namespace.to_string(),
            lease: convert::signed(lease.0),
            value: entry.content.value().cloned().unwrap_or_default(),
            negative,
            content_type: entry.content_type.to_string(),
            policy: Some(convert::policy(&entry.policy)),
            cost: Some(convert::cost_out(entry.cost)),
            no_store: !keep,
            fence: entry.fence.map(convert::fence),
        };
        let answer = convert::answer(self.stub().fill(request).await)?;
        let filled = Filled {
            version: Version(convert::unsigned(answer.version)),
            waiters: convert::size(answer.waiters),
        };
        let filled = convert::held(answer.lease_end, filled);
        Ok((filled, convert::scope(answer.scope)))
    }

    async fn fail(
        &self,
        namespace: &Namespace,
        lease: LeaseId,
        by: EndedBy,
    ) -> Result<(Held<Option<Hit>>, Scope)> {
        let request = v1::FailFillRequest {
            namespace: namespace.to_string(),
            lease: convert::signed(lease.0),
            failure: match by {
                EndedBy::GivingUp => None,
                EndedBy::Failing(failure) => Some(convert::failure_out(&failure)),
            },
        };
        let answer = convert::answer(self.stub().fail_fill(request).await)?;
        let failed = convert::held(answer.lease_end, answer.stale.map(convert::hit));
        Ok((failed, convert::scope(answer.scope)))
    }

    async fn renew(&self, namespace: &Namespace, lease: LeaseId) -> Result<(Held<Lease>, Scope)> {
        let request = v1::RenewFillRequest {
            namespace: namespace.to_string(),
            lease: convert::signed(lease.0),
        };
        let answer = convert::answer(self.stub().renew_fill(request).await)?;
        let renewed = match answer.lease {
            Some(lease) => Ok(convert::lease(lease)),
            None => convert::held(answer.lease_end, None).map(Option::unwrap),
        };
        Ok((renewed, convert::scope(answer.scope)))
    }

    fn abandon(&self, namespace: &Namespace, leases: &[LeaseId]) {
        for lease in leases.iter().copied() {
            let (cache, namespace) = (self.clone(), namespace.clone());
            crate::spawn(async move {
                let given_up = cache.fail(&namespace, lease, EndedBy::GivingUp).await;
                given_up.unwrap().0.unwrap();
            });
        }
    }

    async fn stats(&self, namespace: &Namespace) -> Result<(CacheStats, Scope)> {
        let namespace = namespace.to_string();
        let request = v1::StatsRequest { namespace };
        let answer = convert::answer(self.stub().stats(request).await)?;
        let stats = convert::stats(&answer.stats.unwrap());
        Ok((stats, convert::scope(answer.scope)))
    }

    fn status(&self) -> CacheStatus {
        CacheStatus::default()
    }

    fn scope(&self) -> Scope {
        Scope::Local
    }
}

impl GrpcCache {
    async fn begin_one(&self, begin: &Begin, key: &EntryKey) -> Result<Begun> {
        let request = v1::BeginFillRequest {
            namespace: begin.namespace.to_string(),
            key: key.to_string(),
            options: Some(convert::options(&begin.options)),
        };
        let answer = convert::answer(self.stub().begin_fill(request).await)?;
        Ok(match answer.answer.unwrap() {
            v1::begin_fill_response::Answer::Hit(hit) => Begun::Hit {
                hit: convert::hit(hit.entry.unwrap()),
                refresh: hit.refresh.map(convert::lease),
            },
            v1::begin_fill_response::Answer::Lease(lease) => Begun::Lease(convert::lease(lease)),
            v1::begin_fill_response::Answer::Busy(_) => Begun::Busy,
            v1::begin_fill_response::Answer::Failure(failure) => {
                Begun::Failed(convert::failure(&failure))
            }
        })
    }
}
