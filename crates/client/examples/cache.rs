//! A value that is computed once.

#![allow(
    clippy::print_stdout,
    clippy::unused_async,
    reason = "the example prints what it does and calls no provider"
)]

use std::time::Duration;
use trellis_client::Client;
use trellis_client::cache::{CacheKey, Keep};

async fn ask_model(question: &str) -> std::io::Result<String> {
    // ... the call to the provider goes here.
    Ok(format!("an answer to {question}"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cache = Client::connect("http://127.0.0.1:7117")
        .await?
        .cache("answers");
    let question = "What does a lease cost?";
    let key = CacheKey::new("answer").model("small-1").text(question);
    let keep = Keep::new(Duration::from_mins(5)).tag("docs");
    let answer: String = cache
        .get_or_compute_as(key, keep, || ask_model(question))
        .await?;
    println!("{answer}");
    Ok(())
}
