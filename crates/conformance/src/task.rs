//! The one place that starts tasks.

use std::future::Future;
use tokio::task::JoinHandle;

/// Runs a future in the runtime of the test, which ends it.
#[expect(
    clippy::disallowed_methods,
    reason = "a test has no supervisor: its tasks end with its runtime"
)]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    tokio::spawn(future)
}
