//! A server with a daemon: its limits, and with them those of every server whose daemon is on the same store.

use super::commons::{AskError, Limits, Metered};
use crate::workload::Endpoint;
use async_trait::async_trait;
use std::time::Duration;
use trellis_client::{Acquired, Charge, Client, Spec};

/// How long a call waits for room, at least.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// A call reaches the provider a little after it was admitted, sometimes later, sometimes sooner. So calls
/// that were admitted a period apart may arrive less than that apart; the limit's period is longer by this.
pub const TRAVEL: Duration = Duration::from_millis(100);

/// The limits of a daemon.
pub struct SharedLimits {
    limits: trellis_client::Limits,
    embeddings: Spec,
    answers: Spec,
    max_wait: Duration,
}

impl SharedLimits {
    /// Connects. The limits need no set-up: each call carries what they are.
    pub async fn connect(
        daemon: &str,
        embeddings: &Endpoint,
        answers: &Endpoint,
    ) -> Result<Self, AskError> {
        let spec = |of: &Endpoint| Spec::window(of.limit.into(), of.period() + TRAVEL);
        let longest = embeddings.period().max(answers.period());
        Ok(Self {
            limits: Client::connect(format!("http://{daemon}")).await?.limits(),
            embeddings: spec(embeddings),
            answers: spec(answers),
            max_wait: MAX_WAIT.max(longest * 3),
        })
    }

    fn limit(&self, what: Metered) -> (&'static str, &Spec) {
        match what {
            Metered::Embeddings => ("provider.embeddings", &self.embeddings),
            Metered::Answers => ("provider.answers", &self.answers),
        }
    }
}

#[async_trait]
impl Limits for SharedLimits {
    async fn admitted(&self, what: Metered) -> Result<(), AskError> {
        let (name, spec) = self.limit(what);
        let acquire = self
            .limits
            .acquire()
            .charge(Charge::new(name, 1).spec(spec.clone()))
            .max_wait(self.max_wait);
        match acquire.send().await? {
            Acquired::Granted(_) => Ok(()),
            _ => Err(AskError::NoRoom(self.max_wait)),
        }
    }

    async fn throttled(&self, what: Metered, retry_after: Duration) -> Result<(), AskError> {
        // Nobody is admitted before that time, on any server: the next acquire waits for it.
        let (name, _) = self.limit(what);
        self.limits.report_throttled(name, retry_after).await?;
        Ok(())
    }
}
