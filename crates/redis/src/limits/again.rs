//! Calls that the store has forgotten: made again, in their order of arrival, in place of their callers.
//!
//! A store in another generation, or one that took this daemon for dead, serves none of the calls that waited
//! here. A store that remembers (a restart from disk, a failover) still has them in line: they are taken out
//! first, lest they be granted to nobody.

use super::RedisLimits;
use super::seats::End;
use super::task::{Finished, RETRY};
use futures::StreamExt;
use futures::stream;
use tokio::time::sleep;
use trellis_core::{Error, ErrorCode};

/// Calls that are on their way at a time. They reach the store in their order all the same.
const AT_A_TIME: usize = 64;

/// Calls that leave in one call of a script.
const BATCH: usize = 256;

impl RedisLimits {
    /// Makes all calls again that stood in line in a session that is over. Returns early without a session:
    /// the next one is another occasion.
    pub(super) async fn make_forgotten_again(&self) -> Finished {
        while let Some(session) = self.store.session() {
            let forgotten = self.seats.forgotten_in(session);
            if forgotten.is_empty() {
                break;
            }
            tracing::info!(calls = forgotten.len(), "waiting calls are made again");
            // All of them together, so that they keep their order.
            self.declared_in(session.generation).await;
            if !self.take_out_forgotten(&forgotten).await || !self.make_again(forgotten).await {
                sleep(RETRY.into()).await;
            }
        }
        Finished::MadeAgain
    }

    async fn take_out_forgotten(&self, forgotten: &[(String, String)]) -> bool {
        let mut tickets = forgotten.to_vec();
        tickets.sort_unstable();
        for group in tickets.chunk_by(|one, other| one.0 == other.0) {
            for batch in group.chunks(BATCH) {
                if self.leave(batch).await.is_err() {
                    return false;
                }
            }
        }
        true
    }

    /// Makes calls again, and tells whether that is done. Whoever is refused keeps the seat.
    async fn make_again(&self, mut forgotten: Vec<(String, String)>) -> bool {
        // The first goes alone: where the store does not know the script yet, the next could overtake it.
        let rest = forgotten.split_off(1.min(forgotten.len()));
        for (_, ticket) in forgotten {
            if !self.make_one_again(ticket).await {
                return false;
            }
        }
        // Buffered calls begin in order, and the store is asked in the order in which they begin.
        let made = stream::iter(rest).map(|(_, ticket)| self.make_one_again(ticket));
        let made = made.buffered(AT_A_TIME);
        made.fold(true, |all, one| std::future::ready(all & one))
            .await
    }

    async fn make_one_again(&self, ticket: String) -> bool {
        let Some(request) = self.seats.request(&ticket) else {
            return true;
        };
        match self.attempt(&request).await {
            Err(error) if was_not_made(&error) => false,
            attempt => {
                self.seats.end(&ticket, End::MadeAgain(attempt));
                true
            }
        }
    }
}

/// Whether the store was away, or too many calls were in flight.
fn was_not_made(error: &Error) -> bool {
    matches!(
        error.code,
        ErrorCode::StoreUnavailable | ErrorCode::TooManyCalls
    )
}
