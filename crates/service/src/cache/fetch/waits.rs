//! One key's wait on a stream.

use super::Asked;
use crate::cache::Outcome;
use crate::convert::cache as spelled;
use crate::drain::draining;
use prost::bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use trellis_core::cache::{Landing, LeaseEnd, Progress, Waiting};
use trellis_core::{EntryKey, Error, ErrorCode, Namespace, Result, Scope};

/// Which key of which fetch it is.
pub(super) struct Place {
    pub id: u64,
    pub indexes: Vec<u32>,
    pub namespace: Arc<Namespace>,
    pub scope: Scope,
    pub detached: bool,
    until: Option<Instant>,
}

impl Place {
    pub fn new(asked: &Asked, indexes: Vec<u32>, scope: &Scope) -> Self {
        Self {
            id: asked.id,
            indexes,
            namespace: Arc::clone(&asked.namespace),
            scope: scope.clone(),
            detached: asked.detached,
            until: asked.until,
        }
    }
}

/// What a wait has learned.
pub(super) enum Told {
    Part(Bytes),
    Restarted(LeaseEnd),
    /// The end, and how many bytes of the value were told.
    Ended(Outcome, usize),
    Failed(Error),
}

/// What ends a wait from outside.
pub(super) struct Ends {
    pub cancel: CancellationToken,
    pub drain: CancellationToken,
}

/// A wait that has learned something, and what is needed to go on.
pub(super) struct Waited {
    pub place: Place,
    pub told: Told,
    pub next: Option<(Box<dyn Waiting>, Ends, usize)>,
}

/// Waits for what comes next; `told` bytes of the value have been told.
pub(super) async fn wait(
    place: Place,
    mut waiting: Box<dyn Waiting>,
    ends: Ends,
    mut told: usize,
) -> Waited {
    let over = async {
        match place.until {
            Some(until) => sleep_until(until).await,
            None => std::future::pending().await,
        }
    };
    let progress = tokio::select! {
        // In this order, so that nobody is handed a lease that ends with the stream.
        biased;
        () = ends.cancel.cancelled() => {
            Err(Error::new(ErrorCode::Cancelled, "taken back by `cancel`"))
        }
        () = ends.drain.cancelled() => Err(draining()),
        progress = waiting.next() => progress,
        () = over => {
            let told = Told::Ended(Outcome::Busy, told);
            return Waited { place, told, next: None };
        }
    };
    let learned = match progress {
        Err(error) => Told::Failed(error),
        Ok(Progress::Ended(landing)) => Told::Ended(ended(landing), told),
        Ok(Progress::Part(part)) => {
            told += part.len();
            Told::Part(part)
        }
        Ok(Progress::Restarted(reason)) => {
            told = 0;
            Told::Restarted(reason)
        }
    };
    let goes_on = matches!(learned, Told::Part(_) | Told::Restarted(_));
    Waited {
        place,
        told: learned,
        next: goes_on.then_some((waiting, ends, told)),
    }
}

fn ended(landing: Landing) -> Outcome {
    match landing {
        Landing::Value(hit) => Outcome::Hit(hit, None),
        Landing::Lease(lease) => Outcome::Lease(lease),
        Landing::Failed(failure) => Outcome::Failed(failure),
    }
}

/// Keys, each once, and where each stands in the request.
pub(super) fn folded(keys: Vec<String>) -> Result<(Vec<EntryKey>, Vec<Vec<u32>>)> {
    let mut seen: HashMap<EntryKey, usize> = HashMap::with_capacity(keys.len());
    let (mut folded, mut indexes) = (Vec::with_capacity(keys.len()), Vec::new());
    for (index, key) in (0_u32..).zip(keys) {
        let key = spelled::entry_key_at(key, index)?;
        if let Some(place) = seen.get(&key) {
            let places: &mut Vec<u32> = &mut indexes[*place];
            places.push(index);
        } else {
            seen.insert(key.clone(), folded.len());
            folded.push(key);
            indexes.push(vec![index]);
        }
    }
    Ok((folded, indexes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_keys_are_one_with_all_its_places() {
        let keys = ["b", "a", "b", "c", "a", "b"].map(str::to_owned).to_vec();
        let (keys, indexes) = folded(keys).unwrap();
        let names: Vec<_> = keys.iter().map(EntryKey::as_str).collect();
        assert_eq!(names, ["b", "a", "c"]);
        assert_eq!(indexes, [vec![0, 2, 5], vec![1, 4], vec![3]]);
        let error = folded(vec!["a".into(), String::new()]).unwrap_err();
        assert_eq!(error.violation.unwrap().field, "keys[1]");
    }
}
