//! [`Fetch`]: keys over a stream of their own, whose leases live and end with it.

use super::entry::{Entry, Keep};
use crate::client::Shared;
use crate::error::{Error, Result};
use bytes::Bytes;
use proto::fetch_request::Request as Asked;
use proto::fetch_response::Response as Answered;
use proto::key_answer::Answer;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};
use trellis_proto::v1 as proto;

/// The most of a value that one message carries.
const PART_BYTES: usize = 1024 * 1024;

/// The id of the fetch; requests about leases have higher ones.
const FETCH: u64 = 1;

/// What happens to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchEvent {
    /// There is an entry. With `refresh`, this caller is asked to compute it anew.
    Hit {
        /// The entry.
        entry: Entry,
        /// The lease to compute it anew.
        refresh: Option<i64>,
    },
    /// This caller computes: fill or fail the lease.
    Lease(i64),
    /// Somebody else does; more comes.
    Computing,
    /// The next part of the value that somebody else computes, cut wherever it was.
    Part(Bytes),
    /// What came in parts is void: it is computed anew.
    Restarted,
    /// The computation failed.
    Failed {
        /// A gRPC code.
        code: i32,
        /// Why, in the words of who computed.
        message: String,
    },
    /// This caller's lease has ended without its doing.
    Lost(i64),
}

/// Keys being got or computed. Dropping it leaves every line and gives every lease up.
#[derive(Debug)]
pub struct Fetch {
    requests: mpsc::Sender<proto::FetchRequest>,
    answers: Streaming<proto::FetchResponse>,
    /// What came while the answer to something else was awaited; the stream's keys bound it.
    events: VecDeque<(usize, FetchEvent)>,
    /// Parts of each key's value.
    parts: HashMap<usize, Vec<u8>>,
    /// Bytes sent under each lease.
    sent: HashMap<i64, i64>,
    last_id: u64,
}

impl Fetch {
    pub(super) async fn open(
        shared: &Arc<Shared>,
        (namespace, read): (&str, proto::Read),
        keys: Vec<String>,
        keep: &Keep,
    ) -> Result<Self> {
        let (requests, receiver) = mpsc::channel(4);
        let open = proto::StreamOpen {
            namespace: namespace.to_owned(),
        };
        let fetch = proto::FetchKeys {
            keys,
            options: Some(keep.options(read)),
            parts: true,
            ..proto::FetchKeys::default()
        };
        for (id, request) in [(0, Asked::Open(open)), (FETCH, Asked::Fetch(fetch))] {
            send(&requests, id, request).await?;
        }
        let stream = Request::new(ReceiverStream::new(receiver));
        let answers = shared.cache().fetch(stream).await?.into_inner();
        Ok(Self {
            requests,
            answers,
            events: VecDeque::new(),
            parts: HashMap::new(),
            sent: HashMap::new(),
            last_id: FETCH,
        })
    }

