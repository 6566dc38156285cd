//! Jobs and queues, as people see them.

use super::JobRpc;
use crate::convert::{Context, jobs as wire};
use crate::drain::or_draining;
use trellis_core::jobs::JobState;
use trellis_core::{Micros, Result};
use trellis_proto::v1;

impl JobRpc {
    pub(super) async fn get(
        &self,
        request: v1::JobServiceGetRequest,
    ) -> Result<v1::JobServiceGetResponse> {
        let namespace = self.context().namespace(request.namespace)?;
        let job = wire::job_id(&request.job_id)?;
        let view = self.jobs.job(&namespace, job).await?;
        Ok(v1::JobServiceGetResponse {
            job: Some(wire::job(view)),
            scope: Some(self.scope()),
        })
    }

    pub(super) async fn wait(
        &self,
        request: v1::JobServiceWaitRequest,
        deadline: Option<Micros>,
    ) -> Result<v1::JobServiceWaitResponse> {
        let context = Context {
            deadline,
            ..self.context()
        };
        let namespace = context.namespace(request.namespace)?;
        let job = wire::job_id(&request.job_id)?;
        let max_wait = wire::max_wait(request.max_wait, &context)?;
        let waiting = self.jobs.wait(&namespace, job, max_wait);
        let (view, result) = or_draining(&self.drain, waiting).await?;
        Ok(v1::JobServiceWaitResponse {
            timed_out: !view.state.is_ended(),
            result: result
                .filter(|_| view.state == JobState::Succeeded)
                .unwrap_or_default(),
            job: Some(wire::job(view)),
            scope: Some(self.scope()),
        })
    }

    pub(super) async fn list(
        &self,
        request: v1::JobServiceListRequest,
    ) -> Result<v1::JobServiceListResponse> {
        let list = wire::list(request, &self.context())?;
        let queue = list.queue.clone();
        let page = self.jobs.jobs(list).await?;
        Ok(wire::job_page(page, &queue, &self.jobs.scope()))
    }

    pub(super) async fn cancel(
        &self,
        request: v1::JobServiceCancelRequest,
    ) -> Result<v1::JobServiceCancelResponse> {
        let namespace = self.context().namespace(request.namespace)?;
        let job = wire::job_id(&request.job_id)?;
        let view = self.jobs.cancel(&namespace, job).await?;
        Ok(v1::JobServiceCancelResponse {
            job: Some(wire::job(view)),
            scope: Some(self.scope()),
        })
    }

    pub(super) async fn retry(
        &self,
        request: v1::JobServiceRetryRequest,
    ) -> Result<v1::JobServiceRetryResponse> {
        let namespace = self.context().namespace(request.namespace)?;
        let job = wire::job_id(&request.job_id)?;
        let named = wire::request(request.request_id, || request.job_id.clone().into_bytes())?;
        let again = self.jobs.retry(&namespace, job, named).await?;
        Ok(v1::JobServiceRetryResponse {
            job: Some(wire::submitted(again)),
            scope: Some(self.scope()),
        })
    }

    pub(super) async fn set_queue(
        &self,
        request: v1::JobServiceSetQueueRequest,
    ) -> Result<v1::JobServiceSetQueueResponse> {
        let queue = wire::queue(request.namespace, request.queue, &self.context())?;
        let spec = wire::queue_spec(request.spec)?;
        let state = self.jobs.set_queue(queue, spec).await?;
        Ok(v1::JobServiceSetQueueResponse {
            queue: Some(wire::queue_state(state)),
            scope: Some(self.scope()),
        })
    }

    pub(super) async fn get_queue(
        &self,
        request: v1::JobServiceGetQueueRequest,
    ) -> Result<v1::JobServiceGetQueueResponse> {
        let queue = wire::queue(request.namespace, request.queue, &self.context())?;
        let state = self.jobs.queue(queue).await?;
        Ok(v1::JobServiceGetQueueResponse {
            queue: Some(wire::queue_state(state)),
            scope: Some(self.scope()),
        })
    }

    pub(super) async fn list_queues(
        &self,
        request: v1::JobServiceListQueuesRequest,
    ) -> Result<v1::JobServiceListQueuesResponse> {
        let (namespace, after, page_size) = wire::list_queues(request, &self.context())?;
        let page = self.jobs.queues(&namespace, after, page_size).await?;
        Ok(wire::queue_page(page, &namespace, &self.jobs.scope()))
    }
}
