//! Who is there: this daemon's beats, and what they show of the others.
//!
//! Every beat answers with all session records. A peer whose heart stands still is declared dead by a
//! script that names the beat that was seen, so a peer that has beaten since cannot be killed. No verdict on a
//! life looks at a wall clock, neither ours nor the store's. What is withheld of limits goes by the store's,
//! as limits do (`silence`).

mod observer;
mod sight;
mod silence;

use crate::shared::Shared;
use crate::{Call, CallError, Refusal, RefusalKind, Reply, Script, Session};
use observer::{Look, Observer, Pulse};
use parking_lot::Mutex;
use sight::{Beat, Seen};
use silence::Silence;
pub use silence::{Place, Withheld};
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
    withheld: watch::Receiver<Arc<[Withheld]>>,
    assurance: Arc<Mutex<Option<Assurance>>>,
    place: Arc<Mutex<Option<Place>>>,
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

    /// Which of how many members this daemon is, silent ones counted while their shares are withheld: as the store
    /// knows it, so that the others withhold the very share that this daemon may spend. `None` before its first
    /// beats.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        *self.place.lock()
    }

    /// The stretches of the store's time in which shares of other members are withheld, the past ones first.
    #[must_use]
    pub fn withheld(&self) -> Arc<[Withheld]> {
        self.withheld.borrow().clone()
    }

    /// As [`Membership::withheld`]; changes when other shares are withheld than before.
    #[must_use]
    pub fn watch_withheld(&self) -> watch::Receiver<Arc<[Withheld]>> {
        self.withheld.clone()
    }

    /// Until when this daemon is certain to live in the store; `None` before it has ever attached.
    #[must_use]
    pub fn assurance(&self) -> Option<Assurance> {
        *self.assurance.lock()
    }
}

/// The beats that a silent member has missed.
const MISSED_BEATS: u32 = 3;

/// Beats, watches, declares dead.
pub struct MembershipTask {
    shared: Arc<Shared>,
    members: watch::Sender<Arc<[Member]>>,
    withheld: watch::Sender<Arc<[Withheld]>>,
    assurance: Arc<Mutex<Option<Assurance>>>,
    /// As the store knows it, and what the next beat will tell.
    place: Arc<Mutex<Option<Place>>>,
    next_place: Option<Place>,
    observer: Observer,
    silence: Silence,
    /// What the last look has shown of the others.
    peers: Vec<Seen>,
    generation: u64,
    /// When the first look at this generation was answered.
    generation_seen_at: Time,
}

pub(crate) fn membership(shared: Arc<Shared>) -> (Membership, MembershipTask) {
    let (sender, members) = watch::channel(Arc::from([]));
    let (withheld_sender, withheld) = watch::channel(Arc::from([]));
    let (assurance, place) = (Arc::default(), Arc::default());
    let silent_after = shared.config.heartbeat_interval * MISSED_BEATS;
    let task = MembershipTask {
        observer: Observer::new(shared.config.death_after.into()),
        silence: Silence::new(shared.config.withhold_for.into(), silent_after.into()),
        shared,
        members: sender,
        withheld: withheld_sender,
        assurance: Arc::clone(&assurance),
        place: Arc::clone(&place),
        next_place: None,
        peers: Vec::new(),
        generation: 0,
        generation_seen_at: Time::default(),
    };
    let membership = Membership {
        members,
        withheld,
        assurance,
        place,
    };
    (membership, task)
}

