//! A call that waits.

use trellis_core::cache::{Failure, Hit, Landing, Lease, LeaseEnd, Progress, Waiting};

/// A call that waits.
pub(super) struct Waiter(pub Box<dyn Waiting>);

impl Waiter {
    /// What it learns next.
    pub async fn next(&mut self) -> Progress {
        self.0.next().await.unwrap()
    }

    /// How its wait ends, whatever it is told before.
    pub async fn end(mut self) -> Landing {
        loop {
            if let Progress::Ended(landing) = self.next().await {
                return landing;
            }
        }
    }

    /// The value that its wait ends with.
    pub async fn value(self) -> Hit {
        match self.end().await {
            Landing::Value(hit) => hit,
            other => panic!("no value but {other:?}"),
        }
    }

    /// The lease that its wait ends with.
    pub async fn lease(self) -> Lease {
        match self.end().await {
            Landing::Lease(lease) => lease,
            other => panic!("no lease but {other:?}"),
        }
    }

    /// The failure that its wait ends with.
    pub async fn failure(self) -> Failure {
        match self.end().await {
            Landing::Failed(failure) => failure,
            other => panic!("no failure but {other:?}"),
        }
    }

    /// Takes parts until so many bytes have come.
    pub async fn parts(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            match self.next().await {
                Progress::Part(part) => bytes.extend_from_slice(&part),
                other => panic!("no part but {other:?}"),
            }
        }
        bytes
    }

    /// Takes the word that the computation began again.
    pub async fn restarted(&mut self, reason: LeaseEnd) {
        assert_eq!(self.next().await, Progress::Restarted(reason));
    }
}
