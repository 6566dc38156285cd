//! What becomes of an answer whose caller is gone: it may end other calls that wait here, and what an acquire
//! has taken for nobody is given back.

use super::RedisLimits;
use super::call::{Claim, unpack};
use super::wire::{Decision, QUEUED, Reply};
use crate::{CallError, Heir};
use serde::de::IgnoredAny;

impl RedisLimits {
    /// The heir of a call; `claim` is the acquire that it is made for.
    pub(super) fn heir(&self, namespace: &str, claim: Option<Claim>) -> Heir {
        let (me, namespace) = (self.me.clone(), namespace.to_owned());
        Heir::new(move |answer| {
            let Some(limits) = me.upgrade() else {
                return;
            };
            match (answer, &claim) {
                (Err(error), claim) => limits.inherit_failure(&namespace, claim.as_ref(), &error),
                (Ok(answer), None) => limits.inherit(&namespace, &answer),
                (Ok(answer), Some(claim)) => limits.inherit_claim(&namespace, claim, &answer),
            }
        })
    }

    fn inherit(&self, namespace: &str, answer: &crate::Reply) {
        match unpack::<IgnoredAny>(answer) {
            Ok(mut reply) => self.take_note(namespace, &mut reply),
            Err(error) => tracing::error!(?error, namespace, "an answer cannot be read"),
        }
    }

    fn inherit_claim(&self, namespace: &str, claim: &Claim, answer: &crate::Reply) {
        let mut reply = match unpack::<Decision>(answer) {
            Ok(reply) => reply,
            Err(error) => {
                tracing::error!(?error, namespace, "an answer cannot be read");
                return self.seats.abandon_seat(&claim.ticket);
            }
        };
        self.take_note(namespace, &mut reply);
        match &reply {
            Reply::Done { payload, .. } if payload.0 == QUEUED => {
                self.seats.abandon_seat(&claim.ticket);
            }
            Reply::Done { now, payload, .. } => {
                self.seats.forget(&claim.ticket);
                if !claim.request.dry_run {
                    self.seats.give_back(&claim.request, payload, *now);
                }
            }
            _ => self.seats.forget(&claim.ticket),
        }
    }

    fn inherit_failure(&self, namespace: &str, claim: Option<&Claim>, error: &CallError) {
        self.note_failure(namespace, error);
        match (claim, error) {
            (Some(claim), CallError::Unknown(_)) => self.seats.abandon_seat(&claim.ticket),
            (Some(claim), _) => self.seats.forget(&claim.ticket),
            (None, _) => {}
        }
    }
}
