//! The events port through contract and server: publishes over one stream, which keeps their order, a stream for each
//! subscription, and unary calls.

pub(super) mod convert;
mod publisher;
mod reader;

use super::locks::{call, count, error, item_error, micros, scope};
use async_trait::async_trait;
use publisher::Publisher;
use reader::Reader;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use trellis_core::events::group::LeaseKey;
use trellis_core::events::{
    DeadEvent, Delivered, Event, Events, EventsStatus, GroupId, GroupSpec, GroupState, ListTopics,
    Publishing, Replay, Room, Settlement, Start, Subscribe, Subscription, Topic, TopicRetention,
    TopicState,
};
use trellis_core::log::{Durability, Offset};
use trellis_core::{Micros, Name, Result, Scope};
use trellis_proto::v1;
use trellis_proto::v1::event_service_client::EventServiceClient;

/// One daemon's events.
pub struct GrpcEvents {
    stub: EventServiceClient<Channel>,
    publisher: Publisher,
    durability: Durability,
}

impl GrpcEvents {
    /// Over a channel to a daemon whose answers survive so much, which the contract tells only of publishes.
    #[must_use]
    pub fn new(channel: Channel, durability: Durability) -> Self {
        let stub = EventServiceClient::new(channel);
        Self {
            publisher: Publisher::start(stub.clone()),
            stub,
            durability,
        }
    }

    fn stub(&self) -> EventServiceClient<Channel> {
        self.stub.clone()
    }
}

#[async_trait]
impl Events for GrpcEvents {
    fn durability(&self) -> Durability {
        self.durability
    }

    fn scope(&self) -> Scope {
        panic!("the contract tells it with each answer");
    }

    fn status(&self) -> EventsStatus {
        panic!("the contract tells it by StatusService");
    }

    fn publish(&self, topic: &Topic, event: Event) -> Publishing {
        self.publisher.publish(topic, &event)
    }

    async fn subscribe(&self, subscribe: Subscribe) -> Result<Box<dyn Subscription>> {
        Ok(Box::new(Reader::open(self.stub(), subscribe).await?))
    }

    async fn set_topic(&self, topic: Topic, retention: TopicRetention) -> Result<TopicState> {
        let mut stub = self.stub();
        let set = stub.set_topic(v1::EventServiceSetTopicRequest {
            namespace: topic.namespace.into(),
            topic: topic.name.into(),
            retention: Some(convert::retention_out(retention)),
        });
        Ok(convert::topic(call(set.await)?.topic.unwrap()))
    }

    async fn topic(&self, topic: Topic) -> Result<TopicState> {
        let mut stub = self.stub();
        let got = stub.get_topic(v1::EventServiceGetTopicRequest {
            namespace: topic.namespace.into(),
            topic: topic.name.into(),
        });
        Ok(convert::topic(call(got.await)?.topic.unwrap()))
    }

    async fn topics(&self, list: ListTopics) -> Result<(Vec<TopicState>, bool)> {
        let mut stub = self.stub();
        let namespace = list.namespace.to_string();
        let listed = stub.list_topics(v1::EventServiceListTopicsRequest {
            // The token of a page that ended with this name.
            page_token: list
                .after
                .map_or_else(String::new, |after| format!("topics/{namespace}/{after}")),
            namespace,
            page_size: i32::try_from(list.page_size).unwrap(),
        });
        let page = call(listed.await)?;
        let topics = page.topics.into_iter().map(convert::topic);
        Ok((topics.collect(), !page.next_page_token.is_empty()))
    }

    /// A member's stream without credit does nothing but join.
    async fn join_group(&self, id: GroupId, start: Start) -> Result<GroupState> {
        let open = v1::ConsumerOpen {
            namespace: id.topic.namespace.to_string(),
            topic: id.topic.name.to_string(),
            group: id.name.to_string(),
            start: Some(convert::start_out(start, &id.topic)),
            credit: Some(v1::EventCredit::default()),
        };
        let open = v1::EventServiceConsumeRequest {
            id: 0,
            request: Some(v1::event_service_consume_request::Request::Open(open)),
        };
        let mut stub = self.stub();
        let joined = stub.consume(tokio_stream::iter([open])).await;
        let mut joined = call(joined)?;
        assert!(joined.message().await.map_err(error)?.is_none());
        self.group(id).await
    }

    async fn set_group(
        &self,
        id: GroupId,
        spec: GroupSpec,
        start: Start,
    ) -> Result<(GroupState, bool)> {
        let mut stub = self.stub();
        let set = stub.set_group(v1::EventServiceSetGroupRequest {
            start: Some(convert::start_out(start, &id.topic)),
            namespace: id.topic.namespace.into(),
            topic: id.topic.name.into(),
            group: id.name.into(),
            spec: Some(convert::spec_out(spec)),
        });
        let set = call(set.await)?;
        Ok((convert::group(set.group.unwrap()), set.created))
    }

    async fn group(&self, id: GroupId) -> Result<GroupState> {
        let mut stub = self.stub();
        let got = stub.get_group(v1::EventServiceGetGroupRequest {
            namespace: id.topic.namespace.into(),
            topic: id.topic.name.into(),
            group: id.name.into(),
        });
        Ok(convert::group(call(got.await)?.group.unwrap()))
    }

