//! The protocol by which locks on a shared store survive daemons that stop and a store that forgets, as a model
//! whose every interleaving is looked at.
//!
//! Two daemons want one lock. Answers take any time or are lost; a daemon may stand still at any step; the
//! store may lose everything, or restart with what it had. Time is counted in ticks. A call reaches the store
//! as soon as it is sent: a beat that comes later is seen later by the peer, which then declares death later.
//! A lock's TTL is left out: it adds as much to what a holder counts on as to the wait of whoever inherits from a dead
//! daemon. The rules:
//!
//! - A daemon beats. Its locks are valid until `DEATH` ticks after the *send* time of the last beat that was
//!   acknowledged. A peer that has seen no new beat for `DEATH` ticks of its own clock declares it dead,
//!   which frees its locks.
//! - The first daemon that attaches to a store which restarted starts a new generation, with a grace of
//!   `DEATH` ticks. During it holders reassert what they hold, and nothing is granted; the higher token
//!   wins. What was not reasserted when it ends is free.
//! - A token is above all that the store remembers, all that attached daemons have seen, and the clock.

use stateright::{Model, Property};

const DAEMONS: usize = 2;

/// Ticks without a beat after which a daemon is dead.
const DEATH: u8 = 2;

/// Tokens that a tick of the clock is worth: more than are granted in one.
const TOKENS_A_TICK: u16 = 8;

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Nothing,
    /// Locks are granted in a new generation without waiting for those who hold them.
    NoGrace,
    /// A lock is valid from the time at which the acknowledgement came.
    ValidFromAcknowledgement,
    /// A daemon that was declared dead goes on with its beats.
    DeadMayBeat,
    /// A holder that reasserts gets the lock although another has it.
    LastReassertWins,
    /// Tokens begin anew when the store has forgotten them.
    TokensBeginAnew,
}

/// The protocol, its bounds, and what is broken in it.
#[derive(Clone, Debug)]
pub struct Locks {
    pub ticks: u8,
    pub losses: u8,
    pub grants: u8,
    pub broken: Broken,
}

/// The lock as the store has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Record {
    owner: usize,
    token: u16,
    generation: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Store {
    generation: u8,
    /// The last incarnation of any daemon.
    incarnation: u8,
    /// It restarted, and nobody has attached since.
    fresh: bool,
    grace_until: u8,
    /// The incarnation of each daemon that is attached and not dead, and when it beat last, as a peer sees it that looks at once: later
    /// looks only declare it dead later.
    beats: [Option<(u8, u8)>; DAEMONS],
    record: Option<Record>,
    last_token: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Daemon {
    /// The number of its last attachment, which every attachment has its own of; 0 before the first.
    incarnation: u8,
    /// The end of what its beats promise.
    promise: u8,
    /// The end of what its lock is valid for.
    valid_until: u8,
    held: Option<u16>,
    /// What it holds is of a former attachment, and not reasserted yet: no beat of this one makes it valid longer.
    unclaimed: bool,
    /// The highest token that it knows of.
    floor: u16,
    /// It has sent a beat in this tick.
    beaten: bool,
}

/// On its way to a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Reply {
    Beaten { sent: u8, incarnation: u8 },
    Granted { token: u16, incarnation: u8 },
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    now: u8,
    losses: u8,
    grants: u8,
    store: Store,
    daemons: [Daemon; DAEMONS],
    replies: Vec<(usize, Reply)>,
    /// The highest token ever granted, and whether one was not above it.
    highest: u16,
    fell: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Tick,
    Lose,
    Restart,
    Attach(usize),
    Reassert(usize),
    Beat(usize),
    Receive(usize),
    DeclareDead(usize),
    Acquire(usize),
    Release(usize),
}

impl State {
    fn holds(&self, daemon: usize) -> bool {
        let Daemon {
            held, valid_until, ..
        } = self.daemons[daemon];
        held.is_some() && self.now < valid_until
    }

