//! Who waits for one bucket: the line of those that lack it, the holds of those that keep it free for
//! themselves, and those that a hold keeps off.
//!
//! The order of a line, and of those kept off, is fair: class, then start, then arrival. A call starts where its account was
//! served to, or at the virtual time at which the call came, whichever is later. Calls of one account
//! are thereby in order of arrival. The order of holds is class, then arrival.

use super::super::fair::{Account, FairShare};
use super::Ticket;
use super::shares::{Shares, cost, later, step};
use super::store::BucketId;
use crate::limits::Priority;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

/// Places in line are counted up to here.
const MAX_POSITION: usize = 1_000;

/// A place in the fair order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    priority: Priority,
    start: u64,
    pub ticket: Ticket,
}

/// A call that waits, or that looks whether it must.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller<'a> {
    pub ticket: Ticket,
    pub fair: &'a FairShare,
}

/// A claim in the line.
#[derive(Clone, Copy, Debug)]
struct Claim {
    amount: i64,
    /// The virtual time at which the call came.
    since: u64,
    weight: u32,
}

/// All who wait for a bucket. It exists while somebody does.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Waiting calls that want the bucket, whether they claim it or not.
    pub wanted: usize,
    /// Those that lack the bucket: it is paused, holds too little, or lets others go first.
    pub line: Line,
    /// Those that nothing but a hold keeps off, as far as they have been looked at.
    pub kept_off: Line,
    /// Those that keep the bucket free for themselves.
    pub holds: Holds,
    shares: [Shares; 2],
    /// Units claimed, by class.
    units: [i64; 2],
}

impl Queue {
    /// Notes that a call begins to wait. Returns the virtual time.
    pub fn enter(&mut self, priority: Priority, fair: &FairShare) -> u64 {
        self.wanted += 1;
        let shares = &mut self.shares[priority as usize];
        shares.enter(fair);
        shares.time()
    }

    /// Notes that a call waits no longer; its claim is gone already.
    pub fn leave(&mut self, priority: Priority, account: &Account) {
        self.wanted -= 1;
        self.shares[priority as usize].leave(account);
    }

    /// The virtual time of a class, at which a call that comes now would start.
    pub fn time(&self, priority: Priority) -> u64 {
        self.shares[priority as usize].time()
    }

    /// Counts a grant, if anyone of its class waits. Tells whether somebody else is first then.
    pub fn serve(&mut self, caller: Caller<'_>, since: u64, cost: u64) -> bool {
        let class = caller.ticket.priority as usize;
        if self.shares[class].is_idle() {
            return false;
        }
        let first = self.next(0);
        self.shares[class].serve(caller.fair, since, cost);
        self.rank_again(List::Line, caller);
        self.rank_again(List::KeptOff, caller);
        self.next(0) != first
    }

    /// Gives a call that came at `since` a place in line, or among those kept off.
    pub fn claim(&mut self, list: List, caller: Caller<'_>, amount: i64, since: u64) {
        let class = caller.ticket.priority as usize;
        self.units[class] += amount;
        let weight = caller.fair.weight();
        let claim = Claim {
            amount,
            since,
            weight,
        };
        self.list(list).insert(caller, claim);
        self.rank_again(list, caller);
    }

    pub fn unclaim(&mut self, list: List, caller: Caller<'_>) {
        let class = caller.ticket.priority as usize;
        if let Some(claim) = self.list(list).remove(caller) {
            self.units[class] -= claim.amount;
        }
        self.rank_again(list, caller);
    }

    fn list(&mut self, list: List) -> &mut Line {
        match list {
            List::Line => &mut self.line,
            List::KeptOff => &mut self.kept_off,
        }
    }

    /// Ranks an account by its first call.
    fn rank_again(&mut self, list: List, Caller { ticket, fair }: Caller<'_>) {
        let class = ticket.priority as usize;
        let calls = self.list(list).accounts[class].get(fair.account());
        let first = calls.and_then(|calls| calls.claims.first_key_value());
        let first = first.map(|(first, claim)| (*first, claim.since));
        let rank = first.map(|(first, since)| self.rank(first, fair.account(), since));
        self.list(list).rank(class, fair.account(), rank);
    }

    /// Holds the bucket for a call that lacks `root`.
    pub fn hold(&mut self, ticket: Ticket, root: Option<BucketId>, amount: i64) {
        self.units[ticket.priority as usize] += amount;
        self.holds.insert(ticket, root);
    }

    pub fn release(&mut self, ticket: Ticket, root: Option<BucketId>, amount: i64) {
        self.units[ticket.priority as usize] -= amount;
        self.holds.remove(ticket, root);
    }

    /// The place in the fair order of a call that came at `since`.
    pub fn rank(&self, ticket: Ticket, account: &Account, since: u64) -> Rank {
        let tag = self.shares[ticket.priority as usize].tag(account);
        Rank {
            priority: ticket.priority,
            start: tag.max(since),
            ticket,
        }
    }