    async fn groups(
        &self,
        topic: Topic,
        after: Option<Name>,
        page_size: usize,
    ) -> Result<(Vec<GroupState>, bool)> {
        let mut stub = self.stub();
        let (namespace, topic) = (topic.namespace.to_string(), topic.name.to_string());
        let token = after.map(|after| format!("groups/{namespace}/{topic}/{after}"));
        let listed = stub.list_groups(v1::EventServiceListGroupsRequest {
            namespace,
            topic,
            page_size: i32::try_from(page_size).unwrap(),
            page_token: token.unwrap_or_default(),
        });
        let page = call(listed.await)?;
        let groups = page.groups.into_iter().map(convert::group);
        Ok((groups.collect(), !page.next_page_token.is_empty()))
    }

    async fn delete_group(&self, id: GroupId) -> Result<()> {
        let mut stub = self.stub();
        let deleted = stub.delete_group(v1::EventServiceDeleteGroupRequest {
            namespace: id.topic.namespace.into(),
            topic: id.topic.name.into(),
            group: id.name.into(),
        });
        call(deleted.await).map(drop)
    }

    async fn receive(&self, id: GroupId, room: Room, max_wait: Micros) -> Result<Vec<Delivered>> {
        // The contract makes a group that is not there.
        self.group(id.clone()).await?;
        let begun = tokio::time::Instant::now();
        loop {
            let left = Micros(max_wait.0.saturating_sub(Micros::from(begun.elapsed()).0));
            // Its bound is a minute.
            let wait = left.min(Micros::from_secs(60));
            let mut stub = self.stub();
            let received = stub.receive(v1::EventServiceReceiveRequest {
                namespace: id.topic.namespace.to_string(),
                topic: id.topic.name.to_string(),
                group: id.name.to_string(),
                max_events: i32::try_from(room.events).unwrap(),
                max_wait: Some(convert::duration_out(wait)),
                start: None,
                max_bytes: i64::try_from(room.bytes).unwrap(),
            });
            let deliveries = call(received.await)?.deliveries;
            if !deliveries.is_empty() || left == wait {
                let deliveries = deliveries.into_iter();
                return Ok(deliveries
                    .map(|it| convert::delivered(it, &id.topic))
                    .collect());
            }
        }
    }

    async fn settle(
        &self,
        id: GroupId,
        settlements: Vec<(LeaseKey, Settlement)>,
    ) -> Result<Vec<Result<Option<Micros>>>> {
        use v1::event_settle_result::Result as Each;
        let mut stub = self.stub();
        let settlements = settlements.into_iter().map(convert::settlement_out);
        let settled = stub.settle(v1::EventServiceSettleRequest {
            namespace: id.topic.namespace.into(),
            topic: id.topic.name.into(),
            group: id.name.into(),
            settlements: settlements.collect(),
        });
        let results = call(settled.await)?.results.into_iter();
        let results = results.map(|each| match each.result.unwrap() {
            Each::Settled(settled) => Ok(settled.lease_remaining.map(|it| micros(Some(it)))),
            Each::Error(status) => Err(item_error(&status)),
        });
        Ok(results.collect())
    }

    async fn dead_letters(
        &self,
        id: GroupId,
        from: Offset,
        room: Room,
    ) -> Result<(Vec<DeadEvent>, Option<Offset>)> {
        let mut stub = self.stub();
        let token = {
            let (Topic { namespace, name }, group) = (&id.topic, &id.name);
            format!("dead/{namespace}/{name}/{group}/")
        };
        let listed = stub.list_dead_letters(v1::EventServiceListDeadLettersRequest {
            namespace: id.topic.namespace.to_string(),
            topic: id.topic.name.to_string(),
            group: id.name.to_string(),
            page_size: i32::try_from(room.events).unwrap(),
            page_token: format!("{token}{}", from.0),
        });
        let page = call(listed.await)?;
        let next = page.next_page_token.strip_prefix(&token);
        let dead = page.dead_letters.into_iter();
        let dead = dead.map(|it| convert::dead(it, &id.topic)).collect();
        Ok((dead, next.map(|next| Offset(next.parse().unwrap()))))
    }

    async fn replay(&self, id: GroupId, which: Replay) -> Result<u64> {
        let mut stub = self.stub();
        let offsets = match which {
            Replay::All => Vec::new(),
            Replay::These(these) => these
                .into_iter()
                .map(|offset| i64::try_from(offset.0).unwrap_or(i64::MAX))
                .collect(),
        };
        let replayed = stub.replay_dead_letters(v1::EventServiceReplayDeadLettersRequest {
            namespace: id.topic.namespace.into(),
            topic: id.topic.name.into(),
            group: id.name.into(),
            offsets,
        });
        Ok(count(call(replayed.await)?.replayed) as u64)
    }
}

/// A queue of requests, and the stream that sends them.
pub(super) fn outgoing<T: Send + 'static>() -> (tokio::sync::mpsc::Sender<T>, ReceiverStream<T>) {
    let (requests, receiver) = tokio::sync::mpsc::channel(4_096);
    (requests, ReceiverStream::new(receiver))
}
