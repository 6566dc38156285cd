//! What a server does with a question: embed it, find the nearest chunks, have the answer written. Both
//! calls of the provider go through the cache and the limits that the server has.

use super::commons::{AskError, Cache, Compute, Limits, Metered};
use super::index::Index;
use crate::calling::{CallError, Caller};
use crate::wire::{
    AnswerRequest, AnswerResponse, AskResponse, EmbedRequest, EmbedResponse, Source,
};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

/// Chunks that an answer is made from.
const NEAREST: usize = 4;

/// How often one call is made before it is given up.
const MAX_ATTEMPTS: u32 = 8;

/// The guide's times to live.
const EMBEDDING_TTL: Duration = Duration::from_hours(2);
const ANSWER_TTL: Duration = Duration::from_mins(5);

/// A server's work.
pub struct Rag {
    provider: Arc<Provider>,
    cache: Box<dyn Cache>,
    index: Index,
}

/// The way to the provider, under its limits.
pub struct Provider {
    /// Where it is.
    pub address: String,
    /// Who calls it.
    pub caller: Caller,
    /// What it allows.
    pub limits: Box<dyn Limits>,
}

impl Rag {
    /// A server's work over the cache and the limits that it has.
    pub fn new(provider: Provider, cache: Box<dyn Cache>, index: Index) -> Self {
        Self {
            provider: Arc::new(provider),
            cache,
            index,
        }
    }

    /// Answers a question.
    pub async fn ask(&self, question: String) -> Result<AskResponse, AskError> {
        let (vector, embedding_from) = self.embed(question.clone()).await?;
        let nearest = self.index.nearest(&vector, NEAREST);
        let key = format!("answer/{nearest:?}/{question}");
        let chunks = nearest
            .iter()
            .map(|chunk| self.index.chunks[*chunk].clone());
        let request = AnswerRequest {
            question,
            chunks: chunks.collect(),
        };
        let provider = self.provider.clone();
        let compute: Compute = Box::pin(async move {
            let answer: AnswerResponse = provider
                .call(Metered::Answers, "/answers", &request)
                .await?;
            Ok(Bytes::from(answer.text))
        });
        let (answer, answer_from) = self.cache.cached(key, ANSWER_TTL, compute).await?;
        Ok(AskResponse {
            answer: String::from_utf8(answer.into()).map_err(unreadable)?,
            embedding_from,
            answer_from,
        })
    }

    /// The embedding of a text.
    pub async fn embed(&self, text: String) -> Result<(Vec<f32>, Source), AskError> {
        let key = format!("embedding/{text}");
        let provider = self.provider.clone();
        let compute: Compute = Box::pin(async move { provider.embed(text).await });
        let (bytes, from) = self.cache.cached(key, EMBEDDING_TTL, compute).await?;
        Ok((decode(&bytes)?, from))
    }

    /// The embedding of a text, by a call of the provider in any case.
    pub async fn embed_anew(&self, text: String) -> Result<Vec<f32>, AskError> {
        decode(&self.provider.embed(text).await?)
    }
}

impl Provider {
    async fn embed(&self, text: String) -> Result<Bytes, AskError> {
        let request = EmbedRequest { inputs: vec![text] };
        let answer: EmbedResponse = self
            .call(Metered::Embeddings, "/embeddings", &request)
            .await?;
        Ok(encode(answer.embeddings.first().map_or(&[], Vec::as_slice)))
    }

    /// Calls the provider under its limit; when it refuses nevertheless, tells the limit and tries again.
    async fn call<A: DeserializeOwned>(
        &self,
        what: Metered,
        path: &str,
        request: &(impl Serialize + Sync),
    ) -> Result<A, AskError> {
        let mut attempt = 1;
        loop {
            self.limits.admitted(what).await?;
            match self.caller.post(&self.address, path, request).await {
                Err(CallError::Throttled(retry_after)) if attempt < MAX_ATTEMPTS => {
                    attempt += 1;
                    self.limits.throttled(what, retry_after).await?;
                }
                answer => return Ok(answer?),
            }
        }
    }
}

/// A vector as bytes: little-endian numbers of 32 bits.
fn encode(vector: &[f32]) -> Bytes {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn decode(bytes: &[u8]) -> Result<Vec<f32>, AskError> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(unreadable("not a whole number of floats"));
    }
    Ok(numbers
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect())
}

fn unreadable(error: impl std::fmt::Display) -> AskError {
    AskError::Value(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_comes_back_as_it_was() {
        let vector = vec![0.25, -1.5, f32::MIN_POSITIVE];
        assert_eq!(decode(&encode(&vector)).unwrap(), vector);
        assert!(decode(&[1, 2, 3]).is_err());
    }
}
