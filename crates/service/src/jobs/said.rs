//! What workers say of their jobs, and what they are answered.

use super::{JobRpc, report};
use crate::convert::{self, jobs as wire};
use crate::items::unanswered;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use std::sync::Arc;
use trellis_core::jobs::{Attempt, AttemptEnd};
use trellis_core::{Micros, Namespace, Result, Time};
use trellis_proto::v1;
use trellis_proto::v1::job_service_work_response::Response;

/// What was asked for is done, or is not.
pub(super) enum Answered {
    /// Ends of attempts that were said together.
    Finished(Finished),
    /// Another message.
    One(Box<One>),
    /// An attempt is over, which its worker must know.
    Over(v1::JobCancel),
    /// Leases were kept alive.
    Beat,
}

/// Ends of attempts, in one call of the port.
pub(super) struct Finished {
    pub told: Vec<(u64, Attempt)>,
    pub bytes: usize,
    pub started: Time,
    results: Vec<Result<()>>,
}

impl Finished {
    /// What became of each.
    pub fn results(self) -> impl Iterator<Item = (u64, Attempt, Result<()>)> {
        let mut results = self.results.into_iter();
        self.told.into_iter().map(move |(id, attempt)| {
            let result = results.next().unwrap_or_else(|| Err(unanswered()));
            (id, attempt, result)
        })
    }
}

/// An answer to one message.
pub(super) struct One {
    pub id: u64,
    pub bytes: usize,
    pub started: Time,
    /// Which attempt has how much longer.
    pub extended: Option<(Attempt, Micros)>,
    pub result: Result<Response>,
}

/// Ends that came together.
pub(super) struct Said {
    told: Vec<(u64, Attempt)>,
    ends: Vec<(Attempt, AttemptEnd)>,
    bytes: usize,
    pub started: Time,
}

impl Said {
    pub fn new(started: Time) -> Self {
        Self {
            told: Vec::new(),
            ends: Vec::new(),
            bytes: 0,
            started,
        }
    }

    pub fn push(&mut self, id: u64, bytes: usize, (attempt, how): (Attempt, AttemptEnd)) {
        self.told.push((id, attempt));
        self.bytes += bytes;
        self.ends.push((attempt, how));
    }

    /// Says them; nothing when there are none.
    pub fn finish(
        self,
        rpc: &JobRpc,
        namespace: &Namespace,
    ) -> Option<BoxFuture<'static, Answered>> {
        if self.ends.is_empty() {
            return None;
        }
        let (jobs, namespace) = (Arc::clone(&rpc.jobs), namespace.clone());
        let finishing = async move {
            Answered::Finished(Finished {
                results: jobs.finish(&namespace, self.ends).await,
                told: self.told,
                bytes: self.bytes,
                started: self.started,
            })
        };
        Some(finishing.boxed())
    }
}

/// A message that is answered by itself.
#[derive(Clone, Copy)]
pub(super) struct Message {
    pub id: u64,
    pub bytes: usize,
    pub started: Time,
}

impl Message {
    fn answer(self, result: Result<Response>, extended: Option<(Attempt, Micros)>) -> Answered {
        Answered::One(Box::new(One {
            id: self.id,
            bytes: self.bytes,
            started: self.started,
            extended,
            result,
        }))
    }

    pub fn extend(
        self,
        rpc: &JobRpc,
        namespace: &Namespace,
        request: &v1::JobExtend,
    ) -> Result<BoxFuture<'static, Answered>> {
        let attempt = wire::attempt(&request.lease_id)?;
        let span = wire::span_of_lease(request.lease)?;
        let (jobs, namespace) = (Arc::clone(&rpc.jobs), namespace.clone());
        let extending = async move {
            let remaining = jobs.extend(&namespace, attempt, span).await;
            let extended = remaining.as_ref().ok().map(|it| (attempt, *it));
            let answer = remaining.map(|remaining| {
                Response::Extended(v1::JobExtended {
                    lease_remaining: Some(convert::duration(remaining)),
                })
            });
            self.answer(answer, extended)
        };
        Ok(extending.boxed())
    }

    pub fn progress(
        self,
        rpc: &JobRpc,
        namespace: &Namespace,
        request: v1::JobProgress,
    ) -> Result<BoxFuture<'static, Answered>> {
        let said = wire::progress(request, &rpc.context())?;
        let (jobs, namespace) = (Arc::clone(&rpc.jobs), namespace.clone());
        let keeping = async move {
            let kept = report(&*jobs, &namespace, said).await;
            let answer = kept.map(|()| Response::Progressed(v1::JobProgressed {}));
            self.answer(answer, None)
        };
        Ok(keeping.boxed())
    }
    pub fn append(
        self,
        rpc: &JobRpc,
        namespace: &Namespace,
        request: v1::JobChunk,
    ) -> Result<BoxFuture<'static, Answered>> {
        let (attempt, chunk) = wire::chunk(request, &rpc.context())?;
        let (jobs, namespace) = (Arc::clone(&rpc.jobs), namespace.clone());
        let appending = async move {
            let appended = jobs.append(&namespace, attempt, chunk).await;
            let answer = appended.map(|()| Response::Appended(v1::JobAppended {}));
            self.answer(answer, None)
        };
        Ok(appending.boxed())
    }
}
