//! Many keys in one unary call, each answered on its own.

use super::{CacheRpc, of_item};
use crate::convert::{self, cache as spelled};
use crate::error::item_status;
use trellis_core::cache::{Lookup, Precondition};
use trellis_core::{Error, ErrorCode, Result};
use trellis_proto::v1;
use v1::batch_delete_result::Result as DeleteResult;
use v1::batch_get_result::Result as GetResult;
use v1::batch_set_result::Result as SetResult;

/// The most of values in one answer: with the rest of a batch it stays within what every client takes.
const BUDGET_BYTES: usize = 3 * 1024 * 1024;

impl CacheRpc {
    /// Refuses a batch of another size than is allowed, before any work.
    pub(super) fn check_batch(&self, field: &str, count: usize) -> Result<()> {
        let max = self.config.cache.max_batch;
        if count == 0 || count > max {
            let allowed = format!("must hold 1 to {max}, has {count}");
            return Err(Error::invalid(field, allowed));
        }
        Ok(())
    }

    pub async fn batch_get(&self, request: v1::BatchGetRequest) -> Result<v1::BatchGetResponse> {
        self.check_batch("keys", request.keys.len())?;
        let namespace = self.context(None).namespace(request.namespace)?;
        let mut keys = Vec::with_capacity(request.keys.len());
        let mut errors = Vec::with_capacity(request.keys.len());
        for (index, key) in request.keys.into_iter().enumerate() {
            match spelled::entry_key_at(key, index) {
                Ok(key) => {
                    keys.push(key);
                    errors.push(None);
                }
                Err(error) => errors.push(Some(error)),
            }
        }
        let options = spelled::get_options(request.allow_stale, request.read)?;
        let (found, scope) = self.cache.get(&namespace, &keys, options).await?;
        let mut found = found.into_iter();
        let mut room = Room::default();
        let results = errors.into_iter().map(|error| {
            let result = match error {
                Some(error) => GetResult::Error(item_status(error)),
                None => match found.next() {
                    Some(lookup) => room.take(&lookup),
                    None => GetResult::Error(item_status(missing())),
                },
            };
            v1::BatchGetResult {
                result: Some(result),
            }
        });
        Ok(v1::BatchGetResponse {
            results: results.collect(),
            scope: Some(convert::scope(&scope)),
        })
    }

    pub async fn batch_set(&self, request: v1::BatchSetRequest) -> Result<v1::BatchSetResponse> {
        self.check_batch("items", request.items.len())?;
        let namespace = self.context(None).namespace(request.namespace)?;
        let mut results = Vec::with_capacity(request.items.len());
        let fence = spelled::fence(request.fence)?;
        for (index, item) in request.items.into_iter().enumerate() {
            let result = match self.set(&namespace, item, fence.clone()).await {
                Ok(response) => SetResult::Response(response),
                Err(error) => {
                    let error = of_item(error, format_args!("items[{index}]"));
                    SetResult::Error(item_status(error))
                }
            };
            results.push(v1::BatchSetResult {
                result: Some(result),
            });
        }
        Ok(v1::BatchSetResponse { results })
    }

    pub async fn batch_delete(
        &self,
        request: v1::BatchDeleteRequest,
    ) -> Result<v1::BatchDeleteResponse> {
        self.check_batch("keys", request.keys.len())?;
        let namespace = self.context(None).namespace(request.namespace)?;
        let mut results = Vec::with_capacity(request.keys.len());
        for (index, key) in request.keys.into_iter().enumerate() {
            let key = spelled::entry_key_at(key, index);
            let deleted = match key {
                Ok(key) => self.delete(&namespace, &key, Precondition::Always).await,
                Err(error) => Err(error),
            };
            let result = match deleted {
                Ok(response) => DeleteResult::Response(response),
                Err(error) => DeleteResult::Error(item_status(error)),
            };
            results.push(v1::BatchDeleteResult {
                result: Some(result),
            });
        }
        Ok(v1::BatchDeleteResponse { results })
    }
}

fn missing() -> Error {
    Error::new(ErrorCode::Internal, "a key without an answer")
}

/// What an answer holds so far.
#[derive(Default)]
struct Room {
    used: usize,
    full: bool,
}

impl Room {
    /// A key's answer; none of a value once one did not fit, so that what is left is the batch's rest.
    fn take(&mut self, lookup: &Lookup) -> GetResult {
        let hit = match lookup {
            Lookup::Miss => return GetResult::Miss(v1::Miss {}),
            Lookup::Deferred => {
                self.full = true;
                return GetResult::Deferred(v1::Deferred {});
            }
            Lookup::Hit(hit) => hit,
        };
        let entry = spelled::entry(hit, 0);
        let size = spelled::answer_bytes(&entry);
        if self.full || (self.used > 0 && self.used + size > BUDGET_BYTES) {
            self.full = true;
            return GetResult::Deferred(v1::Deferred {});
        }
        self.used += size;
        GetResult::Entry(entry)
    }
}
