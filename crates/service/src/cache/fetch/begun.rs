//! Keys of a fetch from their request to their first answers.

use super::waits::{Ends, Place};
use super::{Asked, Event, Fetch};
use crate::cache::outcome;
use crate::error::item_status;
use futures::FutureExt as _;
use std::sync::Arc;
use trellis_core::cache::{Begin, Begun};
use trellis_core::{Error, Result, Scope};
use trellis_proto::v1;
use trellis_proto::v1::fetch_response::Response;
use trellis_proto::v1::key_answer::Answer;

impl Fetch {
    /// Begins keys of a fetch.
    pub(super) fn begin(&mut self, asked: Asked, request: Begin) {
        self.busy = true;
        let rpc = Arc::clone(&self.rpc);
        let started = rpc.clock.mono();
        self.events.push(
            async move {
                let begun = Arc::clone(&rpc.cache).begin(request.clone()).await;
                if let Some(place) = rpc.stream_place {
                    let elapsed = rpc.clock.mono() - started;
                    rpc.stats.record(place, elapsed, begun.is_err());
                }
                Event::Begun(asked, request, begun)
            }
            .boxed(),
        );
    }

    /// The store could not be asked: nothing was done about these keys.
    pub(super) fn not_begun(&mut self, asked: &Asked, error: &Error) {
        self.busy = false;
        let status = item_status(error.clone());
        if !asked.further {
            self.waiting -= asked.indexes.len();
            self.in_hand.remove(&asked.id);
            return self.push(asked.id, Response::Error(status));
        }
        // Others of this fetch have their answers already.
        for indexes in &asked.indexes {
            let answer = Answer::Error(status.clone());
            self.end_key(asked.id, indexes, answer, None);
        }
    }

    /// The first answers to the keys of a fetch; those that were deferred are left for later.
    pub(super) fn all_begun(
        &mut self,
        mut asked: Asked,
        mut request: Begin,
        begun: Vec<Result<Begun>>,
        scope: &Scope,
    ) {
        let keys = std::mem::take(&mut request.keys);
        let indexes = std::mem::take(&mut asked.indexes);
        let mut left = Vec::new();
        for ((key, indexes), begun) in keys.into_iter().zip(indexes).zip(begun) {
            if matches!(begun, Ok(Begun::Deferred)) {
                request.keys.push(key);
                left.push(indexes);
            } else {
                self.begun(&asked, indexes, begun, scope);
            }
        }
        self.busy = !left.is_empty();
        if self.busy {
            asked.indexes = left;
            asked.further = true;
            self.rest = Some((asked, request));
        }
    }

    /// A key's first answer.
    fn begun(&mut self, asked: &Asked, indexes: Vec<u32>, begun: Result<Begun>, scope: &Scope) {
        let begun = match begun {
            Ok(begun) => begun,
            Err(error) => {
                let answer = Answer::Error(item_status(error));
                return self.end_key(asked.id, &indexes, answer, Some(scope));
            }
        };
        match outcome(begun) {
            Ok(outcome) => {
                let place = Place::new(asked, indexes, scope);
                self.landed(&place, outcome, 0);
            }
            Err(waiting) => {
                let computing = Answer::Computing(v1::Computing {});
                self.key(asked.id, &indexes, computing, Some(scope));
                let place = Place::new(asked, indexes, scope);
                let fetch = self.in_hand.get(&asked.id);
                let ends = Ends {
                    cancel: fetch.map(|fetch| fetch.cancel.clone()).unwrap_or_default(),
                    drain: self.rpc.drain.clone(),
                };
                self.wait(place, waiting, ends, 0);
            }
        }
    }
}
