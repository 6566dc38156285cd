//! A RAG server: a process of its own that answers questions over HTTP.

pub mod alone;
pub mod commons;
pub mod index;
pub mod rag;
mod trellis;

use crate::Result;
use crate::calling::Caller;
use crate::serving;
use crate::wire::{AskRequest, AskResponse, Embedded, Source};
use crate::workload::Endpoint;
use alone::{OwnCache, OwnLimits};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use commons::{AskError, Cache, Limits};
use rag::{Provider, Rag};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use trellis::{SharedCache, SharedLimits};
use trellis_client::Client;

pub use trellis::TRAVEL;

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
    /// The cache and the limits of this daemon.
    Daemon {
        /// Where the daemon is.
        daemon: String,
    },
}

/// Serves until the parent goes away.
pub async fn serve(config: Config) -> Result<()> {
    let (embeddings, answers) = (&config.embeddings, &config.answers);
    let (cache, limits): (Box<dyn Cache>, Box<dyn Limits>) = match &config.mode {
        Mode::Alone => (
            Box::<OwnCache>::default(),
            Box::new(OwnLimits::new(embeddings, answers)),
        ),
        Mode::Daemon { daemon } => {
            let client = Client::connect(format!("http://{daemon}")).await?;
            (
                Box::new(SharedCache::new(&client)),
                Box::new(SharedLimits::new(&client, embeddings, answers)),
            )
        }
    };
    let index = serde_json::from_slice(&std::fs::read(&config.index)?)?;
    let provider = Provider {
        address: config.provider,
        caller: Caller::new(config.name),
        limits,
    };
    let routes = Router::new()
        .route("/ask", post(ask))
        .route("/embed", post(embed))
        .route("/embed-anew", post(embed_anew))
        .with_state(Arc::new(Rag::new(provider, cache, index)));
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

async fn embed_anew(
    State(rag): State<Arc<Rag>>,
    Json(request): Json<AskRequest>,
) -> Answer<Embedded> {
    rag.embed_anew(request.text).await.map_err(failed)?;
    Ok(Json(Embedded {
        from: Source::Computed,
    }))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: AskError) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}
