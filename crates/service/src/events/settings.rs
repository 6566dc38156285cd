//! What is set of topics and groups, and what they are at.

use super::EventRpc;
use crate::convert::{count, events as wire};
use trellis_core::Result;
use trellis_proto::v1;

impl EventRpc {
    pub(super) async fn set_topic(
        &self,
        request: v1::EventServiceSetTopicRequest,
    ) -> Result<v1::EventServiceSetTopicResponse> {
        let topic = wire::topic(request.namespace, request.topic, &self.context())?;
        let retention = wire::retention(request.retention)?;
        let state = self.events.set_topic(topic, retention).await?;
        Ok(v1::EventServiceSetTopicResponse {
            topic: Some(wire::topic_state(state)),
            scope: Some(self.scope()),
        })
    }

    pub(super) async fn get_topic(
        &self,
        request: v1::EventServiceGetTopicRequest,
    ) -> Result<v1::EventServiceGetTopicResponse> {
        let topic = wire::topic(request.namespace, request.topic, &self.context())?;
        let state = self.events.topic(topic).await?;
        Ok(v1::EventServiceGetTopicResponse {
            topic: Some(wire::topic_state(state)),
            scope: Some(self.scope()),
        })
    }

    pub(super) async fn list_topics(
        &self,
        request: v1::EventServiceListTopicsRequest,
    ) -> Result<v1::EventServiceListTopicsResponse> {
        let list = wire::list_topics(request, &self.context())?;
        let namespace = list.namespace.clone();
        let page = self.events.topics(list).await?;
        Ok(wire::topic_page(page, &namespace, &self.events.scope()))
    }

    pub(super) async fn set_group(
        &self,
        request: v1::EventServiceSetGroupRequest,
    ) -> Result<v1::EventServiceSetGroupResponse> {
        let names = (request.namespace, request.topic, request.group);
        let group = wire::group(names, &self.context())?;
        let spec = wire::group_spec(request.spec)?;
        let start = wire::start(request.start, &group.topic)?;
        let set = self.events.set_group(group, spec, start).await;
        let (state, created) = set.map_err(|error| error.within("start"))?;
        Ok(v1::EventServiceSetGroupResponse {
            group: Some(wire::group_state(state)),
            created,
            scope: Some(self.scope()),
        })
    }

    pub(super) async fn get_group(
        &self,
        request: v1::EventServiceGetGroupRequest,
    ) -> Result<v1::EventServiceGetGroupResponse> {
        let names = (request.namespace, request.topic, request.group);
        let group = wire::group(names, &self.context())?;
        let state = self.events.group(group).await?;
        Ok(v1::EventServiceGetGroupResponse {
            group: Some(wire::group_state(state)),
            scope: Some(self.scope()),
        })
    }

    pub(super) async fn list_groups(
        &self,
        request: v1::EventServiceListGroupsRequest,
    ) -> Result<v1::EventServiceListGroupsResponse> {
        let (topic, after, page_size) = wire::list_groups(request, &self.context())?;
        let page = self.events.groups(topic.clone(), after, page_size).await?;
        Ok(wire::group_page(page, &topic, &self.events.scope()))
    }

    pub(super) async fn delete_group(
        &self,
        request: v1::EventServiceDeleteGroupRequest,
    ) -> Result<v1::EventServiceDeleteGroupResponse> {
        let names = (request.namespace, request.topic, request.group);
        let group = wire::group(names, &self.context())?;
        self.events.delete_group(group).await?;
        let scope = Some(self.scope());
        Ok(v1::EventServiceDeleteGroupResponse { scope })
    }

    pub(super) async fn list_dead_letters(
        &self,
        request: v1::EventServiceListDeadLettersRequest,
    ) -> Result<v1::EventServiceListDeadLettersResponse> {
        let (group, from, page_size) = wire::list_dead_letters(request, &self.context())?;
        let room = wire::page(page_size);
        let page = self.events.dead_letters(group.clone(), from, room).await?;
        Ok(wire::dead_letter_page(page, &group, &self.events.scope()))
    }

    pub(super) async fn replay_dead_letters(
        &self,
        request: v1::EventServiceReplayDeadLettersRequest,
    ) -> Result<v1::EventServiceReplayDeadLettersResponse> {
        let names = (request.namespace, request.topic, request.group);
        let group = wire::group(names, &self.context())?;
        let which = wire::replay(request.offsets)?;
        let replayed = self.events.replay(group, which).await?;
        Ok(v1::EventServiceReplayDeadLettersResponse {
            replayed: count(replayed),
            scope: Some(self.scope()),
        })
    }
}
