//! The way a call takes to the daemon: one RPC of its own, or the shared stream of a pipeline.
//!
//! Builders and guards hold a [`Route`], so that they are written once.

use std::time::Duration;

use trellis_proto::v1 as proto;

use crate::acquired::Acquired;
use crate::error::Result;
use crate::limits::Limits;
use crate::pipeline::Pipeline;
use crate::settlement::{Actual, Settled};

#[derive(Clone, Debug)]
pub(crate) enum Route {
    Unary(Limits),
    Pipelined(Pipeline),
}

impl Route {
    /// `max_wait` is how long the daemon may hold the answer back on purpose.
    pub(crate) async fn acquire(
        &self,
        request: proto::AcquireRequest,
        max_wait: Duration,
    ) -> Result<Acquired> {
        let answer = match self {
            Self::Unary(limits) => limits.call_acquire(request, max_wait).await?,
            Self::Pipelined(pipeline) => pipeline.call_acquire(request, max_wait).await?,
        };
        Acquired::decode(answer, self)
    }

    pub(crate) async fn settle(
        &self,
        reservation_id: String,
        actuals: impl IntoIterator<Item = Actual>,
    ) -> Result<Settled> {
        self.finish(proto::SettleRequest {
            namespace: self.namespace(),
            reservation_id,
            actual: actuals.into_iter().map(Into::into).collect(),
            refund_all: false,
        })
        .await
    }

    pub(crate) async fn refund(&self, reservation_id: String) -> Result<Settled> {
        self.finish(proto::SettleRequest {
            namespace: self.namespace(),
            reservation_id,
            actual: Vec::new(),
            refund_all: true,
        })
        .await
    }

    async fn finish(&self, request: proto::SettleRequest) -> Result<Settled> {
        match self {
            Self::Unary(limits) => limits.call_settle(request).await,
            Self::Pipelined(pipeline) => pipeline.call_settle(request).await,
        }?
        .try_into()
    }

    pub(crate) async fn extend(
        &self,
        request: proto::ExtendReservationRequest,
    ) -> Result<proto::ExtendReservationResponse> {
        match self {
            Self::Unary(limits) => limits.call_extend(request).await,
            Self::Pipelined(pipeline) => pipeline.call_extend(request).await,
        }
    }

    /// Settles in the background with what was reserved. Never waits; may be dropped.
    pub(crate) fn release(&self, reservation_id: String) {
        match self {
            Self::Unary(limits) => limits.release(reservation_id),
            Self::Pipelined(pipeline) => pipeline.release(reservation_id),
        }
    }

    /// The same namespace, by RPCs of their own.
    pub(crate) fn into_unary(self) -> Self {
        match self {
            Self::Unary(_) => self,
            Self::Pipelined(pipeline) => Self::Unary(pipeline.limits().clone()),
        }
    }

    /// The namespace that a request on this route names.
    pub(crate) fn namespace(&self) -> String {
        match self {
            Self::Unary(limits) => limits.namespace_name(),
            // The stream's `open` named it.
            Self::Pipelined(_) => String::new(),
        }
    }
}
