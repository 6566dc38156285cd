//! `CacheService` over the cache port.
//!
//! Unary calls are here and in `server`; the Fetch stream, which waits for many keys at once and keeps its
//! caller's leases, is in `fetch`.

mod batch;
mod fetch;
mod leases;
mod server;

pub(crate) use server::CacheServer;

use crate::announce::Announcer;
use crate::convert::{self, Context, cache as spelled};
use crate::drain::or_draining;
use crate::obey::Obeyed;
use crate::{Parts, RpcStats, ServiceConfig};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use trellis_core::cache::{
    Begin, Begun, Cache, Failure, Fence, FetchOptions, Hit, Landing, Lease, Lookup, Precondition,
    Progress, Wait, Waiting,
};
use trellis_core::{Clock, EntryKey, Error, ErrorCode, Micros, Namespace, Result, Scope};
use trellis_proto::v1;

/// The RPC that streamed requests are counted under.
const FETCH: &str = "trellis.v1.CacheService/Fetch";

/// What every call and stream of the cache needs.
pub(crate) struct CacheRpc {
    pub cache: Arc<dyn Cache>,
    pub announcer: Announcer,
    pub pipelines: Obeyed,
    pub config: ServiceConfig,
    pub clock: Arc<dyn Clock>,
    pub stats: Arc<RpcStats>,
    pub drain: CancellationToken,
    /// One permit for each open stream.
    pub streams: Arc<Semaphore>,
    default_namespace: Namespace,
    /// Where streamed requests are counted.
    pub stream_place: Option<usize>,
}

/// What became of a key.
pub(crate) enum Outcome {
    Hit(Hit, Option<Lease>),
    Lease(Lease),
    Failed(Failure),
    /// Somebody else computes it, still.
    Busy,
}

/// The error of an item, its field named from the request on. A fence is the request's own.
fn of_item(error: Error, item: impl std::fmt::Display) -> Error {
    match error.code {
        ErrorCode::StaleFence => error,
        _ => error.within(item),
    }
}

impl CacheRpc {
    pub fn new(parts: &Parts, config: &ServiceConfig) -> Result<Self> {
        Ok(Self {
            announcer: parts.announcer.clone(),
            cache: Arc::clone(&parts.cache),
            pipelines: Obeyed::new(parts),
            config: *config,
            clock: Arc::clone(&parts.clock),
            stats: Arc::clone(&parts.stats),
            drain: parts.drain.clone(),
            streams: Arc::new(Semaphore::new(config.cache.max_streams)),
            default_namespace: convert::namespace(String::new())?,
            stream_place: parts.stats.find(FETCH),
        })
    }

