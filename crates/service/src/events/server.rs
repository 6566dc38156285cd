//! The service of the contract.

use super::EventRpc;
use super::consume::Consume;
use super::publish::Publications;
use super::subscribe::Subscribe;
use crate::error::status;
use crate::layers::elsewhere;
use crate::limits::{Answer, answer, deadline};
use crate::pipelined::Pipelined;
use futures::stream::{self, BoxStream, StreamExt as _};
use std::sync::Arc;
use tonic::{Request, Status, Streaming};
use trellis_proto::v1::{self, event_service_server::EventService};

/// The service of the contract.
pub(crate) struct EventServer(pub Arc<EventRpc>);

#[tonic::async_trait]
impl EventService for EventServer {
    async fn publish(
        &self,
        request: Request<v1::EventServicePublishRequest>,
    ) -> Answer<v1::EventServicePublishResponse> {
        answer(self.0.publish(request.into_inner()).await)
    }

    async fn publish_batch(
        &self,
        request: Request<v1::EventServicePublishBatchRequest>,
    ) -> Answer<v1::EventServicePublishBatchResponse> {
        answer(self.0.publish_batch(request.into_inner()).await)
    }

    type PublishStreamStream = Pipelined<Publications>;

    async fn publish_stream(
        &self,
        request: Request<Streaming<v1::EventServicePublishStreamRequest>>,
    ) -> Answer<Self::PublishStreamStream> {
        let permit = self.0.admit().map_err(status)?;
        let (kind, common) = (Publications::new(&self.0), self.0.publishing());
        let stream = Pipelined::new(kind, common, request.into_inner(), permit);
        Ok(elsewhere(stream))
    }

    async fn read(
        &self,
        request: Request<v1::EventServiceReadRequest>,
    ) -> Answer<v1::EventServiceReadResponse> {
        let deadline = deadline(request.metadata());
        answer(self.0.read(request.into_inner(), deadline).await)
    }

    type SubscribeStream =
        BoxStream<'static, std::result::Result<v1::EventServiceSubscribeResponse, Status>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<v1::EventServiceSubscribeRequest>>,
    ) -> Answer<Self::SubscribeStream> {
        let permit = self.0.admit().map_err(status)?;
        let subscribe = Subscribe::new(Arc::clone(&self.0), request.into_inner(), permit);
        let told = stream::unfold(subscribe, |mut subscribe| async move {
            let next = subscribe.next().await?;
            Some((next, subscribe))
        });
        Ok(elsewhere(told.boxed()))
    }

    async fn receive(
        &self,
        request: Request<v1::EventServiceReceiveRequest>,
    ) -> Answer<v1::EventServiceReceiveResponse> {
        let deadline = deadline(request.metadata());
        answer(self.0.receive(request.into_inner(), deadline).await)
    }

    async fn settle(
        &self,
        request: Request<v1::EventServiceSettleRequest>,
    ) -> Answer<v1::EventServiceSettleResponse> {
        answer(self.0.settle(request.into_inner()).await)
    }

    type ConsumeStream =
        BoxStream<'static, std::result::Result<v1::EventServiceConsumeResponse, Status>>;

    async fn consume(
        &self,
        request: Request<Streaming<v1::EventServiceConsumeRequest>>,
    ) -> Answer<Self::ConsumeStream> {
        let permit = self.0.admit().map_err(status)?;
        let consume = Consume::new(Arc::clone(&self.0), request.into_inner(), permit);
        let told = stream::unfold(consume, |mut consume| async move {
            let next = consume.next().await?;
            Some((next, consume))
        });
        Ok(elsewhere(told.boxed()))
    }

    async fn set_topic(
        &self,
        request: Request<v1::EventServiceSetTopicRequest>,
    ) -> Answer<v1::EventServiceSetTopicResponse> {
        answer(self.0.set_topic(request.into_inner()).await)
    }

    async fn get_topic(
        &self,
        request: Request<v1::EventServiceGetTopicRequest>,
    ) -> Answer<v1::EventServiceGetTopicResponse> {
        answer(self.0.get_topic(request.into_inner()).await)
    }

    async fn list_topics(
        &self,
        request: Request<v1::EventServiceListTopicsRequest>,
    ) -> Answer<v1::EventServiceListTopicsResponse> {
        answer(self.0.list_topics(request.into_inner()).await)
    }

    async fn set_group(
        &self,
        request: Request<v1::EventServiceSetGroupRequest>,
    ) -> Answer<v1::EventServiceSetGroupResponse> {
        answer(self.0.set_group(request.into_inner()).await)
    }

    async fn get_group(
        &self,
        request: Request<v1::EventServiceGetGroupRequest>,
    ) -> Answer<v1::EventServiceGetGroupResponse> {
        answer(self.0.get_group(request.into_inner()).await)
    }

    async fn list_groups(
        &self,
        request: Request<v1::EventServiceListGroupsRequest>,
    ) -> Answer<v1::EventServiceListGroupsResponse> {
        answer(self.0.list_groups(request.into_inner()).await)
    }

    async fn delete_group(
        &self,
        request: Request<v1::EventServiceDeleteGroupRequest>,
    ) -> Answer<v1::EventServiceDeleteGroupResponse> {
        answer(self.0.delete_group(request.into_inner()).await)
    }

    async fn list_dead_letters(
        &self,
        request: Request<v1::EventServiceListDeadLettersRequest>,
    ) -> Answer<v1::EventServiceListDeadLettersResponse> {
        answer(self.0.list_dead_letters(request.into_inner()).await)
    }

    async fn replay_dead_letters(
        &self,
        request: Request<v1::EventServiceReplayDeadLettersRequest>,
    ) -> Answer<v1::EventServiceReplayDeadLettersResponse> {
        answer(self.0.replay_dead_letters(request.into_inner()).await)
    }
}
