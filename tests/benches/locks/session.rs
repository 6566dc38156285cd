//! A session stream as the generated client has it, one message at a time.

use crate::load::Load;
use prost::Message as _;
use std::ops::Range;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use trellis_proto::v1::lock_service_client::LockServiceClient;
use trellis_proto::v1::lock_service_session_request::Request;
use trellis_proto::v1::lock_service_session_response::Response;
use trellis_proto::v1::{
    LockServiceReleaseResponse, LockServiceSessionRequest, LockServiceSessionResponse,
    LockSessionAcquire, LockSessionKeepAlive, LockSessionOpen, LockSessionRelease, LockTarget,
};
use trellis_tests::bench::Result;

/// The namespace of all locks.
const NAMESPACE: &str = "bench";

/// Longer than any run.
const LONG_TTL_SECONDS: i64 = 3_600;

/// Requests that are sent and not yet taken by the transport.
pub const QUEUE: usize = 1_024;

/// Longer than any round.
const WAIT_SECONDS: i64 = 60;

/// How long a session lasts.
#[derive(Clone, Copy)]
pub enum Ttl {
    /// As long as where nobody says: it must be kept alive.
    Usual,
    /// Longer than any run, so that nothing is ever renewed.
    Long,
}

/// How long to wait for a lock.
#[derive(Clone, Copy)]
pub enum Wait {
    /// Not at all.
    No,
    /// Until it is free.
    Long,
}

/// An open session.
pub struct Session {
    requests: mpsc::Sender<LockServiceSessionRequest>,
    answers: Streaming<LockServiceSessionResponse>,
}

impl Session {
    pub async fn open(channel: Channel, ttl: Ttl) -> Result<Self> {
        let (requests, queue) = mpsc::channel(QUEUE);
        let ttl = match ttl {
            Ttl::Usual => None,
            Ttl::Long => Some(prost_types::Duration {
                seconds: LONG_TTL_SECONDS,
                nanos: 0,
            }),
        };
        let open = Request::Open(LockSessionOpen {
            namespace: NAMESPACE.into(),
            ttl,
            ..Default::default()
        });
        requests.try_send(LockServiceSessionRequest {
            id: 0,
            request: Some(open),
        })?;
        let mut client = LockServiceClient::new(channel);
        let answers = client.session(ReceiverStream::new(queue)).await?;
        let mut session = Self {
            requests,
            answers: answers.into_inner(),
        };
        match session.answer().await? {
            (_, Response::Opened(_)) => Ok(session),
            (_, other) => Err(format!("a session opens with {other:?}").into()),
        }
    }

    fn send(&self, id: u64, request: Request) -> Result<()> {
        let request = Some(request);
        Ok(self
            .requests
            .try_send(LockServiceSessionRequest { id, request })?)
    }

    pub fn acquire(&self, id: u64, lock: &str, wait: Wait) -> Result<()> {
        let max_wait = match wait {
            Wait::No => None,
            Wait::Long => Some(prost_types::Duration {
                seconds: WAIT_SECONDS,
                nanos: 0,
            }),
        };
        let target = LockTarget {
            name: lock.into(),
            ..Default::default()
        };
        let acquire = LockSessionAcquire {
            locks: vec![target],
            max_wait,
            ..Default::default()
        };
        self.send(id, Request::Acquire(acquire))
    }

    pub fn release(&self, id: u64, lease_id: String) -> Result<()> {
        self.send(id, Request::Release(LockSessionRelease { lease_id }))
    }

    /// The next answer and the request that it is to.
    pub async fn answer(&mut self) -> Result<(u64, Response)> {
        let answer = self.answers.message().await?.ok_or("a session has ended")?;
        let response = answer.response.ok_or("an empty answer")?;
        Ok((answer.id, response))
    }

    /// The next answer, which must be a grant.
    pub async fn granted(&mut self) -> Result<String> {
        lease(self.answer().await?.1)
    }

    /// The next answer, which must be to a release.
    pub async fn released(&mut self) -> Result<LockServiceReleaseResponse> {
        match self.answer().await? {
            (_, Response::Released(released)) => Ok(released),
            (_, other) => Err(format!("a release is answered {other:?}").into()),
        }
    }

    /// The next answer, which must tell that the lock is held.
    pub async fn refused(&mut self) -> Result<()> {
        match self.answer().await? {
            (_, Response::Refused(_)) => Ok(()),
            (_, other) => Err(format!("an acquire is answered {other:?}").into()),
        }
    }

    /// Takes the locks of these numbers, all at a time.
    pub async fn hold(&mut self, numbers: Range<u32>) -> Result<()> {
        for number in numbers.clone() {
            self.acquire(number.into(), &format!("lock.{number:06}"), Wait::No)?;
        }
        for _ in numbers {
            self.granted().await?;
        }
        Ok(())
    }

    /// Keeps the session alive, with nothing else in hand.
    pub async fn keep_alive(&mut self) -> Result<()> {
        self.send(1, Request::KeepAlive(LockSessionKeepAlive {}))?;
        match self.answer().await? {
            (_, Response::Kept(_)) => Ok(()),
            (_, other) => Err(format!("a keep-alive is answered {other:?}").into()),
        }
    }

    /// Ends the requests, which is a clean end.
    pub fn end(self) -> Ending {
        Ending(self.answers)
    }
}

/// A session whose requests have ended.
pub struct Ending(Streaming<LockServiceSessionResponse>);

impl Ending {
    /// Waits for the end of its answers.
    pub async fn ended(mut self) -> Result<()> {
        while self.0.message().await?.is_some() {}
        Ok(())
    }
}

/// The lease of a grant.
pub fn lease(response: Response) -> Result<String> {
    match response {
        Response::Granted(granted) => Ok(granted.grant.ok_or("a grant without a lease")?.lease_id),
        other => Err(format!("an acquire is answered {other:?}").into()),
    }
}

/// The encoded sizes, in words; an error when the two servers' answers differ in length by more than what
/// the digits of times and numbers make.
pub async fn compare_sizes(echo: &Load, trellis: &Load) -> Result<String> {
    let mut sizes = Vec::new();
    for load in [echo, trellis] {
        let mut session = Session::open(load.channel(0), Ttl::Long).await?;
        session.acquire(1, "lock.00", Wait::No)?;
        let (_, granted) = session.answer().await?;
        let length = granted.encoded_len();
        session.release(2, lease(granted)?)?;
        sizes.push((length, session.released().await?.encoded_len()));
        session.end().ended().await?;
    }
    let [(echo_grant, echo_release), (grant, release)] = sizes[..] else {
        return Err("two servers".into());
    };
    if echo_grant.abs_diff(grant) > 4 || echo_release != release {
        let sizes =
            format!("{echo_grant} and {echo_release} bytes, trellisd {grant} and {release}");
        return Err(format!("the echo answers {sizes}").into());
    }
    Ok(format!(
        "encoded bytes: a grant {echo_grant} on the echo and {grant} on trellisd, the answer to a release {release}"
    ))
}
