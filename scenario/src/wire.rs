//! What goes over HTTP between the processes, as JSON.

use crate::provider::ledger::Ledger;
use serde::{Deserialize, Serialize};

/// Texts to embed.
#[derive(Debug, Serialize, Deserialize)]
pub struct EmbedRequest {
    /// 1 to 64 of them.
    pub inputs: Vec<String>,
}

/// Their embeddings.
#[derive(Debug, Serialize, Deserialize)]
pub struct EmbedResponse {
    /// In the order of the texts.
    pub embeddings: Vec<Vec<f32>>,
    /// Tokens paid.
    pub input_tokens: u64,
}

/// A question with the chunks that may answer it.
#[derive(Debug, Serialize, Deserialize)]
pub struct AnswerRequest {
    /// As it was asked.
    pub question: String,
    /// The nearest first.
    pub chunks: Vec<String>,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct AnswerResponse {
    /// Its text.
    pub text: String,
    /// Tokens of question and chunks.
    pub input_tokens: u64,
    /// Tokens of the text.
    pub output_tokens: u64,
}

/// What comes with a 429.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// For people.
    pub error: String,
}

/// Everything that the provider counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledgers {
    /// Of the embeddings endpoint.
    pub embeddings: Ledger,
    /// Of the answers endpoint.
    pub answers: Ledger,
}

/// What a server is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct AskRequest {
    /// The question, or the text that is to be embedded.
    pub text: String,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct AskResponse {
    /// The answer.
    pub answer: String,
    /// Where the question's embedding came from.
    pub embedding_from: Source,
    /// Where the answer came from.
    pub answer_from: Source,
}

/// What it answers when only an embedding was asked for.
#[derive(Debug, Serialize, Deserialize)]
pub struct Embedded {
    /// Where it came from.
    pub from: Source,
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The provider was called for it.
    Computed,
    /// It was in the cache.
    Hit,
    /// Somebody was computing it already, and it was waited for.
    Coalesced,
}
