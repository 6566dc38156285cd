//! Who is there: this daemon's beats, and what they show of the others.
//!
//! Every beat answers with all session records. A peer whose heart stands still is declared dead by a
//! script that names the beat that was seen, so a peer that has beaten since cannot be killed. No decision
//! here looks at a wall clock, neither ours nor the store's.

mod observer;

use crate::shared::Shared;
use crate::{Call, CallError, Refusal, RefusalKind, Reply, Script, Session};
use observer::{Look, Observer, Pulse};
use parking_lot::Mutex;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use trellis_core::{Micros, Time};

static BEAT: LazyLock<Script> =
    LazyLock::new(|| Script::guarded(include_str!("../../scripts/beat.lua")));
static DECLARE_DEAD: LazyLock<Script> =
    LazyLock::new(|| Script::guarded(include_str!("../../scripts/declare_dead.lua")));
pub(crate) static LEAVE: LazyLock<Script> =
    LazyLock::new(|| Script::guarded(include_str!("../../scripts/leave.lua")));

/// A daemon that shares the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub daemon: String,
    /// Its life.
    pub incarnation: u64,
    /// The generation it has attached to; an older one than ours: it has not attached again yet.
    pub generation: u64,
    /// Version of its program.
    pub version: String,
    /// Version of its protocol between daemons.
    pub protocol: u32,
    /// Address under which it is reached.
    pub address: String,
    /// Its last beat.
    pub beat: u64,
    /// How long its heart had stood still when it was looked at, on our monotonic clock.
    pub silence: Micros,
    /// When it was looked at, on that clock: the look was answered then.
    pub looked_at: Time,
}

impl Member {
    /// How long its heart has stood still by now, as far as we know: nothing was seen of it since the look.
    #[must_use]
    pub fn silence_at(&self, now: Time) -> Micros {
        Micros(self.silence.0.saturating_add((now - self.looked_at).0))
    }
}

/// Until when this daemon is certain not to be declared dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assurance {
    /// The life that it holds for.
    pub incarnation: u64,
    /// On the monotonic clock: send time of the last acknowledged beat + `death_after` - margin. Nothing
    /// is promised to a client beyond it.
    pub until: Time,
}

/// What is known about the members, by the last acknowledged beat.
#[derive(Clone)]
pub struct Membership {
    members: watch::Receiver<Arc<[Member]>>,
    assurance: Arc<Mutex<Option<Assurance>>>,
}

impl Membership {
    /// All members, this daemon included, in order of their ids.
    #[must_use]
    pub fn snapshot(&self) -> Arc<[Member]> {
        self.members.borrow().clone()
    }

    /// The members, after every acknowledged beat.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<[Member]>> {
        self.members.clone()
    }

    /// Until when this daemon is certain to live in the store; `None` before it has ever attached.
    #[must_use]
    pub fn assurance(&self) -> Option<Assurance> {
        *self.assurance.lock()
    }
}

/// Beats, watches, declares dead.
pub struct MembershipTask {
    shared: Arc<Shared>,
    members: watch::Sender<Arc<[Member]>>,
    assurance: Arc<Mutex<Option<Assurance>>>,
    observer: Observer,
    generation: u64,
    /// When the first look at this generation was answered.
    generation_seen_at: Time,
}

pub(crate) fn membership(shared: Arc<Shared>) -> (Membership, MembershipTask) {
    let (sender, members) = watch::channel(Arc::from([]));
    let assurance = Arc::new(Mutex::new(None));
    let task = MembershipTask {
        observer: Observer::new(shared.config.death_after.into()),
        shared,
        members: sender,
        assurance: assurance.clone(),
        generation: 0,
        generation_seen_at: Time::default(),
    };
    (Membership { members, assurance }, task)
}

