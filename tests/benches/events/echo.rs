//! The floor: decodes the same requests, answers messages of the same sizes, and keeps nothing.

use crate::messages;
use std::pin::Pin;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};
use trellis_proto::v1::event_service_publish_stream_request::Request as Asked;
use trellis_proto::v1::event_service_publish_stream_response::Response as Answered;
use trellis_proto::v1::event_service_server::{EventService, EventServiceServer};
use trellis_proto::v1::event_service_subscribe_request::Request as Wanted;
use trellis_proto::v1::event_service_subscribe_response::Response as Told;
use trellis_proto::v1::{
    EventPage, EventServiceConsumeRequest, EventServiceConsumeResponse, EventServicePublishRequest,
    EventServicePublishResponse, EventServicePublishStreamRequest,
    EventServicePublishStreamResponse, EventServiceSubscribeRequest, EventServiceSubscribeResponse,
};
use trellis_tests::bench::Result as Done;
use trellis_tests::{bench, unserved};

/// Serves until the process is ended.
pub fn serve() -> Done<()> {
    bench::echo::serve(|server| server.add_service(EventServiceServer::new(Echo)))
}

/// The topic of so many events, so many in a page.
pub fn many(events: usize, page: usize) -> String {
    format!("{events}/{page}")
}

struct Echo;

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The answer to a streamed request; none to `open`.
fn streamed(
    request: Result<EventServicePublishStreamRequest, Status>,
) -> Option<Result<EventServicePublishStreamResponse, Status>> {
    let answer = |request: EventServicePublishStreamRequest| EventServicePublishStreamResponse {
        id: request.id,
        response: Some(Answered::Published(messages::published())),
    };
    match request {
        Ok(EventServicePublishStreamRequest {
            request: Some(Asked::Open(_)),
            ..
        }) => None,
        request => Some(request.map(answer)),
    }
}

#[tonic::async_trait]
impl EventService for Echo {
    async fn publish(
        &self,
        _: Request<EventServicePublishRequest>,
    ) -> Answer<EventServicePublishResponse> {
        Ok(Response::new(messages::published()))
    }

    type PublishStreamStream = Answers<EventServicePublishStreamResponse>;

    async fn publish_stream(
        &self,
        request: Request<Streaming<EventServicePublishStreamRequest>>,
    ) -> Answer<Self::PublishStreamStream> {
        let answers = request.into_inner().filter_map(streamed);
        Ok(Response::new(Box::pin(answers)))
    }

    type SubscribeStream = Answers<EventServiceSubscribeResponse>;

    async fn subscribe(
        &self,
        request: Request<Streaming<EventServiceSubscribeRequest>>,
    ) -> Answer<Self::SubscribeStream> {
        let mut request = request.into_inner();
        let Some(EventServiceSubscribeRequest {
            request: Some(Wanted::Open(open)),
        }) = request.message().await?
        else {
            return Err(Status::invalid_argument("no open"));
        };
        let sizes: Vec<usize> = open
            .topic
            .split('/')
            .filter_map(|it| it.parse().ok())
            .collect();
        let [events, page] = sizes[..] else {
            return Err(Status::invalid_argument("no sizes"));
        };
        let message = EventServiceSubscribeResponse {
            response: Some(Told::Events(EventPage {
                events: vec![messages::stored(); page],
            })),
        };
        let pages = std::iter::repeat_n(message, events.div_ceil(page));
        Ok(Response::new(Box::pin(tokio_stream::iter(pages.map(Ok)))))
    }

    type ConsumeStream = tokio_stream::Empty<Result<EventServiceConsumeResponse, Status>>;

    async fn consume(
        &self,
        _: Request<Streaming<EventServiceConsumeRequest>>,
    ) -> Answer<Self::ConsumeStream> {
        Ok(Response::new(tokio_stream::empty()))
    }

    unserved! {
        publish_batch(EventServicePublishBatchRequest) -> EventServicePublishBatchResponse,
        read(EventServiceReadRequest) -> EventServiceReadResponse,
        receive(EventServiceReceiveRequest) -> EventServiceReceiveResponse,
        settle(EventServiceSettleRequest) -> EventServiceSettleResponse,
        set_topic(EventServiceSetTopicRequest) -> EventServiceSetTopicResponse,
        get_topic(EventServiceGetTopicRequest) -> EventServiceGetTopicResponse,
        list_topics(EventServiceListTopicsRequest) -> EventServiceListTopicsResponse,
        set_group(EventServiceSetGroupRequest) -> EventServiceSetGroupResponse,
        get_group(EventServiceGetGroupRequest) -> EventServiceGetGroupResponse,
        list_groups(EventServiceListGroupsRequest) -> EventServiceListGroupsResponse,
        delete_group(EventServiceDeleteGroupRequest) -> EventServiceDeleteGroupResponse,
        list_dead_letters(EventServiceListDeadLettersRequest) -> EventServiceListDeadLettersResponse,
        replay_dead_letters(EventServiceReplayDeadLettersRequest) -> EventServiceReplayDeadLettersResponse,
    }
}