    /// Leaves out what makes no difference any more, so that equal states are equal.
    fn forget(&mut self) {
        let (now, daemons) = (self.now, &mut self.daemons);
        for daemon in daemons.iter_mut() {
            daemon.promise = daemon.promise.max(now);
            daemon.valid_until = daemon.valid_until.max(now);
            if daemon.held.is_none() {
                (daemon.valid_until, daemon.unclaimed) = (now, false);
            }
        }
        for (_, beat) in self.store.beats.iter_mut().flatten() {
            *beat = (*beat).max(now.saturating_sub(DEATH));
        }
        self.store.grace_until = self.store.grace_until.max(now);
        self.replies.retain(|(of, reply)| match reply {
            Reply::Beaten { sent, incarnation } => {
                let until = sent + DEATH;
                *incarnation == daemons[*of].incarnation && until > daemons[*of].promise
            }
            Reply::Granted { incarnation, .. } => *incarnation == daemons[*of].incarnation,
            Reply::Refused => daemons[*of].held.is_some(),
        });
    }

    /// Whether a call of the daemon counts: it is attached in this generation and not dead.
    fn attached(&self, daemon: usize) -> bool {
        let known = self.store.beats[daemon];
        !self.store.fresh
            && known.is_some_and(|(incarnation, _)| incarnation == self.daemons[daemon].incarnation)
    }

    /// What the store has for whoever may still own it.
    fn record(&self) -> Option<Record> {
        let over = self.now >= self.store.grace_until;
        let current = |record: &Record| record.generation == self.store.generation || !over;
        self.store.record.filter(current)
    }

    /// A later acknowledgement tells all that an earlier one told.
    fn reply(&mut self, daemon: usize, reply: Reply) {
        if let Reply::Beaten { .. } = reply {
            let other = |(of, reply): &(usize, Reply)| {
                *of != daemon || !matches!(reply, Reply::Beaten { .. })
            };
            self.replies.retain(other);
        }
        if !self.replies.contains(&(daemon, reply)) {
            self.replies.push((daemon, reply));
            self.replies.sort_unstable();
        }
    }
}

impl Locks {
    fn attach(&self, state: &mut State, daemon: usize) {
        let store = &mut state.store;
        if store.fresh {
            store.fresh = false;
            store.generation += 1;
            store.beats = [None; DAEMONS];
            let grace = if self.broken == Broken::NoGrace {
                0
            } else {
                DEATH
            };
            store.grace_until = state.now + grace;
        }
        store.incarnation += 1;
        store.beats[daemon] = Some((store.incarnation, state.now));
        let me = &mut state.daemons[daemon];
        if self.broken != Broken::TokensBeginAnew {
            store.last_token = store.last_token.max(me.floor);
        }
        me.incarnation = store.incarnation;
        me.promise = state.now + DEATH;
        if state.now >= me.valid_until {
            me.held = None;
        }
        me.unclaimed = me.held.is_some();
    }

    /// The holder's claim. Its answer comes at once: until then it goes by what it was promised before.
    fn reassert(&self, state: &mut State, daemon: usize) {
        let record = state.record();
        let me = &mut state.daemons[daemon];
        let Some(token) = me.held else { return };
        let wins = record.is_none_or(|record| record.owner == daemon || record.token < token);
        if wins || self.broken == Broken::LastReassertWins {
            state.store.record = Some(Record {
                owner: daemon,
                token,
                generation: state.store.generation,
            });
            me.valid_until = me.promise;
            me.unclaimed = false;
        } else {
            me.held = None;
        }
    }

    fn beat(&self, state: &mut State, daemon: usize) {
        let (sent, incarnation) = (state.now, state.daemons[daemon].incarnation);
        let counts = state.attached(daemon);
        state.daemons[daemon].beaten = true;
        if counts {
            state.store.beats[daemon] = Some((incarnation, sent));
        } else if state.store.fresh || self.broken != Broken::DeadMayBeat {
            return state.reply(daemon, Reply::Refused);
        }
        state.reply(daemon, Reply::Beaten { sent, incarnation });
    }

    fn receive(&self, state: &mut State, index: usize) {
        let (daemon, reply) = state.replies.remove(index);
        let now = state.now;
        let me = &mut state.daemons[daemon];
        match reply {
            Reply::Beaten { sent, incarnation } if incarnation == me.incarnation => {
                let from = if self.broken == Broken::ValidFromAcknowledgement {
                    now
                } else {
                    sent
                };
                me.promise = me.promise.max(from + DEATH);
                if !me.unclaimed {
                    me.valid_until = me.promise;
                }
            }
            Reply::Granted { token, incarnation } if incarnation == me.incarnation => {
                me.floor = me.floor.max(token);
                if now < me.promise {
                    (me.held, me.valid_until) = (Some(token), me.promise);
                }
            }
            Reply::Refused => me.held = None,
            Reply::Beaten { .. } | Reply::Granted { .. } => {}
        }
    }

