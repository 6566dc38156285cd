//! The crowd: every question is asked at its time, however long others take (an open loop), and its
//! latency counts from that time.

use crate::Result;
use crate::calling::Caller;
use crate::wire::{AskRequest, AskResponse, Source};
use crate::workload::Arrival;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How one question went.
#[derive(Clone, Debug)]
pub struct Asked {
    /// From the intended time of asking to the answer.
    pub latency: Duration,
    /// Where embedding and answer came from, or why there is none.
    pub outcome: Result<(Source, Source), String>,
}

/// Asks everything at its time, and returns when all are answered.
pub async fn run(arrivals: &[Arrival], servers: &[String]) -> Result<Vec<Asked>> {
    let caller = Caller::new("crowd");
    let start = Instant::now();
    let mut asking = JoinSet::new();
    for arrival in arrivals {
        let intended = start + arrival.at;
        tokio::time::sleep_until(intended).await;
        let (caller, server) = (caller.clone(), servers[arrival.server].clone());
        let request = AskRequest {
            text: arrival.question.clone(),
        };
        // At most as many as there are arrivals.
        asking.spawn(async move {
            let answer = caller.post(&server, "/ask", &request).await;
            Asked {
                latency: intended.elapsed(),
                outcome: answer
                    .map(|answer: AskResponse| (answer.embedding_from, answer.answer_from))
                    .map_err(|error| error.to_string()),
            }
        });
    }
    let mut asked = Vec::with_capacity(arrivals.len());
    while let Some(one) = asking.join_next().await {
        asked.push(one?);
    }
    Ok(asked)
}
