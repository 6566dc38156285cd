//! Merging what this daemon spent while it could not reach the store.

use super::call::Done;
use super::failure::Asked;
use super::scripts::MERGE;
use super::wire::Spec;
use super::{RedisLimits, convert};
use async_trait::async_trait;
use trellis_core::Result;
use trellis_core::limits::{Reconcile, Spent};

#[async_trait]
impl Reconcile for RedisLimits {
    async fn merge(&self, batch: &str, spent: &[Spent]) -> Result<()> {
        let Some(first) = spent.first() else {
            return Ok(());
        };
        let list: Vec<(&str, &str, i64, Spec)> = spent
            .iter()
            .map(|it| {
                let spec = convert::spec(&it.spec);
                (it.limit.as_str(), it.key.as_str(), it.amount, spec)
            })
            .collect();
        let args = (batch, list);
        let done: Done<bool> = self
            .call(&MERGE, &first.namespace, &args, Asked::default())
            .await?;
        done.payload().map(|_| ())
    }
}
