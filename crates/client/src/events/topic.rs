//! [`Topic`]: where events are published and read in one order.

use trellis_proto::v1 as proto;

use super::Events;
use super::event::Event;
use super::group::{Group, GroupState};
use super::publisher::Publisher;
use super::state::{Published, Retention, TopicState};
use super::subscription::Subscribe;
use crate::convert;
use crate::error::{Error, Result};
use crate::list::{Page, pages, token};
use futures::TryStreamExt as _;

/// A topic. Clones share the client's connection.
#[derive(Clone, Debug)]
pub struct Topic {
    pub(super) events: Events,
    pub(super) name: String,
}

impl Topic {
    pub(super) fn new(events: Events, name: String) -> Self {
        Self { events, name }
    }

    /// Publishes an event.
    ///
    /// Nothing is sent again unasked: after an error that leaves the outcome unknown, publish it again if it has an id.
    pub async fn publish(&self, event: Event) -> Result<Published> {
        let request = self.events.request(proto::EventServicePublishRequest {
            namespace: self.events.namespace_name(),
            topic: self.name.clone(),
            event: Some(event.into()),
        });
        let answer = self.events.shared.events().publish(request).await?;
        convert::required(answer.into_inner().published, "published")?.try_into()
    }

    /// Publishes up to 1,000 events, each by itself, in order; tells what became of each.
    pub async fn publish_batch(
        &self,
        events: impl IntoIterator<Item = Event>,
    ) -> Result<Vec<Result<Published>>> {
        use proto::publish_result::Result as Each;
        let request = self.events.request(proto::EventServicePublishBatchRequest {
            namespace: self.events.namespace_name(),
            topic: self.name.clone(),
            events: events.into_iter().map(Into::into).collect(),
        });
        let answer = self.events.shared.events().publish_batch(request).await?;
        let results = answer.into_inner().results.into_iter();
        let results = results.map(|each| match each.result {
            Some(Each::Published(published)) => published.try_into(),
            Some(Each::Error(status)) => Err(Error::from_item(&status)),
            None => Err(Error::invalid_answer("a result is missing")),
        });
        Ok(results.collect())
    }

    /// Publishes over a stream of its own, without waiting for each answer.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher::new(self.clone(), Publisher::DEFAULT_MAX_IN_FLIGHT)
    }

    /// Starts to read.
    pub fn subscribe(&self) -> Subscribe {
        Subscribe::new(self.clone())
    }

    /// Members that share the topic's events.
    #[must_use]
    pub fn group(&self, name: impl Into<String>) -> Group {
        Group::new(self.clone(), name.into())
    }

    /// Sets what it keeps.
    pub async fn set(&self, retention: Retention) -> Result<TopicState> {
        let request = self.events.request(proto::EventServiceSetTopicRequest {
            namespace: self.events.namespace_name(),
            topic: self.name.clone(),
            retention: Some(retention.to_proto()?),
        });
        let answer = self.events.shared.events().set_topic(request).await?;
        convert::required(answer.into_inner().topic, "topic")?.try_into()
    }

    /// What it keeps and holds. One that nothing was published to is empty, not unknown.
    pub async fn get(&self) -> Result<TopicState> {
        let request = self.events.request(proto::EventServiceGetTopicRequest {
            namespace: self.events.namespace_name(),
            topic: self.name.clone(),
        });
        let answer = self.events.shared.events().get_topic(request).await?;
        convert::required(answer.into_inner().topic, "topic")?.try_into()
    }

    /// Its groups, by name; asked for page by page.
    pub async fn groups(&self) -> Result<Vec<GroupState>> {
        let fetch = |next: Option<String>| async move {
            let request = self.events.request(proto::EventServiceListGroupsRequest {
                namespace: self.events.namespace_name(),
                topic: self.name.clone(),
                page_size: 0,
                page_token: next.unwrap_or_default(),
            });
            let answer = self.events.shared.events().list_groups(request).await?;
            let answer = answer.into_inner();
            Ok(Page {
                items: convert::all(answer.groups)?,
                next: token(answer.next_page_token),
                scope: answer.scope.try_into()?,
            })
        };
        pages(fetch).try_collect().await
    }
}
