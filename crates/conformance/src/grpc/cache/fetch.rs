//! Keys over a Fetch stream of their own: one stream for each request, which is closed towards the daemon at
//! once and read by the calls that wait.

use super::convert;
use async_trait::async_trait;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::Mutex;
use tonic::transport::Channel;
use tonic::{Request, Streaming};
use trellis_core::cache::{Begin, Begun, Landing, Progress, Wait, Waiting};
use trellis_core::{Error, ErrorCode, Result, Scope};
use trellis_proto::v1;
use trellis_proto::v1::cache_service_client::CacheServiceClient;
use v1::key_answer::Answer;

/// One request's stream, and what has come for keys whose callers were not there.
struct Stream {
    inbound: Streaming<v1::FetchResponse>,
    keys: Vec<VecDeque<Answer>>,
}

impl Stream {
    /// Reads one answer.
    async fn read(&mut self) -> Result<()> {
        let read = self.inbound.message().await;
        let lost = || Error::new(ErrorCode::Internal, "the stream ended before its answers");
        let answer = convert::received(read)?.ok_or_else(lost)?;
        match answer.response.unwrap() {
            v1::fetch_response::Response::Key(key) => {
                let [index] = key.indexes[..] else {
                    panic!("every key is there once");
                };
                self.keys[index as usize].push_back(key.answer.unwrap());
                Ok(())
            }
            v1::fetch_response::Response::Error(error) => Err(convert::item(&error)),
            other => panic!("not an answer to a fetch: {other:?}"),
        }
    }
}

/// What became of every key, once the first answer to each is there.
pub(super) async fn begin(
    mut stub: CacheServiceClient<Channel>,
    wanted: Begin,
) -> Result<(Vec<Result<Begun>>, Scope)> {
    let count = wanted.keys.len();
    let fetch = v1::FetchKeys {
        namespace: wanted.namespace.to_string(),
        keys: wanted.keys.iter().map(ToString::to_string).collect(),
        options: Some(convert::options(&wanted.options)),
        max_wait: None,
        parts: wanted.wait == Wait::Parts,
        detached: true,
    };
    let open = v1::StreamOpen::default();
    let requests = [
        (0, v1::fetch_request::Request::Open(open)),
        (1, v1::fetch_request::Request::Fetch(fetch)),
    ]
    .map(|(id, request)| v1::FetchRequest {
        id,
        request: Some(request),
    });
    let requests = Request::new(tokio_stream::iter(requests));
    let inbound = convert::answer(stub.fetch(requests).await)?;
    let keys = vec![VecDeque::new(); count];
    let stream = Arc::new(Mutex::new(Stream { inbound, keys }));
    let mut answers = Vec::with_capacity(count);
    for index in 0..count {
        let mut call = Call::new(&stream, index, wanted.wait == Wait::Parts);
        answers.push(call.first().await);
    }
    Ok((answers, Scope::Local))
}

/// One key of a request.
struct Call {
    stream: Arc<Mutex<Stream>>,
    index: usize,
    parts: bool,
    value: Vec<u8>,
}

impl Call {
    fn new(stream: &Arc<Mutex<Stream>>, index: usize, parts: bool) -> Self {
        Self {
            stream: Arc::clone(stream),
            index,
            parts,
            value: Vec::new(),
        }
    }

    /// The key's next answer. Reads for the others too, who take turns: the lock is fair.
    async fn answer(&self) -> Result<Answer> {
        loop {
            let mut stream = self.stream.lock().await;
            if let Some(answer) = stream.keys[self.index].pop_front() {
                return Ok(answer);
            }
            stream.read().await?;
        }
    }

    async fn first(&mut self) -> Result<Begun> {
        loop {
            return Ok(match self.answer().await? {
                Answer::Part(part) => {
                    self.value.extend_from_slice(&part);
                    continue;
                }
                Answer::Hit(hit) => Begun::Hit {
                    refresh: hit.refresh.map(convert::lease),
                    hit: convert::hit_after(&self.value, hit.entry.unwrap()),
                },
                Answer::Lease(lease) => Begun::Lease(convert::lease(lease)),
                Answer::Computing(_) => {
                    Begun::Waiting(Box::new(Self::new(&self.stream, self.index, self.parts)))
                }
                Answer::Failure(failure) => Begun::Failed(convert::failure(&failure)),
                Answer::Error(error) => return Err(convert::item(&error)),
                other => panic!("not a first answer: {other:?}"),
            });
        }
    }
}

#[async_trait]
impl Waiting for Call {
    async fn next(&mut self) -> Result<Progress> {
        loop {
            return Ok(match self.answer().await? {
                Answer::Part(part) => {
                    self.value.extend_from_slice(&part);
                    if !self.parts {
                        continue;
                    }
                    Progress::Part(part)
                }
                Answer::Restarted(restarted) => {
                    self.value.clear();
                    let reason = convert::end(restarted.reason);
                    Progress::Restarted(reason.unwrap())
                }
                Answer::Hit(hit) => {
                    let hit = convert::hit_after(&self.value, hit.entry.unwrap());
                    Progress::Ended(Landing::Value(hit))
                }
                Answer::Lease(lease) => Progress::Ended(Landing::Lease(convert::lease(lease))),
                Answer::Failure(failure) => {
                    Progress::Ended(Landing::Failed(convert::failure(&failure)))
                }
                Answer::Error(error) => return Err(convert::item(&error)),
                other => panic!("not the answer to a wait: {other:?}"),
            });
        }
    }
}
