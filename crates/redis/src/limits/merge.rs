//! Merging what this daemon spent while it could not reach the store.

use super::call::Done;
use super::failure::Asked;
use super::scripts::MERGE;
use super::wire::Spec;
use super::{RedisLimits, convert};
use async_trait::async_trait;
use std::sync::atomic::Ordering;
use trellis_core::Result;
use trellis_core::limits::{Reconcile, Spent};

#[async_trait]
impl Reconcile for RedisLimits {
    async fn merge(&self, batch: &str, spent: &[Spent]) -> Result<()> {
        let Some(first) = spent.first() else {
            return Ok(());
        };
        let list: Vec<(&str, &str, i64, Spec, u64)> = spent
            .iter()
            .map(|it| {
                let (limit, key) = (it.limit.as_str(), it.key.as_str());
                let spec = convert::spec(&it.spec);
                (limit, key, it.amount, spec, it.held_for.0)
            })
            .collect();
        let args = (batch, list);
        let done: Done<u64> = self
            .call(&MERGE, &first.namespace, &args, Asked::default())
            .await?;
        let over = done.payload()?;
        if over > 0 {
            self.overshoot.fetch_add(over, Ordering::Relaxed);
            tracing::warn!(
                namespace = first.namespace.as_str(),
                units = over,
                "more was admitted than the limits allow while the store was away"
            );
        }
        Ok(())
    }
}
