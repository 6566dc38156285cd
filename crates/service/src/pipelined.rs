//! A stream of many items of one kind in hand, each answered by itself, in any order: events that are published, jobs that are submitted.
//!
//! An item begins when it is read, so that those of one stream stand in the order in which they were sent; how the stream goes on stands in
//! `turns`. Dropping it takes back nothing.

use crate::RpcStats;
use crate::convert;
use crate::error::item_status;
use crate::turns::{self, Answering, Turns};
use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt as _};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use trellis_core::{Clock, Error, Namespace, Result, Time};
use trellis_proto::v1;

/// An item on its way: what its answer needs of it, and what it comes to.
pub(crate) struct Begun<K: Kind> {
    pub meant: K::Meant,
    /// Counted against the bound of the stream.
    pub bytes: usize,
    pub outcome: Outcome<K::Told>,
}

/// What an item comes to.
pub(crate) enum Outcome<T> {
    Done(Result<T>),
    Waiting(Pin<Box<dyn Future<Output = Result<T>> + Send>>),
}

/// What a message of the caller is.
pub(crate) enum Message<R> {
    Open(v1::StreamOpen),
    Item(R),
    Nothing,
}

/// What a message of the daemon is, but for what became of an item.
pub(crate) enum Other {
    Error(tonic_types::Status),
    Draining(v1::Draining),
}

/// One kind of items, and how their stream speaks of them.
pub(crate) trait Kind: Send + Unpin + Sized + 'static {
    type Message: Send;
    type Request;
    type Meant: Send + Unpin;
    type Told: Send;
    type Answer: Send;

    /// What an item is called, in errors.
    const NAME: &str;

    /// A message, and its id.
    fn read(message: Self::Message) -> (u64, Message<Self::Request>);

    /// Begins an item of a stream that speaks of a namespace.
    fn begin(&mut self, request: Self::Request, namespace: &Namespace) -> Result<Begun<Self>>;

    /// The answer to an item that stands.
    fn told(&mut self, id: u64, meant: &Self::Meant, told: Self::Told) -> Self::Answer;

    /// What the port refuses, as the contract names it.
    fn refused(error: Error) -> Error {
        error
    }

    /// Another answer.
    fn other(id: u64, other: Other) -> Self::Answer;
}

/// What streams of one kind have in common.
#[derive(Clone)]
pub(crate) struct Common {
    pub clock: Arc<dyn Clock>,
    pub stats: Arc<RpcStats>,
    pub drain: CancellationToken,
    /// Where items are counted.
    pub place: Option<usize>,
    pub max_in_flight: usize,
    pub max_bytes: usize,
}

/// An item that has not come to anything.
struct InHand<M> {
    meant: M,
    bytes: usize,
    started: Time,
}

/// What it comes to, under its id.
struct Waiting<T> {
    id: u64,
    outcome: Pin<Box<dyn Future<Output = Result<T>> + Send>>,
}

impl<T> Future for Waiting<T> {
    type Output = (u64, Result<T>);

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.outcome.as_mut().poll(task));
        Poll::Ready((self.id, result))
    }
}

/// The answers of one stream.
pub(crate) struct Pipelined<K: Kind> {
    kind: K,
    common: Common,
    inbound: Streaming<K::Message>,
    turns: Turns,
    /// Of items that name none; `None` before `open`.
    namespace: Option<Namespace>,
    /// By their ids.
    in_hand: HashMap<u64, InHand<K::Meant>>,
    waiting: FuturesUnordered<Waiting<K::Told>>,
    /// Of the items in hand.
    bytes: usize,
    _permit: OwnedSemaphorePermit,
}

impl<K: Kind> Pipelined<K> {
    pub fn new(
        kind: K,
        common: Common,
        inbound: Streaming<K::Message>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            turns: Turns::new(&common.drain),
            kind,
            common,
            inbound,
            namespace: None,
            in_hand: HashMap::new(),
            waiting: FuturesUnordered::new(),
            bytes: 0,
            _permit: permit,
        }
    }

    /// Answers an item. The next one, if it is here already, is timed from now.
    fn answer(
        &mut self,
        id: u64,
        started: Time,
        result: Result<(&K::Meant, K::Told)>,
    ) -> K::Answer {
        let now = self.common.clock.mono();
        self.turns.answered(now);
        if let Some(place) = self.common.place {
            let elapsed = now - started;
            self.common.stats.record(place, elapsed, result.is_err());
        }
        match result {
            Ok((meant, told)) => self.kind.told(id, meant, told),
            Err(error) => failed::<K>(id, error),
        }
    }
}

fn failed<K: Kind>(id: u64, error: Error) -> K::Answer {
    K::other(id, Other::Error(item_status(error)))
}

impl<K: Kind> Answering for Pipelined<K> {
    type Request = K::Message;
    type Answer = K::Answer;

    fn turns(&mut self) -> &mut Turns {
        &mut self.turns
    }

    fn is_idle(&self) -> bool {
        self.in_hand.is_empty()
    }

    fn has_room(&self) -> bool {
        self.in_hand.len() < self.common.max_in_flight && self.bytes < self.common.max_bytes
    }

    fn poll_request(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<K::Message, Status>>> {
        self.inbound.poll_next_unpin(task)
    }

    fn accept(&mut self, message: K::Message, _: &mut Context<'_>) -> Result<Option<K::Answer>> {
        let (id, message) = K::read(message);
        let Some(namespace) = &self.namespace else {
            let Message::Open(open) = message else {
                let allowed = "the first message must be `open`";
                return Err(Error::invalid("request", allowed));
            };
            self.namespace = Some(convert::namespace(open.namespace)?);
            return Ok(None);
        };
        let refused = match message {
            Message::Open(_) => Error::invalid("request", "`open` must be the first message only"),
            Message::Nothing => Error::invalid("request", "is required"),
            Message::Item(_) if self.in_hand.contains_key(&id) => {
                let allowed = format!("an earlier {} with this id is in hand", K::NAME);
                Error::invalid("id", allowed)
            }
            Message::Item(request) => {
                let started = self.turns.started(&*self.common.clock);
                let begun = match self.kind.begin(request, namespace) {
                    Ok(begun) => begun,
                    Err(error) => return Ok(Some(self.answer(id, started, Err(error)))),
                };
                let Begun {
                    meant,
                    bytes,
                    outcome,
                } = begun;
                let outcome = match outcome {
                    Outcome::Done(result) => {
                        let result = result.map(|told| (&meant, told)).map_err(K::refused);
                        return Ok(Some(self.answer(id, started, result)));
                    }
                    Outcome::Waiting(outcome) => outcome,
                };
                let item = InHand {
                    meant,
                    bytes,
                    started,
                };
                self.in_hand.insert(id, item);
                self.bytes += bytes;
                self.waiting.push(Waiting { id, outcome });
                return Ok(None);
            }
        };
        Ok(Some(failed::<K>(id, refused)))
    }

    fn poll_answer(&mut self, task: &mut Context<'_>) -> Poll<Option<K::Answer>> {
        let done = ready!(self.waiting.poll_next_unpin(task));
        Poll::Ready(done.and_then(|(id, result)| {
            let item = self.in_hand.remove(&id)?;
            self.bytes -= item.bytes;
            let result = result.map(|told| (&item.meant, told)).map_err(K::refused);
            Some(self.answer(id, item.started, result))
        }))
    }

    fn last(draining: v1::Draining) -> K::Answer {
        K::other(0, Other::Draining(draining))
    }
}

impl<K: Kind> Stream for Pipelined<K> {
    type Item = std::result::Result<K::Answer, Status>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        turns::poll_next(&mut *self, task)
    }
}
