//! What the holder of a lease does with it, by unary calls and on the stream alike.

use super::CacheRpc;
use crate::convert::{self, Context, cache as spelled};
use trellis_core::cache::LeaseEnd;
use trellis_core::{Error, Result};
use trellis_proto::v1;

/// The end of a lease as an answer carries it.
fn ended(end: LeaseEnd) -> i32 {
    spelled::end(end).into()
}

impl CacheRpc {
    pub async fn append(
        &self,
        request: v1::AppendFillRequest,
        context: &Context<'_>,
    ) -> Result<v1::AppendFillResponse> {
        let namespace = context.namespace(request.namespace)?;
        let lease = spelled::lease_id(request.lease)?;
        let offset = spelled::offset(request.offset)?;
        spelled::part(&request.part, "part")?;
        if request.part.is_empty() {
            return Err(Error::invalid("part", "must be at least 1 byte"));
        }
        let appended = self.cache.append(&namespace, lease, offset, request.part);
        let (appended, scope) = appended.await?;
        let mut response = v1::AppendFillResponse {
            scope: Some(convert::scope(&scope)),
            ..v1::AppendFillResponse::default()
        };
        match appended {
            Ok(appended) => response.size = convert::count(appended.size),
            Err(end) => response.lease_end = ended(end),
        }
        Ok(response)
    }

    pub async fn fill(
        &self,
        mut request: v1::FillRequest,
        context: &Context<'_>,
    ) -> Result<v1::FillResponse> {
        let namespace = context.namespace(std::mem::take(&mut request.namespace))?;
        let keep = !request.no_store;
        let negative = request.negative;
        let obeyed = self
            .pipelines
            .cache_policy(&namespace, &mut request.policy, negative);
        obeyed.map_err(|error| error.within("policy"))?;
        let (lease, entry) = spelled::fill(request, context)?;
        let (filled, scope) = self.cache.fill(&namespace, lease, entry, keep).await?;
        let mut response = v1::FillResponse {
            scope: Some(convert::scope(&scope)),
            ..v1::FillResponse::default()
        };
        match filled {
            Ok(filled) => {
                response.version = spelled::number(filled.version);
                response.waiters = convert::count(filled.waiters);
            }
            Err(end) => response.lease_end = ended(end),
        }
        Ok(response)
    }

    pub async fn fail(
        &self,
        request: v1::FailFillRequest,
        context: &Context<'_>,
    ) -> Result<v1::FailFillResponse> {
        let namespace = context.namespace(request.namespace)?;
        let lease = spelled::lease_id(request.lease)?;
        let by = spelled::ended_by(request.failure, context)?;
        let (failed, scope) = self.cache.fail(&namespace, lease, by).await?;
        let mut response = v1::FailFillResponse {
            scope: Some(convert::scope(&scope)),
            ..v1::FailFillResponse::default()
        };
        match failed {
            Ok(stale) => response.stale = stale.map(|hit| spelled::entry(&hit, 0)),
            Err(end) => response.lease_end = ended(end),
        }
        Ok(response)
    }

    pub async fn renew(
        &self,
        request: v1::RenewFillRequest,
        context: &Context<'_>,
    ) -> Result<v1::RenewFillResponse> {
        let namespace = context.namespace(request.namespace)?;
        let lease = spelled::lease_id(request.lease)?;
        let (renewed, scope) = self.cache.renew(&namespace, lease).await?;
        let mut response = v1::RenewFillResponse {
            scope: Some(convert::scope(&scope)),
            ..v1::RenewFillResponse::default()
        };
        match renewed {
            Ok(lease) => response.lease = Some(spelled::lease(lease)),
            Err(end) => response.lease_end = ended(end),
        }
        Ok(response)
    }
}
