//! The pipelines port on Redis.

use super::RedisPipelines;
use super::call::PutTold;
use super::known::Record;
use super::watching::Watching;
use async_trait::async_trait;
use std::sync::Arc;
use trellis_core::pipelines::{
    Catalogue, Change, ListPipelines, Pipeline, PipelineName, PipelinePage, PipelineView,
    PipelineWatch, Pipelines, ResetPipeline, UpdatePipeline,
};
use trellis_core::{Error, ErrorCode, Namespace, Result, Scope, Time};

/// How often a change is worked out anew because another one came before it: each time one of them was made.
const MAX_CHANGES_AT_ONCE: usize = 64;

impl RedisPipelines {
    /// Carries out a change that is worked out by `plan`, again and again until nothing has come in between.
    async fn change(
        &self,
        (namespace, name): (&Namespace, &PipelineName),
        plan: impl Fn(&mut Catalogue) -> Result<Change> + Send,
    ) -> Result<Change> {
        for _ in 0..MAX_CHANGES_AT_ONCE {
            let session = self.catch_up().await.map_err(unchanged)?;
            let (mut space, version) = {
                let known = self.known.read();
                (known.catalogue(namespace), known.version(namespace, name))
            };
            let change = plan(&mut space)?;
            if !change.is_one() {
                return Ok(change);
            }
            let updates = space.updates(name.as_str()).cloned();
            let put = self.put(session, (namespace, name), version, updates.as_ref());
            let version = match put.await.map_err(unchanged)? {
                PutTold::Stored(version) => version,
                PutTold::Changed => continue,
            };
            self.store.saw_token(version);
            let after = updates.clone();
            let after = after.map(|updates| space.set(name, updates, version));
            let record = Record {
                namespace: namespace.clone(),
                name: name.clone(),
                version,
                updates,
            };
            self.known.write().note(record, self.max_gone());
            self.changes.send_replace(());
            let before = change.before;
            return Ok(Change { before, after });
        }
        let message = format!(
            "pipeline {name} was changed by others {MAX_CHANGES_AT_ONCE} times meanwhile, or its values are of a later \
             version than this daemon (its log tells): read it again"
        );
        Err(Error::new(ErrorCode::PipelineChanged, message))
    }

    /// The scope of a look: what is told is what the store holds, or what was last known of it.
    async fn looked(&self) -> Result<Scope> {
        match self.catch_up().await {
            Ok(_) => Ok(Scope::Shared),
            Err(error) if error.code == ErrorCode::Internal => Err(error),
            Err(_) => Ok(self.degraded()),
        }
    }
}

/// Says what to do about a change that could not be made.
fn unchanged(mut error: Error) -> Error {
    if error.code == ErrorCode::StoreUnavailable {
        error.message.push_str(
            ", and the settings last known stay in force: send it again when GetStatus shows the store up",
        );
    }
    error
}

#[async_trait]
impl PipelineView for RedisPipelines {
    fn find(&self, namespace: &Namespace, name: &str) -> Option<Arc<Pipeline>> {
        self.known.read().find(namespace, name).cloned()
    }

    async fn refresh(&self) -> Result<()> {
        self.catch_up().await.map(drop)
    }
}

#[async_trait]
impl Pipelines for RedisPipelines {
    async fn get(
        &self,
        namespace: Namespace,
        name: PipelineName,
    ) -> Result<(Arc<Pipeline>, Scope)> {
        let scope = self.looked().await?;
        let found = self.find(&namespace, name.as_str());
        let pipeline = found.ok_or_else(|| {
            let message = format!("pipeline {name} does not exist: see List for those that do");
            Error::new(ErrorCode::PipelineNotFound, message)
        })?;
        Ok((pipeline, scope))
    }

    async fn list(&self, list: ListPipelines) -> Result<PipelinePage> {
        let scope = self.looked().await?;
        let (pipelines, more) = self.known.read().list(&list);
        Ok(PipelinePage {
            pipelines,
            more,
            scope,
        })
    }

    async fn update(&self, update: UpdatePipeline) -> Result<(Arc<Pipeline>, bool, Scope)> {
        let pipeline = (&update.namespace, &update.name);
        let plan = |space: &mut Catalogue| space.update(&update, Time(0));
        let change = self.change(pipeline, plan).await?;
        let gone = || Error::new(ErrorCode::Internal, "an update left no pipeline");
        let created = change.before.is_none();
        Ok((change.after.ok_or_else(gone)?, created, Scope::Shared))
    }

    async fn reset(&self, reset: ResetPipeline) -> Result<(Option<Arc<Pipeline>>, Scope)> {
        let pipeline = (&reset.namespace, &reset.name);
        let plan = |space: &mut Catalogue| space.reset(&reset, Time(0));
        let change = self.change(pipeline, plan).await?;
        Ok((change.after, Scope::Shared))
    }

    async fn watch(
        &self,
        namespace: Namespace,
        name: PipelineName,
    ) -> Result<Box<dyn PipelineWatch>> {
        // What cannot be known now is told once it is.
        let _ = self.looked().await?;
        Ok(Box::new(Watching::new(self, namespace, name)))
    }
}
