//! When a stream that broke is opened again, or a call that waits is made again.

use std::time::Duration;

use tonic::Streaming;

use crate::error::{Error, Result, RetryAdvice};

/// The bound of the first pause; it doubles with each failure, and a random part of it is waited.
const BASE: Duration = Duration::from_millis(50);

/// The bound of every pause.
const CAP: Duration = Duration::from_secs(1);

/// A name that no other has, for a request that may be sent again.
pub(crate) fn random_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Failures in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Again(u32);

impl Again {
    /// Waits before the next attempt, unless the error says that none helps.
    pub(crate) async fn after(&mut self, error: Error) -> Result<(), Error> {
        if error.retry_advice() == RetryAdvice::Never {
            return Err(error);
        }
        tracing::debug!(%error, "asked again");
        let bound = BASE.saturating_mul(1 << self.0.min(16)).min(CAP);
        self.0 = self.0.saturating_add(1);
        tokio::time::sleep(bound.mul_f64(rand::random())).await;
        Ok(())
    }

    /// The stream works.
    pub(crate) fn works(&mut self) {
        self.0 = 0;
    }
}

/// A stream of the daemon that is opened again when it breaks.
#[derive(Debug)]
pub(crate) struct Followed<T> {
    told: Option<Streaming<T>>,
    again: Again,
}

impl<T> Default for Followed<T> {
    fn default() -> Self {
        Self {
            told: None,
            again: Again::default(),
        }
    }
}

impl<T> Followed<T> {
    /// The next message; where there is no stream, of a new one. Fails only where opening one again does not help. Cancel-safe.
    pub(crate) async fn next<F>(&mut self, connect: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<Streaming<T>>>,
    {
        loop {
            match self.receive(&connect).await {
                Ok(told) => {
                    self.again.works();
                    return Ok(told);
                }
                Err(error) => {
                    self.told = None;
                    self.again.after(error).await?;
                }
            }
        }
    }

    async fn receive<F>(&mut self, connect: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<Streaming<T>>>,
    {
        let told = match &mut self.told {
            Some(told) => told,
            None => self.told.insert(connect().await?),
        };
        let ended = || Error::outcome_unknown("the stream has ended");
        told.message().await?.ok_or_else(ended)
    }
}
