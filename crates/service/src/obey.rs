//! Settings of pipelines, put into the requests that name them.
//!
//! A value of the pipeline wins over the request's own, which counts where the pipeline sets none.

use crate::Parts;
use crate::convert::{duration, span};
use prost_types::Duration;
use std::sync::Arc;
use trellis_core::pipelines::{LivePipelines, SettingKind, StepRef};
use trellis_core::{Error, ErrorCode, Micros, Namespace, Result};
use trellis_proto::v1;

/// The longest span that is looked at here; the bounds of the request's own field are checked by its conversion.
const ANY: (Micros, Micros) = (Micros::ZERO, Micros(u64::MAX));

/// The pipelines that requests obey.
#[derive(Clone)]
pub(crate) struct Obeyed(Arc<dyn LivePipelines>);

impl Obeyed {
    pub fn new(parts: &Parts) -> Self {
        Self(Arc::clone(&parts.pipelines))
    }

    pub fn port(&self) -> &dyn LivePipelines {
        &*self.0
    }

    /// Gives a policy of the cache the TTL of the step that it names. Negative entries keep their own. Errors name the field below
    /// `policy`.
    pub fn cache_policy(
        &self,
        namespace: &Namespace,
        policy: &mut Option<v1::EntryPolicy>,
        negative: bool,
    ) -> Result<()> {
        let Some(policy) = policy.as_mut().filter(|policy| !policy.pipeline.is_empty()) else {
            return Ok(());
        };
        let step = StepRef::parse(&policy.pipeline, "pipeline")?;
        if negative {
            return Ok(());
        }
        let ttl = self.ttl(namespace, SettingKind::CacheTtl, &step, policy.ttl)?;
        policy.ttl = Some(ttl);
        for span in [&mut policy.jitter, &mut policy.refresh_after] {
            *span = span.map(|span| shorter(span, ttl));
        }
        Ok(())
    }

    /// The TTL of a lock whose request names this step, if it names one; else its own.
    pub fn lock_ttl(
        &self,
        namespace: &Namespace,
        pipeline: &str,
        ttl: Option<Duration>,
    ) -> Result<Option<Duration>> {
        if pipeline.is_empty() {
            return Ok(ttl);
        }
        let step = StepRef::parse(pipeline, "pipeline")?;
        self.ttl(namespace, SettingKind::LockTtl, &step, ttl)
            .map(Some)
    }

    fn ttl(
        &self,
        namespace: &Namespace,
        kind: SettingKind,
        step: &StepRef,
        inline: Option<Duration>,
    ) -> Result<Duration> {
        let found = self.0.find(namespace, step.pipeline.as_str());
        let pipeline = found.ok_or_else(|| {
            let message = format!(
                "pipeline {} does not exist in namespace {namespace}",
                step.pipeline
            );
            Error::new(ErrorCode::PipelineNotFound, message)
        })?;
        let own = span(inline, "ttl", ANY)?;
        let ttl = pipeline.ttl(kind, step, own, "pipeline")?;
        Ok(duration(ttl))
    }
}

/// The shorter of two spans; a malformed one stays, to be refused by its field.
fn shorter(span: Duration, ttl: Duration) -> Duration {
    if (span.seconds, span.nanos) > (ttl.seconds, ttl.nanos) {
        ttl
    } else {
        span
    }
}
