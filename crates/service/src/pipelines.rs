//! `PipelineService` over the pipelines port.

use crate::announce::Announcer;
use crate::convert::{self, Context, pipelines as wire};
use crate::drain::draining;
use crate::error::status;
use crate::layers::BoundElsewhere;
use crate::limits::{Answer, admit_stream, answer};
use crate::obey::Obeyed;
use crate::{Parts, ServiceConfig};
use futures::stream::{self, BoxStream, StreamExt as _};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use trellis_core::pipelines::{PipelineWatch, ResetPipeline, UpdatePipeline};
use trellis_core::{Namespace, Result};
use trellis_proto::v1::{self, pipeline_service_server::PipelineService};

/// The service of the contract.
pub(crate) struct PipelineServer {
    pipelines: Obeyed,
    announcer: Announcer,
    config: ServiceConfig,
    drain: CancellationToken,
    /// One permit for each open stream.
    streams: Arc<Semaphore>,
    default_namespace: Namespace,
}

impl PipelineServer {
    pub fn new(parts: &Parts, config: &ServiceConfig, streams: Arc<Semaphore>) -> Result<Self> {
        Ok(Self {
            announcer: parts.announcer.clone(),
            pipelines: Obeyed::new(parts),
            config: *config,
            drain: parts.drain.clone(),
            streams,
            default_namespace: convert::namespace(String::new())?,
        })
    }

    fn context(&self) -> Context<'_> {
        Context {
            config: &self.config,
            namespace: &self.default_namespace,
            deadline: None,
        }
    }

    async fn update_one(
        &self,
        update: UpdatePipeline,
    ) -> Result<v1::PipelineServiceUpdateResponse> {
        let namespace = update.namespace.clone();
        let (pipeline, created, scope) = self.pipelines.port().update(update).await?;
        let (name, version) = (pipeline.name().as_str(), pipeline.version());
        let data = json!({"version": version, "created": created});
        self.announcer
            .tell(&namespace, "trellis.pipeline.updated", name, &data);
        tracing::info!(
            pipeline = %pipeline.name(),
            version = pipeline.version(),
            created,
            "a pipeline was updated"
        );
        Ok(v1::PipelineServiceUpdateResponse {
            pipeline: Some(wire::pipeline_out(&pipeline)),
            created,
            scope: Some(convert::scope(&scope)),
        })
    }

    async fn reset_one(&self, reset: ResetPipeline) -> Result<v1::PipelineServiceResetResponse> {
        let (namespace, name) = (reset.namespace.clone(), reset.name.clone());
        let (pipeline, scope) = self.pipelines.port().reset(reset).await?;
        let (announcer, none) = (&self.announcer, json!({}));
        announcer.tell(&namespace, "trellis.pipeline.reset", name.as_str(), &none);
        Ok(v1::PipelineServiceResetResponse {
            pipeline: pipeline.map(|pipeline| wire::pipeline_out(&pipeline)),
            scope: Some(convert::scope(&scope)),
        })
    }

    async fn watch_one(&self, request: v1::PipelineServiceWatchRequest) -> Result<Watching> {
        let permit = admit_stream(&self.streams, self.config.max_streams)?;
        let (namespace, name) = wire::pipeline(request.namespace, request.name, &self.context())?;
        Ok(Watching {
            watch: self.pipelines.port().watch(namespace, name).await?,
            drain: self.drain.clone(),
            over: false,
            _permit: permit,
        })
    }
}

/// An open watch.
struct Watching {
    watch: Box<dyn PipelineWatch>,
    drain: CancellationToken,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

type Watched = std::result::Result<v1::PipelineServiceWatchResponse, Status>;

impl Watching {
    async fn next(&mut self) -> Option<Watched> {
        if self.over {
            return None;
        }
        let next = tokio::select! {
            biased;
            next = self.watch.next() => next,
            () = self.drain.cancelled() => Err(draining()),
        };
        self.over = next.is_err();
        let next = next.map(|(pipeline, scope)| v1::PipelineServiceWatchResponse {
            pipeline: pipeline.map(|pipeline| wire::pipeline_out(&pipeline)),
            scope: Some(convert::scope(&scope)),
        });
        Some(next.map_err(status))
    }
}

#[tonic::async_trait]
impl PipelineService for PipelineServer {
    async fn get(
        &self,
        request: Request<v1::PipelineServiceGetRequest>,
    ) -> Answer<v1::PipelineServiceGetResponse> {
        let request = request.into_inner();
        let named = wire::pipeline(request.namespace, request.name, &self.context());
        let (namespace, name) = named.map_err(status)?;
        let got = self.pipelines.port().get(namespace, name).await;
        answer(got.map(|(pipeline, scope)| v1::PipelineServiceGetResponse {
            pipeline: Some(wire::pipeline_out(&pipeline)),
            scope: Some(convert::scope(&scope)),
        }))
    }

    async fn list(
        &self,
        request: Request<v1::PipelineServiceListRequest>,
    ) -> Answer<v1::PipelineServiceListResponse> {
        let list = wire::list(request.into_inner(), &self.context()).map_err(status)?;
        let namespace = list.namespace.clone();
        let listed = self.pipelines.port().list(list).await;
        answer(listed.map(|page| wire::page(&page, &namespace)))
    }

    async fn update(
        &self,
        request: Request<v1::PipelineServiceUpdateRequest>,
    ) -> Answer<v1::PipelineServiceUpdateResponse> {
        let update = wire::update(request.into_inner(), &self.context()).map_err(status)?;
        answer(self.update_one(update).await)
    }

    async fn reset(
        &self,
        request: Request<v1::PipelineServiceResetRequest>,
    ) -> Answer<v1::PipelineServiceResetResponse> {
        let reset = wire::reset(request.into_inner(), &self.context()).map_err(status)?;
        answer(self.reset_one(reset).await)
    }

    type WatchStream = BoxStream<'static, Watched>;

    async fn watch(
        &self,
        request: Request<v1::PipelineServiceWatchRequest>,
    ) -> Answer<Self::WatchStream> {
        let watching = self.watch_one(request.into_inner()).await.map_err(status)?;
        let states = stream::unfold(watching, |mut watching| async move {
            let next = watching.next().await?;
            Some((next, watching))
        });
        // Streams have a bound of their own.
        let mut answers = Response::new(states.boxed());
        answers.extensions_mut().insert(BoundElsewhere);
        Ok(answers)
    }
}
