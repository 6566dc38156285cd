//! `EventService` over the events port.
//!
//! - [`EventRpc`]: what every call and stream needs, and the unary calls.
//! - [`EventServer`]: the service of the contract.
//! - `publish`, `subscribe`, `consume`: its streams. `credit`: what a reader has granted.

mod consume;
mod credit;
mod publish;
mod read;
mod server;
mod settings;
mod subscribe;

pub(crate) use server::EventServer;

use crate::convert::{self, Context, events as wire};
use crate::error::item_status;
use crate::items::{apart, check_count, together};
use crate::limits::admit_stream;
use crate::{Parts, RpcStats, ServiceConfig};
use futures::future::{Either, join_all, ready};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use trellis_core::events::{CursorWriter, Events, Publishing, Topic};
use trellis_core::{Clock, Micros, Namespace, Result, Time};
use trellis_proto::v1;

/// What every call and stream of events needs.
pub(crate) struct EventRpc {
    events: Arc<dyn Events>,
    config: ServiceConfig,
    clock: Arc<dyn Clock>,
    stats: Arc<RpcStats>,
    drain: CancellationToken,
    /// One permit for each open stream.
    streams: Arc<Semaphore>,
    default_namespace: Namespace,
    /// Where streamed requests are counted.
    publish_place: Option<usize>,
    consume_place: Option<usize>,
}

impl EventRpc {
    pub fn new(parts: &Parts, events: Arc<dyn Events>, config: &ServiceConfig) -> Result<Self> {
        Ok(Self {
            events,
            config: *config,
            clock: Arc::clone(&parts.clock),
            stats: Arc::clone(&parts.stats),
            drain: parts.drain.clone(),
            streams: Arc::new(Semaphore::new(config.events.max_streams)),
            default_namespace: convert::namespace(String::new())?,
            publish_place: parts.stats.find(publish::NAME),
            consume_place: parts.stats.find(consume::NAME),
        })
    }

    fn context(&self) -> Context<'_> {
        Context {
            config: &self.config,
            namespace: &self.default_namespace,
            deadline: None,
        }
    }

    fn admit(&self) -> Result<OwnedSemaphorePermit> {
        admit_stream(&self.streams, self.config.events.max_streams)
    }

    fn scope(&self) -> v1::Scope {
        convert::scope(&self.events.scope())
    }

    fn record(&self, place: Option<usize>, started: Time, is_error: bool) {
        if let Some(place) = place {
            let elapsed: Micros = self.clock.mono() - started;
            self.stats.record(place, elapsed, is_error);
        }
    }

    async fn publish(
        &self,
        request: v1::EventServicePublishRequest,
    ) -> Result<v1::EventServicePublishResponse> {
        let context = self.context();
        let topic = wire::publish_topic(request.namespace, request.topic, &context)?;
        let publishing = self.begin(&topic, request.event, &context);
        let published = publishing.map_err(|error| error.within("event"))?.await?;
        Ok(v1::EventServicePublishResponse {
            published: Some(wire::published(
                &published,
                &mut CursorWriter::new(&topic, 1),
            )),
            scope: Some(self.scope()),
        })
    }

    /// Begins to publish. Errors name the field below the event.
    fn begin(
        &self,
        topic: &Topic,
        event: Option<v1::Event>,
        context: &Context<'_>,
    ) -> Result<Publishing> {
        let event = wire::event(event.unwrap_or_default(), context)?;
        Ok(self.events.publish(topic, event))
    }

    async fn publish_batch(
        &self,
        request: v1::EventServicePublishBatchRequest,
    ) -> Result<v1::EventServicePublishBatchResponse> {
        use v1::publish_result::Result as Wire;
        let context = self.context();
        let topic = wire::publish_topic(request.namespace, request.topic, &context)?;
        check_count("events", request.events.len(), self.config.events.max_batch)?;
        let events = request.events.into_iter().enumerate();
        let mut cursors = CursorWriter::new(&topic, events.len());
        // All begin, in order, before any is awaited.
        let publishing: Vec<_> = events
            .map(
                |(index, event)| match self.begin(&topic, Some(event), &context) {
                    Ok(publishing) => Either::Left(publishing),
                    Err(error) => {
                        let error = error.within(format_args!("events[{index}]"));
                        Either::Right(ready(Err(error)))
                    }
                },
            )
            .collect();
        let results = join_all(publishing).await.into_iter().map(|result| {
            let result = match result {
                Ok(published) => Wire::Published(wire::published(&published, &mut cursors)),
                Err(error) => Wire::Error(item_status(error)),
            };
            v1::PublishResult {
                result: Some(result),
            }
        });
        Ok(v1::EventServicePublishBatchResponse {
            results: results.collect(),
            scope: Some(self.scope()),
        })
    }

    async fn settle(
        &self,
        request: v1::EventServiceSettleRequest,
    ) -> Result<v1::EventServiceSettleResponse> {
        use v1::event_settle_result::Result as Wire;
        let names = (request.namespace, request.topic, request.group);
        let group = wire::group(names, &self.context())?;
        check_count(
            "settlements",
            request.settlements.len(),
            self.config.events.max_batch,
        )?;
        let (settlements, refused) = apart("settlements", request.settlements, |settlement| {
            wire::settlement(&settlement)
        });
        let settled = self.events.settle(group, settlements).await?;
        let results = together(settled, refused).map(|result| v1::EventSettleResult {
            result: Some(match result {
                Ok(remaining) => Wire::Settled(self.settled(remaining)),
                Err(error) => Wire::Error(item_status(error)),
            }),
        });
        Ok(v1::EventServiceSettleResponse {
            results: results.collect(),
        })
    }

    fn settled(&self, remaining: Option<Micros>) -> v1::EventSettled {
        v1::EventSettled {
            lease_remaining: remaining.map(convert::duration),
            scope: Some(self.scope()),
        }
    }
}
