//! Between the contract's messages of events and the port's types.

mod answers;
mod requests;
mod settings;

pub(crate) use answers::{
    dead_letter_page, deliveries, delivery, durability, gap, group_page, group_state, page,
    position, published, stored, topic_page, topic_state,
};
pub(crate) use requests::{
    Known, event, group, max_bytes, max_events, max_wait, publish_topic, read, settlement, start,
    subscribe, topic,
};
pub(crate) use settings::{
    group_spec, list_dead_letters, list_groups, list_topics, replay, retention,
};

use trellis_core::Namespace;
use trellis_core::events::{GroupId, Topic};

/// What stands before the last name of a page in its token.
fn topics_token(namespace: &Namespace) -> String {
    format!("topics/{namespace}/")
}

/// As [`topics_token`], for the groups of a topic.
fn groups_token(topic: &Topic) -> String {
    format!("groups/{}/{}/", topic.namespace, topic.name)
}

/// As [`topics_token`], for the dead letters of a group; an offset follows.
fn dead_letters_token(group: &GroupId) -> String {
    let GroupId { topic, name } = group;
    format!("dead/{}/{}/{name}/", topic.namespace, topic.name)
}
