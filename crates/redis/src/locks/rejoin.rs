//! What is told to the store in another history, or after this daemon was taken for dead: all that it has the care of.
//!
//! Until that is done it acknowledges no renewal from memory. In a generation before which data may have been lost, the
//! store grants nothing until every daemon has told, or those that have not are dead: see `grace.lua`.

use super::RedisLocks;
use super::acquire::is_away;
use super::scripts::{GRACE, INHERIT, NAMESPACES, REASSERT, SERVE};
use super::wire::{Record, SessionRecord};
use crate::failure::{Repeat, without_answer};
use crate::{Call, Session};
use std::time::Duration;
use tokio::time::sleep;
use trellis_core::{ErrorCode, Namespace, Result};

/// Records told in one call.
const BATCH: usize = 128;

/// Things of a dead daemon taken over in one call.
const HEIRLOOMS: u64 = 256;

/// When something that failed is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// An error that keeps everything from being told; any other is of one namespace, and must not keep the others.
fn unless_away(told: Result<()>, namespace: &Namespace) -> Result<()> {
    match told {
        Err(error) if !is_away(error.code) && error.code != ErrorCode::TooManyCalls => {
            tracing::error!(%error, %namespace, "the store does not take what is held here");
            Ok(())
        }
        told => told,
    }
}

type Sessions = Vec<(u64, SessionRecord, u64)>;
type Leases = Vec<(u64, Record, u64)>;