impl MembershipTask {
    /// Beats until it is told to stop: once per interval, and at once when there is something new to tell.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut sessions = self.shared.session.subscribe();
        let mut apart = self.shared.apart.subscribe();
        let interval = self.shared.config.heartbeat_interval;
        let mut again = false;
        while !stop.is_cancelled() {
            if let Err(error) = self.beat().await {
                tracing::debug!(%error, "a beat was not acknowledged");
            }
            // Its place is told at once when it has changed, but not in a row.
            again = !again && self.next_place != *self.place.lock() && sessions.borrow().is_some();
            tokio::select! {
                () = tokio::time::sleep(interval), if !again => {}
                () = std::future::ready(()), if again => {}
                // The senders live in `self.shared`.
                _ = sessions.changed() => {}
                _ = apart.changed() => {}
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
        let place = self.next_place;
        let apart = *self.shared.apart.borrow();
        let call = Call::new(&BEAT)
            .key(self.shared.keys.members())
            .key(self.shared.keys.dead())
            .text(sight::place_text(place))
            .text(if apart { "1" } else { "0" })
            .number(Micros::from(self.shared.config.withhold_for).0)
            .number(self.lost_count_for().0)
            .within(session);
        let sent_at = self.shared.clock.now().mono;
        let reply = self.call(call).await?;
        let answered_at = self.shared.clock.now().mono;
        let Some(Beat { now, minted, seen }) = sight::parse(&reply) else {
            let kind = RefusalKind::Script;
            return Err(Refusal::new(kind, "beat.lua answered something else").into());
        };
        self.shared.saw_token(minted);
        self.acknowledged(session, sent_at);
        if place.is_some() {
            *self.place.lock() = place;
        }
        let new_generation = self.generation != session.generation;
        let (left, seen): (Vec<_>, Vec<_>) = seen.into_iter().partition(|seen| seen.left);
        self.forget(&left);
        self.withhold(now, &seen, new_generation);
        let seen = seen.into_iter().filter(|seen| !seen.sight.dead);
        let seen = seen.map(|seen| seen.member).collect();
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

    /// Members that have left are not among those that the store may have lost.
    fn forget(&mut self, left: &[Seen]) {
        let has_left = |daemon: &str| left.iter().any(|seen| seen.member.daemon == daemon);
        self.peers.retain(|peer| !has_left(&peer.member.daemon));
        self.members.send_if_modified(|members| {
            let before = members.len();
            if members.iter().any(|member| has_left(&member.daemon)) {
                let staying = members.iter().filter(|member| !has_left(&member.daemon));
                *members = staying.cloned().collect();
            }
            members.len() != before
        });
    }

    /// Whom the store has lost, and who has not attached again, counts for as long as a silent member would, lest somebody
    /// takes their share.
    fn lost_count_for(&self) -> Micros {
        let config = &self.shared.config;
        config.withhold_for.max(config.death_after).into()
    }

    /// Works out which shares are withheld by what a beat has shown, and this daemon's own place: silent members
    /// count with the others until their shares are withheld no more.
    fn withhold(&mut self, now: u64, seen: &[Seen], new_generation: bool) {
        let me = &self.shared.identity.daemon;
        let is_seen = |daemon: &str| seen.iter().any(|seen| seen.member.daemon == daemon);
        let counts_for = self.lost_count_for().0;
        let mut lost = std::mem::take(&mut self.peers);
        lost.retain(|peer| {
            (new_generation || peer.lost)
                && !is_seen(&peer.member.daemon)
                && now < peer.sight.at + counts_for
        });
        for peer in &mut lost {
            peer.lost = true;
        }
        self.peers = seen
            .iter()
            .filter(|seen| seen.member.daemon != *me)
            .cloned()
            .collect();
        self.peers.append(&mut lost);
        let sights: Vec<_> = self.peers.iter().map(|peer| peer.sight.clone()).collect();
        let changed = self.silence.observe(now, &sights);
        let spans = self.silence.spans();
        if changed {
            let shares = spans
                .iter()
                .find(|span| span.til > now)
                .map(|span| &span.shares);
            tracing::info!(
                ?shares,
                "the shares of limits that are withheld for silent members"
            );
        }
        self.withheld.send_if_modified(|current| {
            *current = spans;
            changed
        });
        let before = self
            .peers
            .iter()
            .filter(|peer| peer.member.daemon < *me)
            .count();
        let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        self.next_place = Some((number(before), number(self.peers.len() + 1)));
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
            .key(self.shared.keys.dead())
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