    /// Whether the line is in the way of a call that came at `since`. Those kept off stand in line too
    /// as soon as the hold is gone, before they have been looked at.
    pub fn goes_before(&self, caller: Caller<'_>, since: u64) -> bool {
        let freed = self
            .kept_off
            .head()
            .filter(|head| !self.is_kept_off(head.ticket));
        let mut heads = self.line.head().into_iter().chain(freed).peekable();
        if heads.peek().is_none() {
            return false;
        }
        let rank = self.rank(caller.ticket, caller.fair.account(), since);
        heads.any(|head| head < rank)
    }

    fn is_kept_off(&self, ticket: Ticket) -> bool {
        self.holds.first().is_some_and(|first| first < ticket)
    }

    /// Who is looked at when something has changed, in this order, each if the one before stays where
    /// it is: the first of all in fair order; if that is kept off, who came first of those, and then the
    /// head of the line.
    pub fn next(&self, turn: usize) -> Option<Ticket> {
        let line = self.line.head();
        let Some(kept_off) = self.kept_off.head() else {
            return line.map(|head| head.ticket).filter(|_| turn == 0);
        };
        match turn {
            0 => Some(line.map_or(kept_off, |line| line.min(kept_off)).ticket),
            _ if line.is_some_and(|line| line < kept_off) => None,
            1 => self.kept_off.earliest(),
            2 => line.map(|head| head.ticket),
            _ => None,
        }
    }

    /// What a later call could notice of the turns taken.
    #[cfg(test)]
    pub fn turns(&self) -> String {
        format!("{:?} {:?}", self.shares, self.units)
    }

    /// Whether anyone is served before a call of that class that does not wait.
    pub fn stops(&self, priority: Priority) -> bool {
        let first = [
            self.line.earliest(),
            self.kept_off.earliest(),
            self.holds.first(),
        ];
        let mut first = first.into_iter().flatten();
        first.any(|ticket| ticket.priority <= priority)
    }

    /// Whose turn it is: the first in fair order, or who holds the bucket since before that came.
    pub fn head(&self) -> Option<Ticket> {
        let heads = [self.next(0), self.holds.first()];
        heads.into_iter().flatten().min()
    }

    /// Claims of every kind.
    pub fn len(&self) -> usize {
        self.line.tickets.len() + self.kept_off.tickets.len() + self.holds.all.len()
    }

    /// Units claimed by those who are served before a call of that priority that does not wait.
    pub fn claimed_before(&self, priority: Priority) -> i64 {
        let [interactive, batch] = self.units;
        match priority {
            Priority::Interactive => interactive,
            Priority::Batch => interactive.saturating_add(batch),
        }
    }

    /// How many are served before a waiting call if nobody comes and nobody leaves, at most
    /// `MAX_POSITION` - 1. `capacity` is the bucket's.
    pub fn ahead(&self, caller: Caller<'_>, since: u64, capacity: i64) -> usize {
        let most = MAX_POSITION - 1;
        let holds = self.holds.all.range(..caller.ticket).take(most).count();
        let shares = &self.shares[caller.ticket.priority as usize];
        let mut start = shares.tag(caller.fair.account());
        let lists = [&self.line, &self.kept_off];
        let mut ahead = holds;
        for list in lists {
            ahead += list.better(caller.ticket.priority).take(most).count();
            for claim in list.of(caller.fair.account(), caller.ticket).take(most) {
                start = claim.next_start(start.max(claim.since), capacity);
                ahead += 1;
            }
        }
        let limit = Rank {
            priority: caller.ticket.priority,
            start: start.max(since),
            ticket: caller.ticket,
        };
        for list in lists {
            let left = most.saturating_sub(ahead);
            ahead += list.others_before(limit, caller.fair.account(), capacity, left);
        }
        ahead.min(most)
    }
}

/// The lists of a queue that are in fair order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// Those that lack the bucket.
    Line,
    /// Those that a hold keeps off.
    KeptOff,
}

/// Calls in fair order.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// By class and account.
    accounts: [HashMap<Account, Calls>; 2],
    /// Every account's first call.
    order: BTreeMap<Rank, Account>,
    /// What each claims, in order of arrival.
    pub tickets: BTreeMap<Ticket, i64>,
}

/// The calls of one account, in order of arrival.
#[derive(Debug, Default)]
struct Calls {
    claims: BTreeMap<Ticket, Claim>,
    /// That of the first.
    rank: Option<Rank>,
}

impl Claim {
    /// Where the next call of the account starts when this one, which starts there, is served.
    fn next_start(&self, start: u64, capacity: i64) -> u64 {
        later(start, step(cost(self.amount, capacity), self.weight))
    }
}

impl Line {
    /// Who is served next.
    pub fn head(&self) -> Option<Rank> {
        self.order.keys().next().copied()
    }

    /// What the head claims.
    pub fn head_amount(&self) -> Option<i64> {
        self.tickets.get(&self.head()?.ticket).copied()
    }

    /// Who came first.
    fn earliest(&self) -> Option<Ticket> {
        self.tickets.keys().next().copied()
    }

