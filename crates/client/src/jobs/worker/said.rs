//! What a worker has said and the daemon has not answered.
//!
//! It is sent again on each new stream, in order, and after a pause where the daemon could not do it: to say it twice does nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use trellis_proto::v1 as proto;
use trellis_proto::v1::job_attempt_end::End;
use trellis_proto::v1::job_service_work_request::Request;

use super::attempt::{Ask, Asked};
use super::failure::Failure;
use super::link::Link;
use crate::error::{Error, ErrorReason, Result, RetryAdvice};

/// How long what the daemon could not do waits.
const PAUSE: Duration = Duration::from_secs(1);

/// One message.
struct Said {
    lease: String,
    what: What,
    /// When to send it; `None` while it is on the stream that is open.
    due: Option<Instant>,
}

enum What {
    End(End),
    /// An end in the place of one that the daemon has refused as such.
    Refused(End),
    Asked(Asked, oneshot::Sender<Result<()>>),
}

impl Said {
    fn request(&self) -> Request {
        match &self.what {
            What::End(end) | What::Refused(end) => Request::Finish(proto::JobAttemptEnd {
                lease_id: self.lease.clone(),
                end: Some(end.clone()),
            }),
            What::Asked(Asked::Progress(progress), _) => Request::Progress(progress.clone()),
            What::Asked(Asked::Chunk(chunk), _) => Request::Chunk(chunk.clone()),
        }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct AllSaid {
    messages: BTreeMap<u64, Said>,
    last_id: u64,
}

impl AllSaid {
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// The leases of attempts whose ends are unanswered.
    pub(super) fn ending(&self) -> impl Iterator<Item = &String> {
        let all = self.messages.values();
        let ends = all.filter(|said| !matches!(said.what, What::Asked(..)));
        ends.map(|said| &said.lease)
    }

    pub(super) fn end(&mut self, lease: String, end: End, link: Option<&Link>) {
        self.say(lease, What::End(end), link);
    }

    pub(super) fn ask(&mut self, ask: Ask, link: Option<&Link>) {
        let lease = match &ask.what {
            Asked::Progress(progress) => &progress.lease_id,
            Asked::Chunk(chunk) => &chunk.lease_id,
        };
        self.say(lease.clone(), What::Asked(ask.what, ask.reply), link);
    }

    fn say(&mut self, lease: String, what: What, link: Option<&Link>) {
        self.last_id += 1;
        let due = Some(Instant::now());
        let mut said = Said { lease, what, due };
        if let Some(link) = link
            && link.send(self.last_id, said.request())
        {
            said.due = None;
        }
        self.messages.insert(self.last_id, said);
    }

    /// There is a new stream: everything goes there.
    pub(super) fn opened(&mut self, link: &Link) {
        for said in self.messages.values_mut() {
            said.due = Some(Instant::now());
        }
        self.send_due(Instant::now(), link);
    }

    /// Sends what is due, as far as the stream takes it.
    pub(super) fn send_due(&mut self, now: Instant, link: &Link) {
        for (id, said) in &mut self.messages {
            if said.due.is_some_and(|due| due <= now) {
                if !link.send(*id, said.request()) {
                    return;
                }
                said.due = None;
            }
        }
    }

    /// It is done.
    pub(super) fn done(&mut self, id: u64) {
        if let Some(said) = self.messages.remove(&id)
            && let What::Asked(_, reply) = said.what
        {
            // A handler that is gone needs no answer.
            let _ = reply.send(Ok(()));
        }
    }

    /// It was not done. Tells the lease when that is over.
    pub(super) fn refused(&mut self, id: u64, error: Error) -> Option<String> {
        let mut said = self.messages.remove(&id)?;
        let is_over = matches!(
            error.reason(),
            Some(ErrorReason::LeaseLost | ErrorReason::JobNotFound)
        );
        let is_transient = matches!(
            error.reason(),
            Some(ErrorReason::Draining | ErrorReason::OutcomeUnknown)
        );
        match said.what {
            What::Asked(_, reply) if !is_transient => {
                let _ = reply.send(Err(error));
                return is_over.then_some(said.lease);
            }
            _ if is_over => return Some(said.lease),
            What::End(_) if error.retry_advice() == RetryAdvice::Never => {
                let refused = format!("the attempt's end was refused: {}", error.message());
                said.what = What::Refused(Failure::permanent(refused).end());
                said.due = Some(Instant::now());
            }
            What::Refused(_) if error.retry_advice() == RetryAdvice::Never => {
                tracing::warn!(%error, lease = %said.lease, "an attempt cannot be ended");
                return None;
            }
            _ => said.due = Some(Instant::now() + PAUSE),
        }
        self.messages.insert(id, said);
        None
    }
}
