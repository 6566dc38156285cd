//! Lists, page by page or as one stream.
//!
//! The next page is asked for when the former one is used up, never earlier.

use std::future::Future;

use futures::stream::{self, BoxStream, Stream, StreamExt as _, TryStreamExt as _};
use trellis_proto::v1 as proto;

use crate::bucket::Bucket;
use crate::convert;
use crate::definition::Limit;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::scope::Scope;

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// In byte order of name or key.
    pub items: Vec<T>,
    /// Where the next page starts; `None` after the last.
    pub next: Option<String>,
    /// Which guarantee the answer carries.
    pub scope: Scope,
}

/// A list of limits being asked for. Made by [`Limits::list_limits`].
#[derive(Clone, Debug)]
#[must_use = "a list does nothing until a page, the stream or all of it is asked for"]
pub struct ListLimits {
    limits: Limits,
    page_size: i32,
}

impl ListLimits {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            page_size: 0,
        }
    }

    /// Items in a page, 1 to 1,000. Default: the daemon's, 100.
    pub fn page_size(mut self, size: i32) -> Self {
        self.page_size = size;
        self
    }

    /// The page that starts at `next` of the former page, or the first.
    pub async fn page(&self, next: Option<String>) -> Result<Page<Limit>> {
        let request = self.limits.request(proto::ListLimitsRequest {
            namespace: self.limits.namespace_name(),
            page_size: self.page_size,
            page_token: next.unwrap_or_default(),
        });
        let answer = self.limits.stub().list_limits(request).await?.into_inner();
        Ok(Page {
            items: convert::all(answer.limits)?,
            next: token(answer.next_page_token),
            scope: answer.scope.try_into()?,
        })
    }

    /// Every limit. Ends after the first error.
    #[must_use]
    pub fn stream(self) -> BoxStream<'static, Result<Limit>> {
        pages(move |next| {
            let list = self.clone();
            async move { list.page(next).await }
        })
        .boxed()
    }

    /// Every limit, at once.
    pub async fn all(self) -> Result<Vec<Limit>> {
        self.stream().try_collect().await
    }
}

/// A list of buckets being asked for. Made by [`Limits::list_buckets`].
#[derive(Clone, Debug)]
#[must_use = "a list does nothing until a page, the stream or all of it is asked for"]
pub struct ListBuckets {
    limits: Limits,
    limit: String,
    page_size: i32,
}

impl ListBuckets {
    pub(crate) fn new(limits: Limits, limit: String) -> Self {
        Self {
            limits,
            limit,
            page_size: 0,
        }
    }

    /// Items in a page, 1 to 1,000. Default: the daemon's, 100.
    pub fn page_size(mut self, size: i32) -> Self {
        self.page_size = size;
        self
    }

    /// The page that starts at `next` of the former page, or the first.
    pub async fn page(&self, next: Option<String>) -> Result<Page<Bucket>> {
        let request = self.limits.request(proto::ListBucketsRequest {
            namespace: self.limits.namespace_name(),
            limit: self.limit.clone(),
            page_size: self.page_size,
            page_token: next.unwrap_or_default(),
        });
        let answer = self.limits.stub().list_buckets(request).await?.into_inner();
        Ok(Page {
            items: convert::all(answer.buckets)?,
            next: token(answer.next_page_token),
            scope: answer.scope.try_into()?,
        })
    }

    /// Every live bucket. Ends after the first error.
    #[must_use]
    pub fn stream(self) -> BoxStream<'static, Result<Bucket>> {
        pages(move |next| {
            let list = self.clone();
            async move { list.page(next).await }
        })
        .boxed()
    }

    /// Every live bucket, at once. There may be very many: [`ListBuckets::stream`] holds one page.
    pub async fn all(self) -> Result<Vec<Bucket>> {
        self.stream().try_collect().await
    }
}

pub(crate) fn token(token: String) -> Option<String> {
    (!token.is_empty()).then_some(token)
}

/// Where a walk over pages stands.
enum Step {
    First,
    Next(String),
    Done,
}

pub(crate) fn pages<T, F>(fetch: impl Fn(Option<String>) -> F) -> impl Stream<Item = Result<T>>
where
    F: Future<Output = Result<Page<T>>>,
{
    stream::try_unfold((Step::First, fetch), |(step, fetch)| async move {
        let next = match step {
            Step::First => None,
            Step::Next(token) => Some(token),
            Step::Done => return Ok::<_, Error>(None),
        };
        let page = fetch(next).await?;
        let step = page.next.map_or(Step::Done, Step::Next);
        Ok(Some((
            stream::iter(page.items.into_iter().map(Ok)),
            (step, fetch),
        )))
    })
    .try_flatten()
}