impl RedisLocks {
    /// Tells a session's store all that it is to know, unless it knows; again until it does or the session is over.
    pub(super) async fn rejoin(&self, session: Session) {
        while self.store.session() == Some(session) {
            match self.tell_all(session).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::debug!(%error, "the store could not be told of the locks held here");
                    sleep(RETRY).await;
                }
            }
        }
    }

    async fn tell_all(&self, session: Session) -> Result<()> {
        let before = *self.told_all.lock();
        if before.is_some_and(|before| before.continues_in(&session)) {
            // Calls that the former connection has not answered are made again.
            self.sooner.notify_one();
            return Ok(());
        }
        let known = before.map_or(0, |before| before.generation);
        let peers = self.peers();
        for namespace in self.namespaces_here() {
            let told = self.tell_again(session, &namespace, known, |_| true);
            unless_away(told.await, &namespace)?;
        }
        self.standing.send_replace(Some(session));
        if self.store.lost_before().is_some() && known != session.generation {
            self.tell_grace(session, known, &peers).await?;
        }
        for namespace in self.namespaces_here() {
            self.doubt(&namespace);
            unless_away(self.watch_again(&namespace).await, &namespace)?;
        }
        *self.told_all.lock() = Some(session);
        self.sooner.notify_one();
        self.inherit().await;
        Ok(())
    }

    /// Namespaces in which this daemon has the care of something.
    pub(super) fn namespaces_here(&self) -> Vec<Namespace> {
        self.state.lock().spaces.keys().cloned().collect()
    }

    /// Tells the store of those leases and sessions of a namespace whose claims are picked; `known` is the generation in
    /// which they were told last.
    pub(super) async fn tell_again(
        &self,
        session: Session,
        namespace: &Namespace,
        known: u64,
        pick: impl Fn(super::wire::Claim) -> bool,
    ) -> Result<()> {
        let (sessions, leases) = self.records(namespace, pick);
        let known = known.to_string();
        let none = (Sessions::new(), Leases::new());
        for batch in sessions.chunks(BATCH) {
            let args = (&known, batch, &none.1);
            self.call_within::<bool>(session, &REASSERT, namespace, &args)
                .await?;
        }
        for batch in leases.chunks(BATCH) {
            let args = (&known, &none.0, batch);
            self.call_within::<bool>(session, &REASSERT, namespace, &args)
                .await?;
        }
        Ok(())
    }

    fn records(
        &self,
        namespace: &Namespace,
        pick: impl Fn(super::wire::Claim) -> bool,
    ) -> (Sessions, Leases) {
        let now = self.clock.mono();
        let state = self.state.lock();
        let Some(space) = state.spaces.get(namespace) else {
            return (Vec::new(), Vec::new());
        };
        let sessions = space.sessions.iter();
        let sessions = sessions.filter(|(_, session)| !session.ending && session.deadline > now);
        let sessions = sessions.filter(|(_, session)| pick(session.record.claim));
        let sessions =
            sessions.map(|(number, it)| (*number, it.record.clone(), (it.deadline - now).0));
        let leases = space.leases.iter();
        let leases = leases.filter(|(_, held)| !held.ending && held.deadline > now);
        let leases = leases.filter(|(_, held)| pick(held.record.claim));
        let leases = leases.map(|(number, it)| {
            let left = match it.record.session {
                0 => (it.deadline - now).0,
                _ => 0,
            };
            (*number, it.record.clone(), left)
        });
        let (sessions, mut leases) = (sessions.collect(), leases.collect::<Leases>());
        // In order of their grants.
        leases.sort_by_key(|(number, ..)| *number);
        (sessions, leases)
    }

    /// The other daemons that were there before.
    fn peers(&self) -> Vec<String> {
        let members = self.membership.snapshot();
        let peers = members.iter().map(|member| member.daemon.clone());
        peers
            .filter(|daemon| daemon != self.store.daemon())
            .collect()
    }

    /// Notes that this daemon has told all. Whoever is the last ends the grace and tells; its time is over anyway once
    /// a daemon that has not told by then is dead.
    async fn tell_grace(&self, session: Session, known: u64, peers: &[String]) -> Result<()> {
        let how = if known == 0 { "0" } else { "1" };
        let mut call = self.grace_call(session, how);
        for peer in peers {
            call = call.text(&**peer);
        }
        let over = self.store.call(call).await;
        let over =
            over.map_err(|error| without_answer(&error, RETRY.into(), Repeat::SameRequestId))?;
        if over.number() != Some(1) {
            let end = self.clock.mono() + self.store.death_after();
            *self.grace_ends.lock() = Some((end, session));
        }
        Ok(())
    }

    fn grace_call(&self, session: Session, how: &str) -> Call {
        Call::new(&GRACE)
            .key(self.grace_key())
            .text(&*self.mailbox)
            .text(how)
            .within(session)
    }

    /// Ends the grace of a session's generation: those that have not told by now are taken for dead.
    pub(super) async fn end_grace(&self, session: Session) {
        while self.store.session() == Some(session) {
            if self.store.call(self.grace_call(session, "2")).await.is_ok() {
                break;
            }
            sleep(RETRY).await;
        }
    }

    /// Grants have begun: calls of this daemon may be at the head of their lines.
    pub(super) fn begin(&self) {
        self.begun.notify_one();
    }

    /// Lets in whoever is at the head of a line, in every namespace in which calls wait here.
    pub(super) async fn serve(&self) {
        let waiting: Vec<Namespace> = {
            let state = self.state.lock();
            let spaces = state.spaces.iter();
            spaces
                .filter(|(_, space)| !space.seats.is_empty())
                .map(|(namespace, _)| namespace.clone())
                .collect()
        };
        for namespace in waiting {
            let none: [u8; 0] = [];
            if let Err(error) = self.call::<bool>(&SERVE, &namespace, &none).await {
                tracing::debug!(%error, "lines could not be served");
            }
        }
    }

    /// Takes over what daemons have left behind that do not live any more.
    pub(super) async fn inherit(&self) {
        for namespace in self.namespaces_there().await {
            while let Ok(true) = self.call(&INHERIT, &namespace, &(HEIRLOOMS,)).await {}
        }
    }

    /// Namespaces that the store has.
    pub(super) async fn namespaces_there(&self) -> Vec<Namespace> {
        let call = Call::new(&NAMESPACES).key(self.spaces_key());
        let Ok(reply) = self.store.call(call).await else {
            return Vec::new();
        };
        let names = reply.items().iter().filter_map(|name| name.text());
        names
            .filter_map(|name| Namespace::new(name.to_owned(), "namespace").ok())
            .collect()
    }
}
