//! Asking the store for slices, and giving them back.

use super::RedisLimits;
use super::book::View;
use super::convert;
use super::scripts::{LEASE, LEASE_RETURN};
use super::wire::{Maybe, Reply, Spec};
use std::collections::HashMap;
use trellis_core::Micros;
use trellis_core::limits::leases::{Answer, Ask, Report, Return, Rule};

/// Units, when to ask again (-1: at will), level, spec, source, share, rule, how long the slice lasts.
type Granted = (i64, i64, i64, Maybe<Spec>, u8, i64, u8, u64);

/// Slices that are given back in one call.
const BATCH: usize = 256;

/// A slice's name in the store: no life of any daemon uses one of another's.
fn slice_name(incarnation: u64, slice: u64) -> String {
    format!("{incarnation}-s{slice}")
}

/// How much is left of a slice, as scripts take it: -1 is all of it.
fn left(report: &Report) -> i64 {
    report.left.unwrap_or(-1)
}

impl RedisLimits {
    /// Asks for a slice; without a readable answer it is taken for granted and given back.
    pub(super) async fn ask_slice(&self, ask: Ask) {
        let answer = self.answer_to(&ask).await;
        self.leasing.ended(&ask, |leases, now| match answer {
            Some(answer) => leases.answered(now, &ask, answer),
            None => leases.unanswered(now, &ask),
        });
    }

    async fn answer_to(&self, ask: &Ask) -> Option<Answer> {
        let session = self.store.session()?;
        let name = |slice| slice_name(session.incarnation, slice);
        let reports: Vec<(String, i64, bool)> = ask
            .reports
            .iter()
            .map(|report| (name(report.slice), left(report), report.done))
            .collect();
        let config = &self.config.leases;
        let args = (
            &*ask.bucket.limit,
            &*ask.bucket.key,
            ask.wanted,
            ask.need,
            ask.demand,
            name(ask.slice),
            config.ttl.0,
            config.margin.0,
            config.horizon.0,
            reports,
        );
        let reply = self
            .ask_within::<Granted>(session, &LEASE, &ask.bucket.namespace, &args)
            .await;
        let (payload, store_now) = match reply {
            Ok(Reply::Done { payload, now, .. }) => (payload, now),
            Ok(_) => return None,
            Err(error) => {
                tracing::debug!(
                    ?error,
                    limit = &*ask.bucket.limit,
                    "an ask for a slice was lost"
                );
                return None;
            }
        };
        let (granted, again, level, spec, source, share, rule, ttl) = payload;
        let again = u64::try_from(again).ok();
        let spec = match spec.0 {
            Some(spec) => Some((
                convert::spec_of(spec).ok()?,
                convert::source_of(source).ok()?,
            )),
            None => None,
        };
        if let Some((spec, _)) = &spec {
            let bucket = &ask.bucket;
            let place = (
                bucket.namespace.clone(),
                bucket.limit.clone(),
                bucket.key.clone(),
            );
            let (spec, at) = (spec.clone(), store_now);
            self.book.see(place, View { spec, level, at });
        }
        Some(Answer {
            granted,
            again: again.map(|again| self.local_time(again, store_now)),
            level,
            spec,
            share,
            rule: match rule {
                0 => Rule::Given,
                1 => Rule::Exact,
                _ => Rule::NotNow,
            },
            ttl: Micros(ttl).min(config.ttl),
        })
    }

    /// Gives slices back, a call for each namespace.
    pub(super) async fn return_slices(&self, returns: Vec<Return>) {
        let mut by_namespace: HashMap<Box<str>, Vec<Return>> = HashMap::new();
        for one in returns {
            let namespace = one.bucket.namespace.clone();
            by_namespace.entry(namespace).or_default().push(one);
        }
        for (namespace, mut list) in by_namespace {
            while !list.is_empty() {
                let batch = list.split_off(list.len().saturating_sub(BATCH));
                self.return_batch(&namespace, batch).await;
            }
        }
    }

    async fn return_batch(&self, namespace: &str, batch: Vec<Return>) {
        let Some(session) = self.store.session() else {
            return self.return_later(batch).await;
        };
        let slices: Vec<(&str, &str, String, i64)> = batch
            .iter()
            .map(|one| {
                let name = slice_name(session.incarnation, one.report.slice);
                let (limit, key) = (&*one.bucket.limit, &*one.bucket.key);
                (limit, key, name, left(&one.report))
            })
            .collect();
        let reply = self
            .ask_within::<bool>(session, &LEASE_RETURN, namespace, &(slices,))
            .await;
        if !matches!(reply, Ok(Reply::Done { .. })) {
            self.return_later(batch).await;
        }
    }

    /// Returning is idempotent, and of use until the store closes the slice.
    async fn return_later(&self, batch: Vec<Return>) {
        tokio::time::sleep(self.store.timeout() / 4).await;
        for one in batch {
            self.leasing.not_returned(one);
        }
    }
}
