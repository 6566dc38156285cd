//! The load generator: closed loops over a few connections, the same for both servers.

use crate::flights::Fetching;
use crate::messages::{self, BATCH, KEYS, Size, checked};
use futures::stream::{FuturesUnordered, TryStreamExt as _};
use std::cell::Cell;
use std::time::Instant;
use tonic::transport::Channel;
use trellis_proto::v1::cache_service_client::CacheServiceClient;
use trellis_proto::v1::{Read, batch_get_result};
use trellis_tests::bench::Result;
use trellis_tests::bench::process::Server;
use trellis_tests::bench::rounds::{Done, now};

const CONNECTIONS: usize = 4;

/// The most bytes of an answer that a client takes: those of a batch, with room.
const ANSWER_BYTES: usize = 4 * 1_024 * 1_024;

/// Calls in flight.
pub const CALLS: usize = 64;

/// Connections to one server.
pub struct Connections {
    channels: Vec<Channel>,
    /// An open stream, there unless it is in use.
    stream: Cell<Option<Fetching>>,
}

impl Connections {
    pub async fn open(server: &Server) -> Result<Self> {
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            channels.push(server.connect().await?);
        }
        let stream = Fetching::open(channels[0].clone()).await?;
        Ok(Self {
            channels,
            stream: Cell::new(Some(stream)),
        })
    }

    /// A client on one of the connections, taken by turns.
    pub fn client(&self, turn: usize) -> CacheServiceClient<Channel> {
        let channel = self.channels[turn % CONNECTIONS].clone();
        CacheServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES)
    }

    pub async fn gets(
        &self,
        size: Size,
        (in_flight, read): (usize, Read),
        deadline: Instant,
    ) -> Result<Done> {
        let keys: Vec<_> = KEYS.map(|number| size.key(number)).collect();
        // Polls only the call that is answered, unlike a join.
        let lanes: FuturesUnordered<_> = (0..in_flight)
            .map(|lane| {
                // Lanes start apart, so that they do not ask for the same keys in step.
                let keys = keys.iter().cycle().skip(lane * keys.len() / in_flight);
                gets(self.client(lane), size, (keys, read), deadline)
            })
            .collect();
        Ok(Done::sum(lanes.try_collect().await?))
    }

    pub async fn batches(&self, read: Read, deadline: Instant) -> Result<Done> {
        let mut numbers = KEYS.cycle();
        let mut done = Done::default();
        while now() < deadline {
            let keys = numbers.by_ref().take(BATCH);
            self.batch(keys, read, &mut done).await?;
        }
        Ok(done)
    }

    /// One batch of large values, all of which must be there.
    async fn batch(
        &self,
        numbers: impl Iterator<Item = usize>,
        read: Read,
        done: &mut Done,
    ) -> Result<()> {
        let keys = numbers.map(|number| Size::Large.key(number));
        let request = messages::batch_get(keys, read);
        let sent = now();
        let answer = self.client(0).batch_get(request).await?.into_inner();
        done.add(now() - sent);
        for result in answer.results {
            match result.result {
                Some(batch_get_result::Result::Entry(entry)) => {
                    checked(Some(&entry), Size::Large)?;
                }
                other => return Err(format!("a key of a batch is answered {other:?}").into()),
            }
        }
        Ok(())
    }

    pub async fn round_trips(&self, deadline: Instant) -> Result<Done> {
        let mut stream = self.stream.take().ok_or("the stream is in use")?;
        let key = Size::Small.key(0);
        let mut done = Done::default();
        let mut sent = now();
        while sent < deadline {
            stream.fetch(&[&key])?;
            stream.hit().await?;
            let answered = now();
            done.add(answered - sent);
            sent = answered;
        }
        self.stream.set(Some(stream));
        Ok(done)
    }
}

async fn gets(
    mut client: CacheServiceClient<Channel>,
    size: Size,
    (keys, read): (impl Iterator<Item = &String>, Read),
    deadline: Instant,
) -> Result<Done> {
    let mut done = Done::default();
    let mut sent = now();
    for key in keys {
        let answer = client
            .get(messages::get(key.clone(), read))
            .await?
            .into_inner();
        checked(answer.entry.as_ref(), size)?;
        let answered = now();
        done.add(answered - sent);
        if answered >= deadline {
            break;
        }
        sent = answered;
    }
    Ok(done)
}
