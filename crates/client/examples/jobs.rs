//! Jobs: submitting and waiting, a worker whose handler may fail and goes on where it was, and a batch.

#![allow(clippy::print_stdout, reason = "the example prints what it does")]

use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::oneshot;
use trellis_client::Client;
use trellis_client::jobs::{Attempt, BatchProcessor, Failure};

#[derive(Serialize, Deserialize)]
struct Document {
    pages: usize,
}

/// Reads a document page by page. What an attempt has done is not done again by the next.
async fn read(attempt: Attempt<Document>) -> Result<String, Failure> {
    let mut done = attempt.checkpoint()?.unwrap_or(0);
    if attempt.payload().pages == 0 {
        return Err(Failure::permanent("an empty document"));
    }
    while done < attempt.payload().pages {
        // ... the page is read here.
        done += 1;
        attempt.progress(&done).await?;
        if done == 2 && attempt.number() == 1 {
            // As a panic, or the death of the whole process, would be.
            return Err(Failure::retry("the lamp is broken"));
        }
    }
    Ok(format!(
        "{done} pages, attempt {} read the last",
        attempt.number()
    ))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::connect("http://127.0.0.1:7117").await?;
    let documents = client.queue("documents");

    // Four at a time, until the shutdown. Usually this is a process of its own.
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async { drop(stopped.await) };
    let worker = documents.worker().concurrency(4).shutdown(shutdown);
    let worker = tokio::task::JoinSet::from_iter([worker.run(read)]);

    // The result is waited for through broken connections and daemons that are started anew.
    let second = Duration::from_secs(1);
    let job = documents
        .submit(&Document { pages: 3 })
        .backoff(second / 10, second)
        .timeout(10 * second)
        .await?;
    println!("{}", job.result::<String>().await?);

    // Many, some at a time, and their results as they come.
    let pages = [1, 0, 1, 1].map(|pages| Document { pages });
    let processor = BatchProcessor::new(&client, "documents").max_concurrent(2);
    let mut batch = processor.process::<String, _>(pages);
    while let Some(item) = batch.next().await {
        if let Err(error) = item.result {
            println!("document {}: {error}", item.index);
        }
    }
    let progress = batch.progress();
    println!("{} of {} are done", progress.done, progress.total);

    // The worker ends what it has begun.
    drop(stop);
    for ended in worker.join_all().await {
        ended?;
    }
    Ok(())
}
