//! A RAG server: a process of its own that answers questions over HTTP.

pub mod alone;
pub mod commons;
pub mod index;
pub mod rag;

use crate::Result;
use crate::calling::Caller;
use crate::serving;
use crate::wire::{AskRequest, AskResponse, Embedded};
use crate::workload::Endpoint;
use alone::Alone;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use commons::{AskError, Commons};
use rag::Rag;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// Everything a server is told when it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Its name, which the provider counts its calls under.
    pub name: String,
    /// Address of the provider.
    pub provider: String,
    /// File of the index.
    pub index: PathBuf,
    /// What the server has in common with others.
    pub mode: Mode,
    /// The provider's embeddings.
    pub embeddings: Endpoint,
    /// The provider's answers.
    pub answers: Endpoint,
}

/// What a server has in common with others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Mode {
    /// Nothing: the guide's mode.
    Alone,
}

/// Serves until the parent goes away.
pub async fn serve(config: Config) -> Result<()> {
    let commons: Arc<dyn Commons> = match &config.mode {
        Mode::Alone => Arc::new(Alone::new(&config.embeddings, &config.answers)),
    };
    let index = serde_json::from_slice(&std::fs::read(&config.index)?)?;
    let caller = Caller::new(config.name);
    let rag = Arc::new(Rag::new(config.provider, caller, commons, index));
    let routes = Router::new()
        .route("/ask", post(ask))
        .route("/embed", post(embed))
        .with_state(rag);
    serving::serve(routes).await
}

type Answer<T> = Result<Json<T>, (StatusCode, String)>;

async fn ask(State(rag): State<Arc<Rag>>, Json(request): Json<AskRequest>) -> Answer<AskResponse> {
    rag.ask(request.text).await.map(Json).map_err(failed)
}

async fn embed(State(rag): State<Arc<Rag>>, Json(request): Json<AskRequest>) -> Answer<Embedded> {
    let embedded = rag.embed(request.text).await.map_err(failed)?;
    Ok(Json(Embedded { from: embedded.1 }))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: AskError) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}
