//! The metered provider: a process of its own that answers over HTTP, takes its time, has its price, and
//! enforces its limits. Both endpoints answer from the text alone, so every column gets the same answers
//! at the same latencies: the n-th call of a text takes as long in each.

pub mod ledger;
pub mod model;
pub mod window;

use crate::Result;
use crate::random::{Random, hash};
use crate::serving;
use crate::wire::{AnswerRequest, AnswerResponse, EmbedRequest, EmbedResponse, Ledgers, Refusal};
use crate::workload::Endpoint;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use ledger::Ledger;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use window::Window;

/// The header in which a caller tells its name.
pub const CALLER: &str = "x-caller";

/// The retry-after in milliseconds, since HTTP's own header knows whole seconds only.
pub const RETRY_AFTER_MS: &str = "retry-after-ms";

/// Texts in one call of embeddings.
const MAX_INPUTS: usize = 64;

/// Texts whose calls are counted for their latencies; beyond, all are new.
const MAX_TEXTS: usize = 100_000;

struct Provider {
    start: Instant,
    embeddings: Desk,
    answers: Desk,
}

/// One endpoint.
struct Desk {
    endpoint: Endpoint,
    state: Mutex<Book>,
}

struct Book {
    window: Window,
    ledger: Ledger,
    seen: HashMap<u64, u64>,
}

/// Serves until the parent goes away.
pub async fn serve(embeddings: Endpoint, answers: Endpoint) -> Result<()> {
    let provider = Arc::new(Provider {
        start: Instant::now(),
        embeddings: Desk::new(embeddings),
        answers: Desk::new(answers),
    });
    let routes = Router::new()
        .route("/embeddings", post(embed))
        .route("/answers", post(answer))
        .route("/ledger", get(ledgers))
        .with_state(provider);
    serving::serve(routes).await
}

async fn embed(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    Json(request): Json<EmbedRequest>,
) -> Response {
    if request.inputs.is_empty() || request.inputs.len() > MAX_INPUTS {
        let text = format!("inputs: 1 to {MAX_INPUTS} texts");
        return (StatusCode::BAD_REQUEST, text).into_response();
    }
    let input = request.inputs.iter().map(|text| model::tokens(text)).sum();
    let text = request.inputs.concat();
    let call = Call {
        caller: caller(&headers),
        text: &text,
        input,
        output: 0,
    };
    match provider.embeddings.admit(provider.start.elapsed(), &call) {
        Err(retry_after) => refused(retry_after),
        Ok(latency) => {
            tokio::time::sleep(latency).await;
            let embeddings = request.inputs.iter().map(|text| model::embed(text));
            Json(EmbedResponse {
                embeddings: embeddings.collect(),
                input_tokens: input,
            })
            .into_response()
        }
    }
}

async fn answer(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    Json(request): Json<AnswerRequest>,
) -> Response {
    let text = model::answer(&request);
    let chunks = request.chunks.iter().map(|chunk| model::tokens(chunk));
    let input = model::tokens(&request.question) + chunks.sum::<u64>();
    let output = model::tokens(&text);
    let call = Call {
        caller: caller(&headers),
        text: &request.question,
        input,
        output,
    };
    match provider.answers.admit(provider.start.elapsed(), &call) {
        Err(retry_after) => refused(retry_after),
        Ok(latency) => {
            tokio::time::sleep(latency).await;
            Json(AnswerResponse {
                text,
                input_tokens: input,
                output_tokens: output,
            })
            .into_response()
        }
    }
}

async fn ledgers(State(provider): State<Arc<Provider>>) -> Json<Ledgers> {
    Json(Ledgers {
        embeddings: provider.embeddings.state.lock().ledger.clone(),
        answers: provider.answers.state.lock().ledger.clone(),
    })
}

fn caller(headers: &HeaderMap) -> &str {
    let name = headers.get(CALLER).and_then(|name| name.to_str().ok());
    name.unwrap_or("nobody")
}

fn refused(retry_after: Duration) -> Response {
    // Whole units, never early.
    let ms = retry_after.as_micros().div_ceil(1_000);
    let seconds = ms.div_ceil(1_000);
    let headers = [
        ("retry-after", seconds.to_string()),
        (RETRY_AFTER_MS, ms.to_string()),
    ];
    let body = Json(Refusal {
        error: "rate limit exceeded".into(),
    });
    (StatusCode::TOO_MANY_REQUESTS, headers, body).into_response()
}

struct Call<'a> {
    caller: &'a str,
    text: &'a str,
    input: u64,
    output: u64,
}

impl Desk {
    fn new(endpoint: Endpoint) -> Self {
        let limit = usize::try_from(endpoint.limit).unwrap_or(usize::MAX);
        Self {
            endpoint,
            state: Mutex::new(Book {
                window: Window::new(limit, endpoint.period()),
                ledger: Ledger::default(),
                seen: HashMap::new(),
            }),
        }
    }

    /// Counts the call, and says how long it takes, or when to come again.
    fn admit(&self, now: Duration, call: &Call) -> Result<Duration, Duration> {
        let mut book = self.state.lock();
        if let Err(retry_after) = book.window.admit(now) {
            book.ledger.refuse(call.caller);
            return Err(retry_after);
        }
        let (input, output) = (call.input, call.output);
        book.ledger
            .admit(call.caller, &self.endpoint, input, output);
        let text = hash(call.text.as_bytes());
        let room = book.seen.len() < MAX_TEXTS;
        let nth = book.seen.get(&text).map_or(0, |before| before + 1);
        if nth > 0 || room {
            book.seen.insert(text, nth);
        }
        Ok(latency(&self.endpoint, text.wrapping_add(nth), output))
    }
}

fn latency(endpoint: &Endpoint, seed: u64, output: u64) -> Duration {
    let output = u32::try_from(output).unwrap_or(u32::MAX);
    let per_token = Duration::from_micros(endpoint.latency_us_per_output_token.into());
    let median = Duration::from_millis(endpoint.latency_ms.into()) + per_token * output;
    let factor = (Random::new(seed).normal() * endpoint.latency_spread).exp();
    median.mul_f64(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk(limit: u32) -> Desk {
        Desk::new(Endpoint {
            limit,
            period_ms: 1000,
            latency_ms: 40,
            latency_spread: 0.25,
            price_nano_dollars_per_input_token: 2,
            price_nano_dollars_per_output_token: 30,
            latency_us_per_output_token: 1000,
        })
    }

    const CALL: Call = Call {
        caller: "me",
        text: "Why?",
        input: 10,
        output: 5,
    };

    #[test]
    fn a_call_is_paid_once_and_a_refused_one_is_not() {
        let (desk, now) = (desk(1), Duration::from_secs(9));
        assert!(desk.admit(now, &CALL).is_ok());
        assert_eq!(desk.admit(now, &CALL), Err(Duration::from_secs(1)));
        let counts = desk.state.lock().ledger.total();
        assert_eq!((counts.calls, counts.refused), (1, 1));
        assert_eq!(counts.nano_dollars, 10 * 2 + 5 * 30);
    }

    #[test]
    fn the_nth_call_of_a_text_takes_as_long_at_every_provider() {
        let latencies = |desk: &Desk| [(); 3].map(|()| desk.admit(Duration::ZERO, &CALL).unwrap());
        let first = latencies(&desk(10));
        assert_eq!(first, latencies(&desk(10)));
        assert!(first[0] != first[1], "{first:?}");
        let bound = Duration::from_millis(200);
        assert!(first.iter().all(|latency| *latency < bound));
    }
}
