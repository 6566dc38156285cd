//! Publishes over one stream, each answered under its id.

use super::{EventServiceClient, convert, error, item_error, outgoing};
use crate::spawn;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};
use tonic::transport::Channel;
use trellis_core::Result;
use trellis_core::events::{Event, Published, Publishing, Topic};
use trellis_proto::v1;
use v1::EventServicePublishStreamRequest;
use v1::event_service_publish_stream_request::Request;
use v1::event_service_publish_stream_response::Response;

type Pending = Arc<Mutex<HashMap<u64, (Topic, oneshot::Sender<Result<Published>>)>>>;

/// The sending half of the stream.
pub(super) struct Publisher {
    requests: mpsc::Sender<EventServicePublishStreamRequest>,
    pending: Pending,
    ids: AtomicU64,
}

impl Publisher {
    pub(super) fn start(mut stub: EventServiceClient<Channel>) -> Self {
        let (requests, outgoing) = outgoing();
        let open = Some(Request::Open(v1::StreamOpen::default()));
        let open = EventServicePublishStreamRequest {
            id: 0,
            request: open,
        };
        requests.try_send(open).unwrap();
        let pending = Pending::default();
        let answered = pending.clone();
        spawn(async move {
            let opened = stub.publish_stream(outgoing).await;
            // The stream ends with the server, which a case that has ended does not await.
            let Ok(answers) = opened else { return };
            let mut answers = answers.into_inner();
            while let Ok(Some(answer)) = answers.message().await.map_err(error) {
                let waiting = answered.lock().remove(&answer.id);
                let Some((topic, reply)) = waiting else {
                    continue;
                };
                let result = match answer.response.unwrap() {
                    Response::Published(answer) => {
                        Ok(convert::published(&answer.published.unwrap(), &topic))
                    }
                    Response::Error(status) => Err(item_error(&status)),
                    Response::Draining(draining) => panic!("{draining:?}"),
                };
                // Whoever does not listen any more has given up.
                let _ = reply.send(result);
            }
        });
        Self {
            requests,
            pending,
            ids: AtomicU64::new(1),
        }
    }

    pub(super) fn publish(&self, topic: &Topic, event: &Event) -> Publishing {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.pending.lock().insert(id, (topic.clone(), reply));
        let publish = v1::EventServicePublishRequest {
            namespace: topic.namespace.to_string(),
            topic: topic.name.to_string(),
            event: Some(convert::event_out(event)),
        };
        let request = Some(Request::Publish(publish));
        let request = EventServicePublishStreamRequest { id, request };
        self.requests.try_send(request).unwrap();
        Publishing::waiting(async move { answer.await.expect("the stream answers every event") })
    }
}
