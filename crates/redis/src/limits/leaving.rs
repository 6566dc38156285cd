//! Taking back: calls that nobody waits for leave their lines, grants that nobody received are given back.

use super::RedisLimits;
use super::call::Failure;
use super::convert;
use super::scripts::{GIVE_BACK, LEAVE};
use super::seats::{Abandoned, Unreceived};
use super::task::{Finished, RETRY};
use super::wire::{Data, Maybe, Reply, State};
use crate::{CallError, RefusalKind};
use futures::StreamExt;
use futures::stream;
use tokio::time::{Instant, sleep};

/// Calls that leave in one call of a script.
const BATCH: usize = 256;

/// Grants that are given back at a time.
const AT_A_TIME: usize = 32;

impl RedisLimits {
    /// Takes back what is abandoned, for as long as it is polled. What the store is away for waits for it.
    pub(super) async fn keep_taking_back(&self) -> Finished {
        let mut sessions = self.store.sessions();
        loop {
            self.seats.news.notified().await;
            // The sender lives in the store.
            let _ = sessions.wait_for(Option::is_some).await;
            if !self.take_back().await {
                sleep(RETRY.into()).await;
                self.seats.news.notify_one();
            }
        }
    }

    /// Takes back what is abandoned by now, and tells whether that is done.
    pub(super) async fn take_back(&self) -> bool {
        let now = Instant::now();
        let (mut waiting, mut granted) = (Vec::new(), Vec::new());
        for abandoned in self.seats.abandoned() {
            match abandoned {
                Abandoned::Waiting { namespace, ticket } => waiting.push((namespace, ticket)),
                Abandoned::Granted(unreceived) => granted.push(unreceived),
                // Whatever told its end has been answered by now, or is lost.
                Abandoned::Gone { ticket, at } if now >= at + self.store.timeout() * 2 => {
                    self.seats.forget(&ticket);
                }
                gone @ Abandoned::Gone { .. } => self.seats.put_back([gone]),
            }
        }
        waiting.sort_unstable();
        let mut done = true;
        for group in waiting.chunk_by(|one, other| one.0 == other.0) {
            for batch in group.chunks(BATCH) {
                done &= self.take_out(batch).await;
            }
        }
        let given_back = stream::iter(granted)
            .map(|unreceived| self.give_back(unreceived))
            .buffer_unordered(AT_A_TIME)
            .all(std::future::ready);
        done & given_back.await
    }

    /// Takes calls that nobody waits for out of the lines of one namespace, and tells whether that is done.
    async fn take_out(&self, batch: &[(String, String)]) -> bool {
        let Ok(left) = self.leave(batch).await else {
            let put_back = batch.iter().cloned();
            self.seats.put_back(
                put_back.map(|(namespace, ticket)| Abandoned::Waiting { namespace, ticket }),
            );
            return false;
        };
        for (ticket, gone) in left {
            if gone {
                // Forgotten only later: its end may be in a reply that is not read yet.
                let at = Instant::now();
                self.seats.put_back([Abandoned::Gone { ticket, at }]);
            } else {
                self.seats.forget(&ticket);
            }
        }
        true
    }

    /// Takes calls out of the lines of one namespace, and tells which of them were not in line.
    pub(super) async fn leave(
        &self,
        batch: &[(String, String)],
    ) -> Result<Vec<(String, bool)>, Failure> {
        const CANCELLED: u8 = 0;
        type Left = Vec<(String, bool, u8, Data, Vec<State>)>;
        let Some((namespace, _)) = batch.first() else {
            return Ok(Vec::new());
        };
        let tickets: Vec<(&str, u8)> = batch
            .iter()
            .map(|(_, ticket)| (ticket.as_str(), CANCELLED))
            .collect();
        match self.ask::<Left>(&LEAVE, namespace, &(tickets,)).await? {
            Reply::Done { payload, .. } => Ok(payload
                .into_iter()
                .map(|(ticket, gone, ..)| (ticket, gone))
                .collect()),
            _ => Err(Failure::Unreadable("leaving a line cannot fail".to_owned())),
        }
    }

    /// Gives a grant back, and tells whether that is done, or cannot be.
    async fn give_back(&self, unreceived: Unreceived) -> bool {
        let request = &unreceived.request;
        let taken: Vec<(&str, &str, i64)> = request
            .charges
            .iter()
            .map(|charge| (charge.limit.as_str(), charge.key.as_str(), charge.amount()))
            .collect();
        let named = convert::request("acquire", request.request_id.as_ref(), &());
        let reservation = Maybe(unreceived.reservation.as_deref());
        let args = (reservation, taken, unreceived.at, named);
        let reply = self
            .ask::<bool>(&GIVE_BACK, request.namespace.as_str(), &args)
            .await;
        match reply {
            Ok(_) => true,
            Err(Failure::Call(error)) if was_not_made(&error) => {
                let again = Abandoned::Granted(unreceived.clone());
                self.seats.put_back([again]);
                false
            }
            // It may have been given back: twice would be too often.
            Err(error) => {
                tracing::warn!(?error, "a grant that nobody received may not be given back");
                true
            }
        }
    }
}

/// Whether a call can be made again without being made twice.
fn was_not_made(error: &CallError) -> bool {
    match error {
        CallError::Away(_) => true,
        CallError::Refused(refusal) => refusal.kind != RefusalKind::Script,
        CallError::Unknown(_) => false,
    }
}
