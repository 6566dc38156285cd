//! Events: what has happened, in order, for everybody who wants to know.
//!
//! ```no_run
//! # use trellis_client::{Client, events::{Event, Heard, Start}};
//! # #[derive(serde::Serialize, serde::Deserialize)]
//! # struct Paid { order: u64 }
//! # async fn run(client: Client) -> trellis_client::Result<()> {
//! let orders = client.topic("orders");
//! orders.publish(Event::json("/shop", "order.paid", &Paid { order: 42 })?.id("paid-42")).await?;
//!
//! let mut subscription = orders.subscribe().start(Start::Earliest).open().await?;
//! while let Heard::Event(event) = subscription.next().await? {
//!     println!("order {} is paid", event.json::<Paid>()?.order);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - [`Topic`]: publishing, reading, and what a topic keeps. [`Publisher`]: very many events over one stream.
//! - [`Subscription`]: every event, and all that come; it resumes by itself.
//! - [`Group`]: events shared by members, each done by one of them: [`Consumer`], [`Delivery`].

mod consumer;
mod event;
mod filter;
mod group;
mod publisher;
mod state;
mod subscription;
mod topic;

pub use consumer::{Consume, Consumer, Delivery};
pub use event::{Cursor, Event, Start, StoredEvent};
pub use filter::Filter;
pub use group::{DeadLetter, DeadReason, Group, GroupSpec, GroupState};
pub use publisher::{Publication, Publisher};
pub use state::{Durability, Published, Retention, TopicState};
pub use subscription::{Gap, GapReason, Heard, Position, Subscribe, Subscription};
pub use topic::Topic;

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use trellis_proto::v1 as proto;

use crate::client::Shared;
use crate::convert;
use crate::error::Result;
use crate::list::{Page, pages, token};

/// The topics of one namespace. Clones share the client's connection.
#[derive(Clone, Debug)]
pub struct Events {
    shared: Arc<Shared>,
    namespace: Arc<str>,
}

impl Events {
    pub(crate) fn new(shared: Arc<Shared>, namespace: Arc<str>) -> Self {
        Self { shared, namespace }
    }

    /// The topics of another namespace, over the same connection.
    #[must_use]
    pub fn namespace(&self, namespace: &str) -> Self {
        Self::new(self.shared.clone(), namespace.into())
    }

    /// A topic of it. It needs no set-up.
    #[must_use]
    pub fn topic(&self, name: impl Into<String>) -> Topic {
        Topic::new(self.clone(), name.into())
    }

    /// Topics that hold events, were set, or have groups, by name; asked for page by page.
    pub async fn list(&self) -> Result<Vec<TopicState>> {
        let fetch = |next: Option<String>| async move {
            let request = self.request(proto::EventServiceListTopicsRequest {
                namespace: self.namespace_name(),
                page_size: 0,
                page_token: next.unwrap_or_default(),
            });
            let answer = self.shared.events().list_topics(request).await?;
            let answer = answer.into_inner();
            Ok(Page {
                items: convert::all(answer.topics)?,
                next: token(answer.next_page_token),
                scope: answer.scope.try_into()?,
            })
        };
        pages(fetch).try_collect().await
    }

    fn namespace_name(&self) -> String {
        self.namespace.to_string()
    }

    fn request<T>(&self, message: T) -> tonic::Request<T> {
        self.shared.request(message, Duration::ZERO)
    }
}
