//! How the processes of the scenario call each other over HTTP.

use crate::provider::RETRY_AFTER_MS;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How long a call may take, waiting for room under a limit of a minute included.
const PATIENCE: Duration = Duration::from_mins(5);

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// HTTP 429.
    #[error("refused: again in {0:?}")]
    Throttled(Duration),
    /// Any other status that is not 200.
    #[error("HTTP {0}: {1}")]
    Status(StatusCode, String),
    /// No answer at all.
    #[error("no answer: {0}")]
    Broken(String),
}

/// A caller with connections that it keeps.
#[derive(Clone, Debug)]
pub struct Caller {
    client: Client<HttpConnector, Full<Bytes>>,
    name: String,
}

impl Caller {
    /// A caller that gives this name.
    pub fn new(name: impl Into<String>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            name: name.into(),
        }
    }

    /// Sends a message and reads the answer.
    pub async fn post<A: DeserializeOwned>(
        &self,
        address: &str,
        path: &str,
        message: &impl Serialize,
    ) -> Result<A, CallError> {
        let body = serde_json::to_vec(message).map_err(broken)?;
        let request = Request::post(format!("http://{address}{path}"))
            .header("content-type", "application/json");
        self.call(request, body.into()).await
    }

    /// Reads something.
    pub async fn get<A: DeserializeOwned>(
        &self,
        address: &str,
        path: &str,
    ) -> Result<A, CallError> {
        let request = Request::get(format!("http://{address}{path}"));
        self.call(request, Bytes::new()).await
    }

    async fn call<A: DeserializeOwned>(
        &self,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<A, CallError> {
        let request = request
            .header(crate::provider::CALLER, &self.name)
            .body(Full::new(body))
            .map_err(broken)?;
        let answer = async {
            let answer = self.client.request(request).await.map_err(broken)?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_err(broken)?.to_bytes();
            Ok::<_, CallError>((head, body))
        };
        let (head, body) = tokio::time::timeout(PATIENCE, answer)
            .await
            .map_err(broken)??;
        match head.status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(broken),
            StatusCode::TOO_MANY_REQUESTS => Err(CallError::Throttled(retry_after(&head.headers))),
            status => Err(CallError::Status(
                status,
                String::from_utf8_lossy(&body).into_owned(),
            )),
        }
    }
}

fn broken(error: impl std::fmt::Display) -> CallError {
    CallError::Broken(error.to_string())
}

/// The finer header, or HTTP's own, or a second.
fn retry_after(headers: &http::HeaderMap) -> Duration {
    let read = |name| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
    read(RETRY_AFTER_MS)
        .map(Duration::from_millis)
        .or_else(|| read("retry-after").map(Duration::from_secs))
        .unwrap_or(Duration::from_secs(1))
}
