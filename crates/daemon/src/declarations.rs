//! Declares the configuration's limits.
//!
//! In memory once, before the first call. In a shared store in every history of it (generation): a store that
//! has lost its memory has lost them too. There a declaration that fails is tried again, with growing
//! pauses, for as long as the daemon runs: the store may be away, or full, without being any the worse for
//! the calls that find their limits.

use crate::error::RunError;
use std::future::Future;
use std::time::Duration;
use tokio::sync::watch;
use trellis_core::limits::{Limits, SetLimit};
use trellis_core::{Error, ErrorCode};
use trellis_redis::Session;

/// The pause after the first round that failed; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Declares every limit, or fails with the first that is refused.
pub(crate) async fn declare_once(
    limits: &dyn Limits,
    declared: &[SetLimit],
) -> Result<(), RunError> {
    for (index, limit) in declared.iter().enumerate() {
        if let Err(error) = limits.set_limit(limit.clone()).await {
            return Err(RunError::Declared { index, error });
        }
    }
    Ok(())
}

/// Declares every limit by `declare` in every generation of the store, until there are no more sessions.
/// Sets `tried` to the generation after its first round.
pub(crate) async fn keep_declared<F>(
    mut sessions: watch::Receiver<Option<Session>>,
    declared: Vec<SetLimit>,
    declare: impl Fn(SetLimit) -> F,
    tried: watch::Sender<Option<u64>>,
) where
    F: Future<Output = Result<(), Error>>,
{
    let (mut current, mut missing, mut pause) = (None, Vec::new(), FIRST_PAUSE);
    // The generation that knows all limits is waited past.
    let mut done = None;
    while let Some(generation) = generation_after(&mut sessions, done).await {
        if current != Some(generation) {
            (current, pause) = (Some(generation), FIRST_PAUSE);
            missing.clone_from(&declared);
        }
        let failure = round(&mut missing, &declare).await;
        tried.send_replace(Some(generation));
        let Some(error) = failure else {
            tracing::debug!(generation, limits = declared.len(), "declared the limits");
            done = Some(generation);
            continue;
        };
        tracing::warn!(
            %error,
            missing = missing.len(),
            again_in = ?pause,
            "limits of the configuration are not declared in the store yet"
        );
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = generation_after(&mut sessions, current) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits for a session of another generation than this one; `None` when there will be none.
async fn generation_after(
    sessions: &mut watch::Receiver<Option<Session>>,
    past: Option<u64>,
) -> Option<u64> {
    let other =
        |session: &Option<Session>| session.is_some_and(|session| Some(session.generation) != past);
    let session = sessions.wait_for(other).await.ok()?;
    session.map(|session| session.generation)
}

/// Declares what is missing; leaves what failed, and tells the first failure. What one limit is refused for,
/// another need not be; but a store that gives no answer is not asked for each of them.
async fn round<F>(
    missing: &mut Vec<SetLimit>,
    declare: &impl Fn(SetLimit) -> F,
) -> Option<DeclarationError>
where
    F: Future<Output = Result<(), Error>>,
{
    let (mut failed, mut first) = (Vec::new(), None);
    let mut limits = std::mem::take(missing).into_iter();
    for limit in limits.by_ref() {
        let Err(error) = declare(limit.clone()).await else {
            continue;
        };
        let gives_no_answer = matches!(
            error.code,
            ErrorCode::StoreUnavailable | ErrorCode::OutcomeUnknown
        );
        first.get_or_insert_with(|| DeclarationError {
            limit: format!("{}/{}", limit.namespace, limit.name),
            error,
        });
        failed.push(limit);
        if gives_no_answer {
            break;
        }
    }
    failed.extend(limits);
    *missing = failed;
    first
}

/// Why a limit could not be declared.
#[derive(Debug, thiserror::Error)]
#[error("{limit}: {error}")]
struct DeclarationError {
    /// Its namespace and name.
    limit: String,
    error: Error,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use std::cell::RefCell;
    use std::collections::HashSet;
    use std::future::{Ready, ready};

    fn limits(count: usize) -> Vec<SetLimit> {
        let one = |number| {
            format!("[[limits.declared]]\nname = \"l{number}\"\nconcurrency = {{ slots = 1 }}\n")
        };
        let text: String = (0..count).map(one).collect();
        Config::from_toml(&text).unwrap().limits
    }

    fn session(generation: u64, link: u64) -> Session {
        Session {
            generation,
            incarnation: 1,
            link,
        }
    }

    /// A store: what was asked of it, and what it refuses.
    #[derive(Default)]
    struct Fake {
        asked: RefCell<Vec<String>>,
        refuses: RefCell<HashSet<&'static str>>,
        away: RefCell<bool>,
    }

    impl Fake {
        fn declare(&self, limit: &SetLimit) -> Ready<Result<(), Error>> {
            self.asked.borrow_mut().push(limit.name.to_string());
            if *self.away.borrow() {
                return ready(Err(Error::new(ErrorCode::StoreUnavailable, "away")));
            }
            if self.refuses.borrow().contains(limit.name.as_str()) {
                return ready(Err(Error::new(ErrorCode::TooManyLimits, "full")));
            }
            ready(Ok(()))
        }

        /// What was asked since the last look.
        fn asked(&self) -> String {
            std::mem::take(&mut *self.asked.borrow_mut()).join(" ")
        }
    }

    /// Lets `keeping` go on until it waits, for so long at most.
    async fn go_on(keeping: &mut (impl Future<Output = ()> + Unpin), time: Duration) {
        let _ = tokio::time::timeout(time, keeping).await;
    }

    const SOON: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn every_generation_is_told_once_whatever_connects() {
        let (store, sender) = (Fake::default(), watch::Sender::new(None));
        let tried = watch::Sender::new(None);
        let declare = |limit: SetLimit| store.declare(&limit);
        let keeping = keep_declared(sender.subscribe(), limits(2), declare, tried.clone());
        let mut keeping = Box::pin(keeping);
        go_on(&mut keeping, SOON).await;
        assert_eq!((store.asked().as_str(), *tried.borrow()), ("", None));
        for (now, asked, generation) in [
            (Some(session(1, 1)), "l0 l1", 1),
            (None, "", 1),
            (Some(session(1, 2)), "", 1),
            (Some(session(2, 3)), "l0 l1", 2),
        ] {
            sender.send_replace(now);
            go_on(&mut keeping, SOON).await;
            let wanted = (asked, Some(generation));
            assert_eq!((store.asked().as_str(), *tried.borrow()), wanted);
        }
        drop(sender);
        keeping.await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_is_refused_is_tried_again_and_keeps_no_other_back() {
        let (store, sender) = (Fake::default(), watch::Sender::new(Some(session(1, 1))));
        store.refuses.borrow_mut().insert("l0");
        let declare = |limit: SetLimit| store.declare(&limit);
        let tried = watch::Sender::new(None);
        let keeping = keep_declared(sender.subscribe(), limits(2), declare, tried);
        let mut keeping = Box::pin(keeping);
        go_on(&mut keeping, SOON).await;
        assert_eq!(store.asked(), "l0 l1");
        // After 1, 3, 7, 15, 31 and 63 s.
        go_on(&mut keeping, Duration::from_secs(64)).await;
        assert_eq!(store.asked(), ["l0"; 6].join(" "));
        go_on(&mut keeping, LONGEST_PAUSE).await;
        assert_eq!(store.asked(), "l0", "the pause has an end");
        store.refuses.borrow_mut().clear();
        go_on(&mut keeping, LONGEST_PAUSE * 9).await;
        assert_eq!(store.asked(), "l0");
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_gives_no_answer_is_asked_once_a_round() {
        let (store, sender) = (Fake::default(), watch::Sender::new(Some(session(1, 1))));
        *store.away.borrow_mut() = true;
        let declare = |limit: SetLimit| store.declare(&limit);
        let tried = watch::Sender::new(None);
        let keeping = keep_declared(sender.subscribe(), limits(3), declare, tried);
        let mut keeping = Box::pin(keeping);
        go_on(&mut keeping, SOON).await;
        assert_eq!(store.asked(), "l0");
        *store.away.borrow_mut() = false;
        // Another generation is told at once, whatever pause is under way.
        sender.send_replace(Some(session(2, 2)));
        go_on(&mut keeping, SOON).await;
        assert_eq!(store.asked(), "l0 l1 l2");
    }
}
