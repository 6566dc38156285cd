//! Settings of a pipeline changed while it runs, and obeyed by the next call. Needs a daemon, on the default port or at the
//! address given.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;
use trellis_client::{Charge, Client};

#[tokio::main]
async fn main() -> trellis_client::Result<()> {
    let daemon = std::env::args().nth(1);
    let daemon = daemon.unwrap_or_else(|| "http://127.0.0.1:7117".to_owned());
    let client = Client::connect(daemon).await?;
    let pipelines = client.pipelines();
    let ttl = Duration::from_mins(10);
    let changed = pipelines
        .update("vision_rag", |p| {
            p.embedding_cache_ttl(ttl).llm_rate_limit(50)
        })
        .await?;
    println!("embeddings stay for {:?}", changed.cache_ttls["embedding"]);

    // The pipeline's limits are limits as all others; the cache obeys where `Keep::pipeline` names a step.
    let limits = client.limits();
    let many = limits
        .try_acquire(Charge::new("vision_rag.llm", 40))
        .await?;
    println!("40 calls at once: {}", many.is_granted());

    let before = pipelines.reset("vision_rag").await?;
    let ttl = before.and_then(|before| before.cache_ttl("embedding"));
    println!("and again for {:?}", ttl.unwrap_or_default());
    Ok(())
}