    /// What happens next, and to which key, by its first place in the request. Safe to cancel.
    pub async fn next(&mut self) -> Result<(usize, FetchEvent)> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            if self.read().await?.is_some() {
                return Err(Error::invalid_answer("an answer to nothing that was asked"));
            }
        }
    }

    /// Runs a computation while the stream is read, as it must be for its leases to be renewed.
    pub async fn while_reading<T>(&mut self, computation: impl Future<Output = T>) -> Result<T> {
        tokio::pin!(computation);
        loop {
            tokio::select! {
                biased;
                computed = &mut computation => return Ok(computed),
                read = self.read() => { read?; }
            }
        }
    }

    /// Sends a part of a value under a lease: at most 1 MiB. Tells whether the lease is still held.
    pub async fn append(&mut self, lease: i64, part: Bytes) -> Result<bool> {
        if part.is_empty() {
            return Ok(true);
        }
        let request = proto::AppendFillRequest {
            lease,
            offset: self.sent.get(&lease).copied().unwrap_or_default(),
            part,
            ..proto::AppendFillRequest::default()
        };
        match self.ask(Asked::Append(request)).await? {
            Answered::Append(answer) => {
                self.sent.insert(lease, answer.size);
                Ok(answer.lease_end == 0)
            }
            _ => Err(unexpected()),
        }
    }

    /// Ends a lease with its value: what was appended, followed by `value`; `None`: there is none. Tells
    /// whether it came in time.
    pub async fn fill(&mut self, lease: i64, value: Option<Bytes>, keep: &Keep) -> Result<bool> {
        let negative = value.is_none();
        let mut value = value.unwrap_or_default();
        while value.len() > PART_BYTES {
            let part = value.split_to(PART_BYTES);
            if !self.append(lease, part).await? {
                return Ok(false);
            }
        }
        let request = proto::FillRequest {
            lease,
            value,
            negative,
            content_type: keep.content_type.clone(),
            policy: Some(keep.policy()?),
            cost: Some(keep.wire_cost()),
            fence: keep.wire_fence(),
            ..proto::FillRequest::default()
        };
        match self.ask(Asked::Fill(request)).await? {
            Answered::Fill(answer) => Ok(answer.lease_end == 0),
            _ => Err(unexpected()),
        }
    }

    /// Ends a lease by a failure, which all who wait are told. Tells the entry that may be served instead.
    pub async fn fail(&mut self, lease: i64, message: &str) -> Result<Option<Entry>> {
        let failure = proto::FillFailure {
            message: message[..message.floor_char_boundary(1_024)].to_owned(),
            ..proto::FillFailure::default()
        };
        let request = proto::FailFillRequest {
            lease,
            failure: Some(failure),
            ..proto::FailFillRequest::default()
        };
        match self.ask(Asked::Fail(request)).await? {
            // One that is larger than a message is not worth another call: there is the failure to tell.
            Answered::Fail(answer) => {
                let read = |entry| Entry::read(&[], entry, answer.scope).ok();
                Ok(answer.stale.and_then(read))
            }
            _ => Err(unexpected()),
        }
    }

    async fn ask(&mut self, request: Asked) -> Result<Answered> {
        self.last_id += 1;
        let id = self.last_id;
        send(&self.requests, id, request).await?;
        loop {
            match self.read().await? {
                Some((answered, answer)) if answered == id => return Ok(answer),
                _ => {}
            }
        }
    }

    /// Reads one answer: notes it where it is of a key, else returns it with its id.
    async fn read(&mut self) -> Result<Option<(u64, Answered)>> {
        let ended = || Error::outcome_unknown("the stream ended");
        let answer = self.answers.message().await?.ok_or_else(ended)?;
        match answer.response {
            Some(Answered::Key(key)) => {
                self.note(key)?;
                Ok(None)
            }
            Some(Answered::Error(status)) => Err(Error::from_item(&status)),
            Some(Answered::Draining(_)) => Err(Error::unreachable("the daemon is shutting down")),
            Some(other) => Ok(Some((answer.id, other))),
            None => Err(Error::invalid_answer("an answer without content")),
        }
    }

    fn note(&mut self, answer: proto::KeyAnswer) -> Result<()> {
        let index = answer.indexes.first().copied().unwrap_or_default();
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let parts = self.parts.entry(index).or_default();
        let event = match answer.answer {
            Some(Answer::Hit(hit)) => FetchEvent::Hit {
                entry: Entry::read(parts, hit.entry.unwrap_or_default(), answer.scope)?,
                refresh: hit.refresh.map(|lease| lease.lease),
            },
            Some(Answer::Lease(lease)) => {
                parts.clear();
                FetchEvent::Lease(lease.lease)
            }
            Some(Answer::Computing(_)) => FetchEvent::Computing,
            Some(Answer::Part(part)) => {
                parts.extend_from_slice(&part);
                FetchEvent::Part(part)
            }
            Some(Answer::Restarted(_)) => {
                parts.clear();
                FetchEvent::Restarted
            }
            Some(Answer::Failure(failure)) => FetchEvent::Failed {
                code: failure.code,
                message: failure.message,
            },
            Some(Answer::Lost(lost)) => FetchEvent::Lost(lost.lease),
            Some(Answer::Error(status)) => return Err(Error::from_item(&status)),
            Some(Answer::TimedOut(_)) | None => return Err(unexpected()),
        };
        self.events.push_back((index, event));
        Ok(())
    }
}

async fn send(requests: &mpsc::Sender<proto::FetchRequest>, id: u64, request: Asked) -> Result<()> {
    let request = proto::FetchRequest {
        id,
        request: Some(request),
    };
    let sent = requests.send(request).await;
    sent.map_err(|_| Error::outcome_unknown("the stream ended"))
}

fn unexpected() -> Error {
    Error::invalid_answer("not an answer to what was asked")
}