    fn acquire(&self, state: &mut State, daemon: usize) {
        state.grants += 1;
        let Daemon {
            floor, incarnation, ..
        } = state.daemons[daemon];
        let store = &mut state.store;
        let token = if self.broken == Broken::TokensBeginAnew {
            store.last_token + 1
        } else {
            let clock = u16::from(state.now) * TOKENS_A_TICK;
            clock.max(store.last_token + 1).max(floor + 1)
        };
        store.last_token = token;
        let generation = store.generation;
        store.record = Some(Record {
            owner: daemon,
            token,
            generation,
        });
        state.fell |= token <= state.highest;
        state.highest = state.highest.max(token);
        state.reply(daemon, Reply::Granted { token, incarnation });
    }
}

impl Model for Locks {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let store = Store {
            fresh: true,
            ..Store::default()
        };
        vec![State {
            now: 0,
            losses: 0,
            grants: 0,
            store,
            daemons: std::array::from_fn(|_| Daemon::default()),
            replies: Vec::new(),
            highest: 0,
            fell: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.now < self.ticks {
            actions.push(Action::Tick);
        }
        if state.losses < self.losses && state.store.generation > 0 {
            actions.extend([Action::Lose, Action::Restart]);
        }
        // What is lost is what never comes.
        actions.extend((0..state.replies.len()).map(Action::Receive));
        for daemon in 0..DAEMONS {
            let me = &state.daemons[daemon];
            if me.incarnation > 0 && !me.beaten {
                actions.push(Action::Beat(daemon));
            }
            if !state.attached(daemon) {
                actions.push(Action::Attach(daemon));
                continue;
            }
            let mine = state.record().is_some_and(|it| it.owner == daemon);
            if me.unclaimed {
                actions.push(Action::Reassert(daemon));
            }
            let peer = state.store.beats[1 - daemon];
            if peer.is_some_and(|(_, beat)| state.now >= beat + DEATH) {
                actions.push(Action::DeclareDead(daemon));
            }
            let over = state.now >= state.store.grace_until;
            let more = state.grants < self.grants;
            if more && over && state.record().is_none() && me.held.is_none() {
                actions.push(Action::Acquire(daemon));
            }
            if mine && me.held.is_some() {
                actions.push(Action::Release(daemon));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Tick => {
                state.now += 1;
                for daemon in &mut state.daemons {
                    daemon.beaten = false;
                }
            }
            Action::Lose | Action::Restart => {
                state.losses += 1;
                state.store.fresh = true;
                if action == Action::Lose {
                    state.store.record = None;
                    state.store.last_token = 0;
                }
            }
            Action::Attach(daemon) => self.attach(&mut state, daemon),
            Action::Reassert(daemon) => self.reassert(&mut state, daemon),
            Action::Beat(daemon) => self.beat(&mut state, daemon),
            Action::Receive(index) => self.receive(&mut state, index),
            Action::DeclareDead(daemon) => {
                let peer = 1 - daemon;
                state.store.beats[peer] = None;
                state.store.record.take_if(|record| record.owner == peer);
            }
            Action::Acquire(daemon) => self.acquire(&mut state, daemon),
            Action::Release(daemon) => {
                state.store.record = None;
                state.daemons[daemon].held = None;
            }
        }
        state.forget();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one holder", |_, state: &State| {
                (0..DAEMONS).filter(|daemon| state.holds(*daemon)).count() <= 1
            }),
            Property::always("tokens rise", |_, state: &State| !state.fell),
            Property::sometimes(
                "a lock outlives the loss of the store",
                |_, state: &State| {
                    let kept = |record: Record| {
                        state.holds(record.owner)
                            && state.daemons[record.owner].held == Some(record.token)
                            && record.token < u16::from(state.store.grace_until) * TOKENS_A_TICK
                            && record.generation == state.store.generation
                    };
                    state.losses > 0 && state.store.record.is_some_and(kept)
                },
            ),
            Property::sometimes(
                "a dead daemon's lock is granted anew",
                |_, state: &State| {
                    let tokens = state.daemons.iter().filter(|daemon| daemon.floor > 0);
                    state.losses == 0 && tokens.count() == DAEMONS
                },
            ),
        ]
    }
}
