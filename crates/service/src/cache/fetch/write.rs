//! What a stream's caller does with a lease.

use crate::cache::CacheRpc;
use crate::convert::{Context, cache as spelled};
use trellis_core::cache::LeaseId;
use trellis_core::{Error, ErrorCode, Namespace, Result};
use trellis_proto::v1::fetch_request::Request;
use trellis_proto::v1::fetch_response::Response;

/// Carries out a request about a lease; tells the lease that ended by it.
pub(super) async fn carry_out(
    rpc: &CacheRpc,
    request: Request,
    namespace: &Namespace,
) -> (Result<Response>, Option<LeaseId>) {
    let context = Context {
        config: &rpc.config,
        namespace,
        deadline: None,
    };
    let id = |lease: i64| spelled::lease_id(lease).ok();
    match request {
        Request::Append(request) => {
            let lease = id(request.lease);
            let answer = rpc.append(request, &context).await;
            let ended = answer.as_ref().is_ok_and(|answer| answer.lease_end != 0);
            (answer.map(Response::Append), lease.filter(|_| ended))
        }
        Request::Fill(request) => {
            let lease = id(request.lease);
            let answer = rpc.fill(request, &context).await;
            let ended = answer.is_ok();
            (answer.map(Response::Fill), lease.filter(|_| ended))
        }
        Request::Fail(request) => {
            let lease = id(request.lease);
            let answer = rpc.fail(request, &context).await;
            let ended = answer.is_ok();
            (answer.map(Response::Fail), lease.filter(|_| ended))
        }
        Request::Open(_) | Request::Fetch(_) | Request::Cancel(_) => {
            let error = Error::new(ErrorCode::Internal, "not a request of this kind");
            (Err(error), None)
        }
    }
}