    fn insert(&mut self, Caller { ticket, fair }: Caller<'_>, claim: Claim) {
        self.tickets.insert(ticket, claim.amount);
        let accounts = &mut self.accounts[ticket.priority as usize];
        if let Some(calls) = accounts.get_mut(fair.account()) {
            calls.claims.insert(ticket, claim);
        } else {
            let calls = accounts.entry(fair.account().clone()).or_default();
            calls.claims.insert(ticket, claim);
        }
    }

    fn remove(&mut self, Caller { ticket, fair }: Caller<'_>) -> Option<Claim> {
        self.tickets.remove(&ticket)?;
        let calls = self.accounts[ticket.priority as usize].get_mut(fair.account())?;
        calls.claims.remove(&ticket)
    }

    /// Gives an account another rank; `None` when it has no calls left.
    fn rank(&mut self, class: usize, account: &Account, rank: Option<Rank>) {
        let Some(calls) = self.accounts[class].get_mut(account) else {
            return;
        };
        if calls.rank != rank {
            let former = std::mem::replace(&mut calls.rank, rank);
            let former = former.and_then(|rank| self.order.remove(&rank));
            if let Some(rank) = rank {
                let account = former.unwrap_or_else(|| account.clone());
                self.order.insert(rank, account);
            }
        }
        if rank.is_none() {
            self.accounts[class].remove(account);
        }
    }

    /// Calls of a better class.
    fn better(&self, priority: Priority) -> impl Iterator<Item = &Ticket> {
        let tickets = self.tickets.keys();
        tickets.take_while(move |ticket| ticket.priority < priority)
    }

    /// Calls of an account before one.
    fn of(&self, account: &Account, ticket: Ticket) -> impl Iterator<Item = &Claim> {
        let calls = self.accounts[ticket.priority as usize].get(account);
        let claims = calls
            .into_iter()
            .flat_map(move |it| it.claims.range(..ticket));
        claims.map(|(_, claim)| claim)
    }

    /// How many calls of other accounts are served before a rank of their class, at most `most`: they
    /// are taken by turns, as they would be served.
    fn others_before(&self, limit: Rank, account: &Account, capacity: i64, most: usize) -> usize {
        let accounts = &self.accounts[limit.priority as usize];
        let firsts = self.order.range(..limit);
        let mut firsts = firsts
            .filter(|(rank, other)| rank.priority == limit.priority && *other != account)
            .peekable();
        let mut turns = BinaryHeap::new();
        for ahead in 0..most {
            while let Some((rank, other)) = firsts.next_if(|(rank, _)| {
                let soonest: Option<&Reverse<(Rank, &Account)>> = turns.peek();
                soonest.is_none_or(|Reverse((soonest, _))| *rank < soonest)
            }) {
                turns.push(Reverse((*rank, other)));
            }
            let Some(Reverse((rank, other))) = turns.pop().filter(|it| it.0.0 < limit) else {
                return ahead;
            };
            let mut calls = accounts[other].claims.range(rank.ticket..);
            let served = calls.next();
            if let (Some((_, served)), Some((next, claim))) = (served, calls.next()) {
                let start = served.next_start(rank.start, capacity).max(claim.since);
                let next = Rank {
                    start,
                    ticket: *next,
                    ..rank
                };
                turns.push(Reverse((next, other)));
            }
        }
        most
    }
}

/// Those that have waited long enough to keep the bucket free until they get what else they want. Each
/// has a *root*, a bucket in whose line it stands, if it stands in one: a call that goes before it there
/// is not kept off here.
#[derive(Debug, Default)]
pub(super) struct Holds {
    by_root: BTreeMap<Option<BucketId>, BTreeSet<Ticket>>,
    /// The first of every root.
    firsts: BTreeSet<(Ticket, Option<BucketId>)>,
    /// All of them and their roots.
    pub all: BTreeMap<Ticket, Option<BucketId>>,
}

impl Holds {
    fn insert(&mut self, ticket: Ticket, root: Option<BucketId>) {
        self.all.insert(ticket, root);
        self.change(root, |holds| holds.insert(ticket));
    }

    fn remove(&mut self, ticket: Ticket, root: Option<BucketId>) {
        self.all.remove(&ticket);
        self.change(root, |holds| holds.remove(&ticket));
    }

    fn change(
        &mut self,
        root: Option<BucketId>,
        change: impl FnOnce(&mut BTreeSet<Ticket>) -> bool,
    ) {
        let holds = self.by_root.entry(root).or_default();
        let former = holds.first().copied();
        change(holds);
        let first = holds.first().copied();
        if first.is_none() {
            self.by_root.remove(&root);
        }
        if former != first {
            self.firsts.extend(first.map(|first| (first, root)));
            if let Some(former) = former {
                self.firsts.remove(&(former, root));
            }
        }
    }

    /// Whether a hold of another call is in the way, apart from those of the roots that are passed over.
    pub fn stop(&self, ticket: Ticket, passed_over: impl Fn(BucketId) -> bool) -> bool {
        let mut firsts = self.firsts.iter();
        let first = firsts.find(|(_, root)| !root.is_some_and(&passed_over));
        first.is_some_and(|(first, _)| *first < ticket)
    }

    fn first(&self) -> Option<Ticket> {
        self.all.keys().next().copied()
    }
}
