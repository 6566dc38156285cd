//! Get or compute: one caller of all computes, the others get its value.

use super::Cache;
use super::entry::{Entry, Keep};
use super::failure::{ComputeError, Typed};
use super::session::{Fetch, FetchEvent};
use crate::error::Error;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt::Display;

impl Cache {
    /// The value under a key, computed by `compute` where there is none and nobody else computes it.
    ///
    /// Dropping the future gives the lease up, and the next caller computes. A failed computation is told to
    /// all who wait. A caller that is asked to compute anew what is still served does so before it
    /// returns, and returns the former value where that fails.
    pub async fn get_or_compute<C, E>(
        &self,
        key: impl Into<String>,
        keep: Keep,
        compute: impl FnOnce() -> C,
    ) -> Result<Bytes, ComputeError<E>>
    where
        C: Future<Output = Result<Bytes, E>>,
        E: Display,
    {
        let key = key.into();
        if !keep.needs_a_fetch()
            && let Some(entry) = self.get(key.as_str()).await?
        {
            return entry.value.ok_or(ComputeError::Negative);
        }
        let mut fetch = self.fetch([key], &keep).await?;
        loop {
            let (lease, former) = match fetch.next().await?.1 {
                FetchEvent::Hit {
                    entry,
                    refresh: None,
                } => return entry.value.ok_or(ComputeError::Negative),
                FetchEvent::Hit {
                    entry,
                    refresh: Some(lease),
                } => (lease, Some(entry)),
                FetchEvent::Lease(lease) => (lease, None),
                FetchEvent::Failed { code, message } => {
                    return Err(ComputeError::Elsewhere { code, message });
                }
                _ => continue,
            };
            let computed = fetch.while_reading(compute()).await?;
            return finish(&mut fetch, (lease, former), computed, &keep).await;
        }
    }

    /// The values under keys, in their order. `compute` gets those that are to be computed here, each
    /// once, and returns their values in the same order; it is called again for keys whose computation
    /// elsewhere was given up.
    ///
    /// What is computed here is filled before others are waited for, so that no two callers wait for each
    /// other. One failure fails the call; what was computed is kept.
    pub async fn get_or_compute_many<C, E>(
        &self,
        keys: Vec<String>,
        keep: Keep,
        mut compute: impl FnMut(Vec<String>) -> C,
    ) -> Result<Vec<Bytes>, ComputeError<E>>
    where
        C: Future<Output = Result<Vec<Bytes>, E>>,
        E: Display,
    {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let places = first_places(&keys);
        let mut unheard: Vec<usize> = places.clone();
        unheard.sort_unstable();
        unheard.dedup();
        let wanted = unheard.len();
        let (mut values, mut leases) = (HashMap::new(), Vec::new());
        let mut fetch = self.fetch(keys.clone(), &keep).await?;
        while values.len() < wanted {
            let (index, event) = fetch.next().await?;
            unheard.retain(|other| *other != index);
            match event {
                FetchEvent::Hit {
                    entry,
                    refresh: None,
                } => {
                    values.insert(index, entry.value.ok_or(ComputeError::Negative)?);
                }
                FetchEvent::Hit {
                    refresh: Some(lease),
                    ..
                }
                | FetchEvent::Lease(lease) => leases.push((index, lease)),
                FetchEvent::Failed { code, message } => {
                    return Err(ComputeError::Elsewhere { code, message });
                }
                _ => {}
            }
            if !unheard.is_empty() || leases.is_empty() {
                continue;
            }
            let taken = std::mem::take(&mut leases);
            let missing = taken.iter().map(|(index, _)| keys[*index].clone());
            let computed = compute(missing.collect());
            let computed = fetch.while_reading(computed).await?;
            values.extend(fill_all(&mut fetch, &taken, computed, &keep).await?);
        }
        let value = |place: &usize| values.get(place).cloned();
        let all: Option<Vec<Bytes>> = places.iter().map(value).collect();
        all.ok_or_else(|| Error::invalid_answer("a key without an answer").into())
    }

    /// [`Cache::get_or_compute`] with a value of any type, kept as JSON. For vectors of numbers keep bytes
    /// instead: JSON makes them five times as long.
    pub async fn get_or_compute_as<T, C, E>(
        &self,
        key: impl Into<String>,
        keep: Keep,
        compute: impl FnOnce() -> C,
    ) -> Result<T, ComputeError<E>>
    where
        T: Serialize + DeserializeOwned,
        C: Future<Output = Result<T, E>>,
        E: Display,
    {
        let keep = keep.content_type("application/json");
        let value = self.get_or_compute(key, keep, || async {
            let value = compute().await.map_err(Typed::Compute)?;
            let json = serde_json::to_vec(&value).map_err(Typed::Type)?;
            Ok(Bytes::from(json))
        });
        let value = value.await.map_err(ComputeError::untyped)?;
        serde_json::from_slice(&value).map_err(ComputeError::Type)
    }
}

/// Where each key stands for the first time.
fn first_places(keys: &[String]) -> Vec<usize> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut first = Vec::with_capacity(keys.len());
    for (index, key) in keys.iter().enumerate() {
        first.push(*places.entry(key).or_insert(index));
    }
    first
}

/// Ends a lease with what was computed. A value that came too late to be kept is this caller's all the same.
async fn finish<E: Display>(
    fetch: &mut Fetch,
    (lease, former): (i64, Option<Entry>),
    computed: Result<Bytes, E>,
    keep: &Keep,
) -> Result<Bytes, ComputeError<E>> {
    match computed {
        Ok(value) => {
            fetch.fill(lease, Some(value.clone()), keep).await?;
            Ok(value)
        }
        Err(error) => {
            let stale = fetch.fail(lease, &error.to_string()).await?;
            let instead = former.or(stale).and_then(|entry| entry.value);
            instead.ok_or(ComputeError::Compute(error))
        }
    }
}

/// Ends leases with what was computed for them.
async fn fill_all<E: Display>(
    fetch: &mut Fetch,
    leases: &[(usize, i64)],
    computed: Result<Vec<Bytes>, E>,
    keep: &Keep,
) -> Result<Vec<(usize, Bytes)>, ComputeError<E>> {
    let computed = match computed {
        Ok(computed) if computed.len() == leases.len() => computed,
        Ok(computed) => {
            let (have, want) = (computed.len(), leases.len());
            let message = format!("`compute` returned {have} values for {want} keys");
            return Err(Error::invalid_request(message).into());
        }
        Err(error) => {
            let message = error.to_string();
            for (_, lease) in leases {
                fetch.fail(*lease, &message).await?;
            }
            return Err(ComputeError::Compute(error));
        }
    };
    let mut filled = Vec::with_capacity(leases.len());
    for ((index, lease), value) in leases.iter().zip(computed) {
        fetch.fill(*lease, Some(value.clone()), keep).await?;
        filled.push((*index, value));
    }
    Ok(filled)
}
