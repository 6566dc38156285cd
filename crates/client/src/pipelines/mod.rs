//! [`Pipelines`]: named settings that are changed at run time and obeyed at once.

mod change;
mod state;

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use trellis_proto::v1 as proto;

use crate::client::Shared;
use crate::convert;
use crate::error::{Error, Result};

pub use change::PipelineChange;
pub use state::{PipelineSource, PipelineState, PipelineValue};

/// The pipelines of one namespace. Clones share the connection.
///
/// ```no_run
/// # use std::time::Duration;
/// # use trellis_client::Client;
/// # async fn run(client: Client) -> trellis_client::Result<()> {
/// let pipelines = client.pipelines();
/// let hour = Duration::from_hours(1);
/// let changed = pipelines.update("vision_rag", |p| p.embedding_cache_ttl(hour).llm_rate_limit(5)).await?;
/// assert_eq!(changed.cache_ttl("embedding"), Some(hour));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Pipelines {
    shared: Arc<Shared>,
    namespace: Arc<str>,
}

impl Pipelines {
    pub(crate) fn new(shared: Arc<Shared>, namespace: Arc<str>) -> Self {
        Self { shared, namespace }
    }

    /// The pipelines of another namespace, over the same connection.
    #[must_use]
    pub fn namespace(&self, namespace: &str) -> Self {
        Self::new(self.shared.clone(), namespace.into())
    }

    /// A pipeline as it is.
    pub async fn get(&self, name: impl Into<String>) -> Result<PipelineState> {
        let request = proto::PipelineServiceGetRequest {
            namespace: self.namespace.to_string(),
            name: name.into(),
        };
        let request = self.shared.request(request, Duration::ZERO);
        let answer = self.shared.pipelines().get(request).await?.into_inner();
        convert::required(answer.pipeline, "pipeline")?.try_into()
    }

    /// Every pipeline, by name; asked for page by page.
    pub async fn list(&self) -> Result<Vec<PipelineState>> {
        let pages = stream::try_unfold(Some(String::new()), |token| async move {
            let Some(page_token) = token else {
                return Ok::<_, Error>(None);
            };
            let request = proto::PipelineServiceListRequest {
                namespace: self.namespace.to_string(),
                page_size: 0,
                page_token,
            };
            let request = self.shared.request(request, Duration::ZERO);
            let answer = self.shared.pipelines().list(request).await?.into_inner();
            let next = Some(answer.next_page_token).filter(|token| !token.is_empty());
            let items: Vec<PipelineState> = convert::all(answer.pipelines)?;
            Ok(Some((items, next)))
        });
        pages.try_concat().await
    }

    /// Changes values, all of them or none; what `change` does not name stays. When it returns, every call obeys.
    ///
    /// It may be repeated when its answer was lost: an update whose values stand already changes nothing.
    pub async fn update(
        &self,
        name: impl Into<String>,
        change: impl FnOnce(PipelineChange) -> PipelineChange,
    ) -> Result<PipelineState> {
        let change = change(PipelineChange::default());
        let request = change.request(self.namespace.to_string(), name.into())?;
        let request = self.shared.request(request, Duration::ZERO);
        let answer = self.shared.pipelines().update(request).await?.into_inner();
        convert::required(answer.pipeline, "pipeline")?.try_into()
    }

    /// Forgets what updates have set; tells what is left: nothing of a pipeline that only updates have made.
    pub async fn reset(&self, name: impl Into<String>) -> Result<Option<PipelineState>> {
        let request = proto::PipelineServiceResetRequest {
            namespace: self.namespace.to_string(),
            name: name.into(),
            base_version: None,
            level_policy: proto::LevelPolicy::Unspecified.into(),
        };
        let request = self.shared.request(request, Duration::ZERO);
        let answer = self.shared.pipelines().reset(request).await?.into_inner();
        answer.pipeline.map(TryInto::try_into).transpose()
    }

    /// A pipeline now, and again after each change; `None` while there is none. A reader that is slower than the changes
    /// misses those in between, never the last. Ends with an error.
    pub async fn watch(
        &self,
        name: impl Into<String>,
    ) -> Result<BoxStream<'static, Result<Option<PipelineState>>>> {
        let request = proto::PipelineServiceWatchRequest {
            namespace: self.namespace.to_string(),
            name: name.into(),
        };
        let states = self.shared.pipelines().watch(request).await?.into_inner();
        let states = states
            .map_err(Error::from)
            .and_then(|answer| async { answer.pipeline.map(TryInto::try_into).transpose() });
        Ok(states.boxed())
    }
}