impl MembershipTask {
    /// Beats until it is told to stop: once per interval, and at once in a new session.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut sessions = self.shared.session.subscribe();
        let interval = self.shared.config.heartbeat_interval;
        while !stop.is_cancelled() {
            if let Err(error) = self.beat().await {
                tracing::debug!(%error, "a beat was not acknowledged");
            }
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                // The sender lives in `self.shared`.
                _ = sessions.changed() => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn beat(&mut self) -> Result<(), CallError> {
        let Some(link) = self.shared.link.borrow().clone() else {
            return Err(CallError::Away("not attached"));
        };
        let (session, attach_sent_at) = (link.session, link.attach_sent_at);
        // Not held over the call, which would keep an abandoned connection alive.
        drop(link);
        self.acknowledged(session, attach_sent_at);
        let members = self.shared.keys.members();
        let sent_at = self.shared.clock.now().mono;
        let reply = self
            .call(Call::new(&BEAT).key(members).within(session))
            .await?;
        let answered_at = self.shared.clock.now().mono;
        let (minted, seen) = parse(&reply).ok_or_else(|| {
            CallError::from(Refusal::new(
                RefusalKind::Script,
                "beat.lua answered something else",
            ))
        })?;
        self.shared.saw_token(minted);
        self.acknowledged(session, sent_at);
        self.look(
            session,
            Look {
                sent_at,
                answered_at,
            },
            seen,
        )
        .await
    }

    /// A beat, or an attach, that was sent at this time stands.
    fn acknowledged(&self, session: Session, sent_at: Time) {
        let until = sent_at + assured_for(self.shared.config.death_after);
        let incarnation = session.incarnation;
        let mut assurance = self.assurance.lock();
        match &mut *assurance {
            Some(known) if known.incarnation == incarnation => known.until = known.until.max(until),
            _ => *assurance = Some(Assurance { incarnation, until }),
        }
    }

    /// Publishes what a beat has shown, and declares dead who must be.
    async fn look(
        &mut self,
        session: Session,
        look: Look,
        mut seen: Vec<Member>,
    ) -> Result<(), CallError> {
        if self.generation != session.generation {
            self.generation = session.generation;
            self.generation_seen_at = look.answered_at;
            self.observer.forget();
        }
        let me = &self.shared.identity.daemon;
        let peers = seen.iter().filter(|member| member.daemon != *me);
        let pulses: Vec<Pulse> = peers.map(pulse).collect();
        let suspects = self.observer.observe(look, &pulses);
        for member in &mut seen {
            member.silence = self.observer.silence(&member.daemon);
            member.looked_at = look.answered_at;
        }
        seen.extend(self.lost(look, &seen));
        seen.sort_by(|a, b| a.daemon.cmp(&b.daemon));
        self.members.send_replace(seen.into());
        for suspect in suspects {
            self.declare_dead(session, suspect).await?;
        }
        Ok(())
    }

    /// Members that the store has lost with its last generation and that have not attached again. They
    /// count for as long as a silent member would, lest somebody takes their share.
    fn lost(&self, look: Look, seen: &[Member]) -> Vec<Member> {
        let age = look.answered_at - self.generation_seen_at;
        if age >= self.shared.config.death_after.into() {
            return Vec::new();
        }
        let known = self.members.borrow();
        let lost = known.iter().filter(|known| {
            known.generation < self.generation
                && seen.iter().all(|member| member.daemon != known.daemon)
        });
        lost.map(|member| Member {
            silence: age,
            looked_at: look.answered_at,
            ..member.clone()
        })
        .collect()
    }

    async fn declare_dead(&self, session: Session, peer: Pulse) -> Result<(), CallError> {
        let call = Call::new(&DECLARE_DEAD)
            .key(self.shared.keys.members())
            .text(peer.daemon.as_str())
            .number(peer.incarnation)
            .number(peer.beat)
            .within(session);
        let reply = self.call(call).await?;
        if reply.text() == Some("dead") {
            tracing::warn!(
                peer = peer.daemon,
                incarnation = peer.incarnation,
                "declared a peer dead"
            );
            self.members.send_modify(|members| {
                let alive = members.iter().filter(|member| member.daemon != peer.daemon);
                *members = alive.cloned().collect();
            });
        }
        Ok(())
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        crate::call::call(&self.shared, call).await
    }
}

/// `death_after` less a tenth, for clocks that differ in rate and schedulers that are late.
fn assured_for(death_after: Duration) -> Micros {
    Micros::from(death_after / 10 * 9)
}

fn pulse(member: &Member) -> Pulse {
    Pulse {
        daemon: member.daemon.clone(),
        incarnation: member.incarnation,
        beat: member.beat,
    }
}

/// The highest token and the members in the answer of `beat.lua`.
fn parse(reply: &Reply) -> Option<(u64, Vec<Member>)> {
    let [_now, minted, members @ ..] = reply.items() else {
        return None;
    };
    let members = members.iter().map(parse_member).collect::<Option<_>>()?;
    Some((minted.number()?, members))
}

fn parse_member(reply: &Reply) -> Option<Member> {
    let [
        daemon,
        incarnation,
        generation,
        beat,
        version,
        protocol,
        address,
        _at,
    ] = reply.items()
    else {
        return None;
    };
    Some(Member {
        daemon: daemon.text()?.to_owned(),
        incarnation: incarnation.number()?,
        generation: generation.number()?,
        version: version.text()?.to_owned(),
        protocol: protocol.number()?.try_into().ok()?,
        address: address.text()?.to_owned(),
        beat: beat.number()?,
        silence: Micros::ZERO,
        looked_at: Time::default(),
    })
}
