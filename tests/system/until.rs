//! Waiting for what no event tells.

use std::future::Future;
use std::time::Duration;

/// Waits until `condition` holds, by asking again; a daemon that never gets there fails the test.
pub async fn until<F: Future<Output = bool>>(mut condition: impl FnMut() -> F) {
    let asked = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), asked)
        .await
        .expect("never got there");
}
