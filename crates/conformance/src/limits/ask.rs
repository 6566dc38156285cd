//! An acquire being put together, and one that runs.

use super::Bench;
use crate::spawn;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use trellis_core::limits::{
    AcquireRequest, Acquired, Charge, ChargeState, FairShare, Granted, Mode, Outcome, Priority,
    ReservationId,
};
use trellis_core::{Error, Micros, RequestId, Result};

/// More than any call of a case may take: one that takes longer hangs.
const PATIENCE: Duration = Duration::from_mins(5);

/// An acquire being put together.
#[derive(Clone)]
pub(super) struct Ask {
    bench: Bench,
    request: AcquireRequest,
}

/// What a grant brought.
#[derive(Debug)]
pub(super) struct Grant {
    pub charges: Vec<ChargeState>,
    pub reservation: Option<Granted>,
}

impl Grant {
    /// The name of the reservation, which must have been made.
    pub fn id(&self) -> &ReservationId {
        &self.made().id
    }

    /// How long the reservation lasts.
    pub fn ttl(&self) -> Micros {
        self.made().ttl
    }

    fn made(&self) -> &Granted {
        self.reservation.as_ref().expect("a reservation was made")
    }
}

impl Ask {
    pub fn new(bench: &Bench, charges: Vec<Charge>) -> Self {
        let request = AcquireRequest {
            namespace: bench.namespace.clone(),
            charges,
            mode: Mode::Try,
            reservation_ttl: None,
            request_id: None,
            priority: Priority::Interactive,
            fair: FairShare::UNNAMED,
            dry_run: false,
        };
        Self {
            bench: bench.clone(),
            request,
        }
    }

    /// Waits in line for at most so long.
    pub fn wait(mut self, max_wait: Micros) -> Self {
        self.request.mode = Mode::Wait(max_wait);
        self
    }

    /// Makes a reservation that lasts so long.
    pub fn reserve(mut self, ttl: Micros) -> Self {
        self.request.reservation_ttl = Some(ttl);
        self
    }

    /// Names the call.
    pub fn request_id(mut self, id: &str) -> Self {
        self.request.request_id = Some(RequestId::new(id, "request_id").unwrap());
        self
    }

    /// Lets interactive calls go first.
    pub fn batch(mut self) -> Self {
        self.request.priority = Priority::Batch;
        self
    }

    /// Waits on the account of a fair key.
    pub fn fair(mut self, key: &str, weight: u32) -> Self {
        self.request.fair = FairShare::new(key, weight).unwrap();
        self
    }

    /// Only asks.
    pub fn dry_run(mut self) -> Self {
        self.request.dry_run = true;
        self
    }

    /// Sends the call.
    pub async fn send(self) -> Result<Acquired> {
        let limits = self.bench.port();
        let asked = format!("{:?}", self.request);
        let ended = timeout(PATIENCE, limits.acquire(self.request)).await;
        ended.unwrap_or_else(|_| panic!("{asked} hangs"))
    }

    /// Sends the call, which must be answered.
    pub async fn acquired(self) -> Acquired {
        self.send().await.unwrap()
    }

    /// Sends the call, which must be granted.
    pub async fn granted(self) -> Grant {
        granted(self.acquired().await)
    }

    /// Sends the call, which must be denied; tells the time to retry.
    pub async fn denied(self) -> Micros {
        match self.acquired().await.outcome {
            Outcome::Denied(retry_after) => {
                assert!(retry_after > Micros::ZERO, "denied, but retry at once");
                retry_after
            }
            other => panic!("should be denied, is {other:?}"),
        }
    }

    /// Sends the call, which must time out; tells the time to retry and the position.
    pub async fn timed_out(self) -> (Micros, u32) {
        match self.acquired().await.outcome {
            Outcome::TimedOut {
                retry_after,
                position,
            } => {
                assert!(retry_after > Micros::ZERO, "timed out, but retry at once");
                (retry_after, position)
            }
            other => panic!("should time out, is {other:?}"),
        }
    }

    /// Sends the call, which must fail.
    pub async fn error(self) -> Error {
        self.send().await.unwrap_err()
    }

    /// Sends the call and lets it run.
    pub fn start(self) -> Pending {
        Pending(spawn(async move {
            let result = self.send().await;
            (result, Instant::now())
        }))
    }
}

fn granted(acquired: Acquired) -> Grant {
    match acquired.outcome {
        Outcome::Granted(reservation) => Grant {
            charges: acquired.charges,
            reservation,
        },
        other => panic!("should be granted, is {other:?}"),
    }
}

/// A call that runs. Dropped, it runs on.
pub(super) struct Pending(JoinHandle<(Result<Acquired>, Instant)>);

impl Pending {
    /// Waits for the end of the call.
    pub async fn result(self) -> Result<Acquired> {
        self.0.await.unwrap().0
    }

    /// Waits for the end of the call, which must be granted; also tells when it was.
    pub async fn granted(self) -> (Grant, Instant) {
        let (result, at) = self.0.await.unwrap();
        (granted(result.unwrap()), at)
    }

    /// Drops the call's future, and returns when it is gone.
    pub async fn cancel(self) {
        self.0.abort();
        // Cancelled, or ended just before.
        let _ = self.0.await;
    }
}
