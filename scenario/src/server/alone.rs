//! A server alone, in the guide's mode: a cache with a time to live and a limiter at the provider's full
//! rate, both in its own process. Plain code, made as well as it can be without knowing of the others; but
//! for the cache's single flight, which that mode has not.

use super::commons::{AskError, Cache, Compute, Limits, Metered};
use crate::random::Random;
use crate::wire::Source;
use crate::workload::Endpoint;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// Entries kept; the oldest goes first.
const MAX_ENTRIES: usize = 10_000;

/// How long a call waits for room.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Callers that were refused together come back spread over this time.
const JITTER_MS: u64 = 100;

/// A cache of one process.
#[derive(Default)]
pub struct OwnCache(Mutex<Entries>);

#[async_trait]
impl Cache for OwnCache {
    async fn cached(
        &self,
        key: String,
        ttl: Duration,
        compute: Compute,
    ) -> Result<(Bytes, Source), AskError> {
        let known = self.0.lock().get(&key, Instant::now());
        if let Some(value) = known {
            return Ok((value, Source::Hit));
        }
        let value = compute.await?;
        let until = Instant::now() + ttl;
        self.0.lock().put(key, value.clone(), until);
        Ok((value, Source::Computed))
    }
}

/// The limiters of one process, each at the provider's full rate.
pub struct OwnLimits {
    embeddings: Limiter,
    answers: Limiter,
}

impl OwnLimits {
    /// Unused limiters.
    pub fn new(embeddings: &Endpoint, answers: &Endpoint) -> Self {
        Self {
            embeddings: Limiter::new(embeddings, 1),
            answers: Limiter::new(answers, 2),
        }
    }

    fn limiter(&self, what: Metered) -> &Limiter {
        match what {
            Metered::Embeddings => &self.embeddings,
            Metered::Answers => &self.answers,
        }
    }
}

#[async_trait]
impl Limits for OwnLimits {
    async fn admitted(&self, what: Metered) -> Result<(), AskError> {
        let at = self.limiter(what).take(Instant::now())?;
        tokio::time::sleep_until(at).await;
        Ok(())
    }

    async fn throttled(&self, what: Metered, retry_after: Duration) -> Result<(), AskError> {
        let jitter = self.limiter(what).jitter();
        tokio::time::sleep(retry_after + jitter).await;
        Ok(())
    }
}

#[derive(Default)]
struct Entries {
    entries: HashMap<String, (Bytes, Instant)>,
    order: VecDeque<String>,
}

impl Entries {
    fn get(&self, key: &str, now: Instant) -> Option<Bytes> {
        let (value, until) = self.entries.get(key)?;
        (*until > now).then(|| value.clone())
    }

    fn put(&mut self, key: String, value: Bytes, until: Instant) {
        if self.entries.insert(key.clone(), (value, until)).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > MAX_ENTRIES
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }
}

/// A sliding window of its own, in which callers take their turns ahead of time.
struct Limiter {
    period: Duration,
    /// When the last `limit` calls go, or went.
    turns: Mutex<VecDeque<Instant>>,
    limit: usize,
    random: Mutex<Random>,
}

impl Limiter {
    fn new(endpoint: &Endpoint, seed: u64) -> Self {
        Self {
            period: endpoint.period(),
            turns: Mutex::default(),
            limit: usize::try_from(endpoint.limit).unwrap_or(usize::MAX),
            random: Mutex::new(Random::new(seed)),
        }
    }

    /// The time at which the caller may go.
    fn take(&self, now: Instant) -> Result<Instant, AskError> {
        let mut turns = self.turns.lock();
        let mut at = now;
        if turns.len() >= self.limit
            && let Some(first) = turns.front()
        {
            at = now.max(*first + self.period);
            if at > now + MAX_WAIT {
                return Err(AskError::NoRoom(MAX_WAIT));
            }
            turns.pop_front();
        }
        turns.push_back(at);
        Ok(at)
    }

    fn jitter(&self) -> Duration {
        Duration::from_millis(self.random.lock().below(JITTER_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(limit: u32) -> Endpoint {
        Endpoint {
            limit,
            period_ms: 1000,
            latency_ms: 0,
            latency_spread: 0.0,
            price_nano_dollars_per_input_token: 0,
            price_nano_dollars_per_output_token: 0,
            latency_us_per_output_token: 0,
        }
    }

    #[test]
    fn a_value_lives_for_its_ttl() {
        let (mut cache, now) = (Entries::default(), Instant::now());
        let value = Bytes::from_static(b"v");
        assert_eq!(cache.get("k", now), None);
        cache.put("k".into(), value.clone(), now + Duration::from_secs(5));
        assert_eq!(cache.get("k", now + Duration::from_secs(4)), Some(value));
        assert_eq!(cache.get("k", now + Duration::from_secs(5)), None);
    }

    #[test]
    fn the_cache_keeps_its_bound() {
        let (mut cache, now) = (Entries::default(), Instant::now());
        for key in 0..=MAX_ENTRIES {
            cache.put(key.to_string(), Bytes::new(), now);
        }
        assert_eq!(cache.entries.len(), MAX_ENTRIES);
        assert!(!cache.entries.contains_key("0"));
    }

    #[test]
    fn a_limiter_lets_its_rate_pass_and_gives_up_beyond_its_wait() {
        let limiter = Limiter::new(&endpoint(2), 1);
        let now = Instant::now();
        let turns: Vec<_> = (0..22)
            .map(|_| (limiter.take(now).unwrap() - now).as_secs())
            .collect();
        assert_eq!(turns[..5], [0, 0, 1, 1, 2]);
        assert_eq!(turns[21], 10);
        assert!(matches!(limiter.take(now), Err(AskError::NoRoom(_))));
    }
}
