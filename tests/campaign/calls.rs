//! Calls of the daemon, in whatever service.

use crate::clock::pause;
use parking_lot::Mutex;
use prost::Message as _;
use std::collections::BTreeMap;
use std::time::Duration;
use tonic_types::StatusExt as _;

/// What a daemon that serves does in less, however busy the machine is.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often the answer was an error, by its reason.
#[derive(Debug, Default)]
pub struct Errors(Mutex<BTreeMap<String, u64>>);

impl Errors {
    /// Notes an error; tells its reason.
    pub fn note(&self, status: &tonic::Status) -> String {
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| info.reason.clone());
        let reason = reason.unwrap_or_else(|| format!("{:?}", status.code()));
        *self.0.lock().entry(reason.clone()).or_default() += 1;
        reason
    }

    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.0.lock().clone()
    }
}

/// An answer, which a daemon that runs gives in time.
pub async fn answered<T>(answer: impl Future<Output = T>) -> T {
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    answer.expect("the daemon does not answer")
}

/// Waits until something is so; false when it is not in time.
pub async fn until(time: Duration, so: impl Fn() -> bool) -> bool {
    let wait = async {
        while !so() {
            pause(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(time, wait).await.is_ok()
}

/// A status that a stream tells.
pub fn status(status: &tonic_types::Status) -> tonic::Status {
    let details = status.encode_to_vec().into();
    let code = tonic::Code::from_i32(status.code);
    tonic::Status::with_details(code, status.message.clone(), details)
}