    pub fn context(&self, deadline: Option<Micros>) -> Context<'_> {
        Context {
            config: &self.config,
            namespace: &self.default_namespace,
            deadline,
        }
    }

    pub async fn get(&self, request: v1::GetRequest) -> Result<v1::GetResponse> {
        let namespace = self.context(None).namespace(request.namespace)?;
        let key = spelled::entry_key(request.key, "key")?;
        let offset = spelled::offset(request.offset)?;
        let keys = [key];
        let options = spelled::get_options(request.allow_stale, request.read)?;
        let (found, scope) = self.cache.get(&namespace, &keys, options).await?;
        let hit = found.into_iter().next().and_then(Lookup::hit);
        if let Some(hit) = &hit
            && offset > hit.content.len()
        {
            let allowed = format!("must be at most the value's {} bytes", hit.content.len());
            return Err(Error::invalid("offset", allowed));
        }
        Ok(v1::GetResponse {
            entry: hit.map(|hit| spelled::entry(&hit, offset)),
            scope: Some(convert::scope(&scope)),
        })
    }

    pub async fn set(
        &self,
        namespace: &Namespace,
        mut item: v1::SetItem,
        fence: Option<Fence>,
    ) -> Result<v1::SetResponse> {
        let negative = item.negative;
        let obeyed = self
            .pipelines
            .cache_policy(namespace, &mut item.policy, negative);
        obeyed.map_err(|error| error.within("policy"))?;
        let (key, mut entry, condition) = spelled::set_item(item, &self.context(None))?;
        entry.fence = fence;
        let (written, scope) = self.cache.set(namespace, &key, entry, condition).await?;
        Ok(spelled::written(written, &scope))
    }

    pub async fn delete(
        &self,
        namespace: &Namespace,
        key: &EntryKey,
        condition: Precondition,
    ) -> Result<v1::DeleteResponse> {
        let (deleted, scope) = self.cache.delete(namespace, key, condition).await?;
        Ok(spelled::deleted(deleted, &scope))
    }

    /// An entry, a lease, a failure, or a place in line.
    async fn begin_one(
        &self,
        namespace: Namespace,
        key: EntryKey,
        (options, wait): (FetchOptions, Wait),
    ) -> Result<(Begun, Scope)> {
        let request = Begin {
            namespace,
            keys: vec![key],
            options,
            wait,
        };
        let (begun, scope) = Arc::clone(&self.cache).begin(request).await?;
        let none = || Error::new(ErrorCode::Internal, "a key without an answer");
        let begun = begun.into_iter().next().ok_or_else(none)??;
        Ok((begun, scope))
    }

    pub async fn begin_fill(&self, request: v1::BeginFillRequest) -> Result<v1::BeginFillResponse> {
        let context = self.context(None);
        let namespace = context.namespace(request.namespace)?;
        let key = spelled::entry_key(request.key, "key")?;
        let options = spelled::options(request.options, &context)?;
        let (begun, scope) = self.begin_one(namespace, key, (options, Wait::No)).await?;
        let answer = match outcome(begun) {
            Ok(Outcome::Hit(hit, refresh)) => {
                v1::begin_fill_response::Answer::Hit(spelled_hit(&hit, refresh))
            }
            Ok(Outcome::Lease(lease)) => {
                v1::begin_fill_response::Answer::Lease(spelled::lease(lease))
            }
            Ok(Outcome::Failed(failure)) => {
                v1::begin_fill_response::Answer::Failure(spelled::failure(&failure))
            }
            Ok(Outcome::Busy) | Err(_) => v1::begin_fill_response::Answer::Busy(v1::Computing {}),
        };
        Ok(v1::BeginFillResponse {
            answer: Some(answer),
            scope: Some(convert::scope(&scope)),
        })
    }

    pub async fn await_fill(
        &self,
        request: v1::AwaitFillRequest,
        deadline: Option<Micros>,
    ) -> Result<v1::AwaitFillResponse> {
        let context = self.context(deadline);
        let namespace = context.namespace(request.namespace)?;
        let key = spelled::entry_key(request.key, "key")?;
        let options = spelled::options(request.options, &context)?;
        let wait = spelled::wait(request.max_wait, &context)?;
        let wait = wait.unwrap_or(self.config.cache.default_wait);
        let wait = deadline.map_or(wait, |deadline| wait.min(deadline));
        let wanted = (options, Wait::Whole);
        let (begun, scope) = self.begin_one(namespace, key, wanted).await?;
        let outcome = match outcome(begun) {
            Ok(outcome) => outcome,
            Err(waiting) => or_draining(&self.drain, landed(waiting, wait)).await?,
        };
        let answer = match outcome {
            Outcome::Hit(hit, refresh) => {
                v1::await_fill_response::Answer::Hit(spelled_hit(&hit, refresh))
            }
            Outcome::Lease(lease) => v1::await_fill_response::Answer::Lease(spelled::lease(lease)),
            Outcome::Failed(failure) => {
                v1::await_fill_response::Answer::Failure(spelled::failure(&failure))
            }
            Outcome::Busy => v1::await_fill_response::Answer::TimedOut(v1::TimedOut {}),
        };
        Ok(v1::AwaitFillResponse {
            answer: Some(answer),
            scope: Some(convert::scope(&scope)),
        })
    }
}

fn spelled_hit(hit: &Hit, refresh: Option<Lease>) -> v1::Hit {
    v1::Hit {
        entry: Some(spelled::entry(hit, 0)),
        refresh: refresh.map(spelled::lease),
    }
}

/// What became of a key, or how to wait for it.
fn outcome(begun: Begun) -> std::result::Result<Outcome, Box<dyn Waiting>> {
    match begun {
        Begun::Hit { hit, refresh } => Ok(Outcome::Hit(hit, refresh)),
        Begun::Lease(lease) => Ok(Outcome::Lease(lease)),
        Begun::Failed(failure) => Ok(Outcome::Failed(failure)),
        // One key alone is never deferred, and a stream begins again what is.
        Begun::Busy | Begun::Deferred => Ok(Outcome::Busy),
        Begun::Waiting(waiting) => Err(waiting),
    }
}

/// How a wait ends, within a time.
async fn landed(mut waiting: Box<dyn Waiting>, wait: Micros) -> Result<Outcome> {
    let ended = async {
        loop {
            match waiting.next().await? {
                Progress::Part(_) | Progress::Restarted(_) => {}
                Progress::Ended(landing) => return Ok(landing),
            }
        }
    };
    match timeout(wait.into(), ended).await {
        Err(_) => Ok(Outcome::Busy),
        Ok(Err(error)) => Err(error),
        Ok(Ok(Landing::Value(hit))) => Ok(Outcome::Hit(hit, None)),
        Ok(Ok(Landing::Lease(lease))) => Ok(Outcome::Lease(lease)),
        Ok(Ok(Landing::Failed(failure))) => Ok(Outcome::Failed(failure)),
    }
}
