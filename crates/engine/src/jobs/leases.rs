//! Until when workers have their jobs. That a lease began and ended is logged, what keeps it alive is not.

use super::over::Overs;
use std::collections::BTreeSet;
use trellis_core::jobs::{Attempt, JobId, JobMap};
use trellis_core::{Micros, Time};

struct Lease {
    attempt: Attempt,
    span: Micros,
    until: Time,
    /// When it is looked at; never later than it ends.
    look: Time,
    /// Who is told when it is over.
    watched: Option<Overs>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Leases {
    held: JobMap<Lease>,
    /// When each is to be looked at: most jobs are done by then, however often their leases were moved.
    looks: BTreeSet<(Time, JobId)>,
}

impl Leases {
    pub fn insert(&mut self, attempt: Attempt, span: Micros, now: Time) {
        self.remove(attempt.job);
        let until = now + span;
        self.looks.insert((until, attempt.job));
        let lease = Lease {
            attempt,
            span,
            until,
            look: until,
            watched: None,
        };
        self.held.insert(attempt.job, lease);
    }

    pub fn remove(&mut self, job: JobId) {
        if let Some(lease) = self.held.remove(&job) {
            self.looks.remove(&(lease.look, job));
            if let Some(overs) = lease.watched {
                overs.tell(lease.attempt);
            }
        }
    }

    /// A worker has just got its job, for so long.
    pub fn set_span(&mut self, attempt: Attempt, span: Micros, now: Time) {
        if let Some(lease) = self.own(attempt) {
            lease.span = span;
            self.move_end(attempt.job, now + span);
        }
    }

    /// Nothing is heard of a worker: it has its job for at most so long.
    pub fn let_go(&mut self, attempt: Attempt, within: Micros, now: Time) {
        if let Some(lease) = self.own(attempt) {
            let until = lease.until.min(now + within);
            self.move_end(attempt.job, until);
        }
    }

    /// Has it told when an attempt is over, to this one and nobody else; whether it is not.
    pub fn watch(&mut self, attempt: Attempt, overs: &Overs) -> bool {
        let Some(lease) = self.own(attempt) else {
            return false;
        };
        if let Some(before) = lease.watched.replace(overs.clone()) {
            before.tell(attempt);
        }
        true
    }

    fn own(&mut self, attempt: Attempt) -> Option<&mut Lease> {
        let lease = self.held.get_mut(&attempt.job)?;
        (lease.attempt == attempt).then_some(lease)
    }

    fn move_end(&mut self, job: JobId, until: Time) {
        if let Some(lease) = self.held.get_mut(&job) {
            lease.until = until;
            if until < lease.look {
                self.looks.remove(&(lease.look, job));
                self.looks.insert((until, job));
                lease.look = until;
            }
        }
    }

    /// A worker needs longer, by its span or another one; how long it has now. `None` if it has nothing.
    pub fn extend(&mut self, attempt: Attempt, span: Option<Micros>, now: Time) -> Option<Micros> {
        let lease = self.own(attempt)?;
        let until = lease.until.max(now + span.unwrap_or(lease.span));
        self.move_end(attempt.job, until);
        Some(until - now)
    }

    /// How long a worker has its job.
    pub fn remaining(&self, attempt: Attempt, now: Time) -> Option<Micros> {
        let lease = self.held.get(&attempt.job)?;
        (lease.attempt == attempt).then(|| lease.until - now)
    }

    /// Those that are over, at most so many.
    pub fn over(&mut self, now: Time, most: usize) -> impl Iterator<Item = Attempt> {
        self.look(now, most);
        let over = self.looks.iter().take_while(move |(at, _)| *at <= now);
        let over = over.filter_map(|(_, job)| self.held.get(job));
        let over = over.filter(move |lease| lease.until <= now);
        over.map(|lease| lease.attempt).take(most)
    }

    /// Puts those off that are to be looked at and last longer, so many at most.
    fn look(&mut self, now: Time, most: usize) {
        let due = self.looks.iter().take_while(|(at, _)| *at <= now);
        let due: Vec<(Time, JobId)> = due.take(most).copied().collect();
        for (at, job) in due {
            if let Some(lease) = self.held.get_mut(&job)
                && lease.until > now
            {
                self.looks.remove(&(at, job));
                self.looks.insert((lease.until, job));
                lease.look = lease.until;
            }
        }
    }

    /// When one may be over.
    pub fn next_look(&self) -> Option<Time> {
        self.looks.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trellis_core::jobs::LeaseId;

    const SPAN: Micros = Micros(10);

    fn attempt(job: u128) -> Attempt {
        Attempt {
            job: JobId(job),
            lease: LeaseId::default(),
        }
    }

    fn over(leases: &mut Leases, now: u64, most: usize) -> Vec<Attempt> {
        leases.over(Time(now), most).collect()
    }

    #[test]
    fn a_lease_that_was_moved_is_over_at_its_new_end_only() {
        let mut leases = Leases::default();
        leases.insert(attempt(1), SPAN, Time(0));
        leases.insert(attempt(2), SPAN, Time(0));
        assert_eq!(leases.extend(attempt(1), None, Time(5)), Some(SPAN));
        leases.let_go(attempt(2), Micros(1), Time(5));
        assert_eq!(leases.next_look(), Some(Time(6)));
        assert!(over(&mut leases, 5, 9).is_empty());
        assert_eq!(over(&mut leases, 10, 9), [attempt(2)]);
        leases.remove(JobId(2));
        assert!(over(&mut leases, 14, 9).is_empty());
        assert_eq!(leases.next_look(), Some(Time(15)));
        assert_eq!(over(&mut leases, 15, 9), [attempt(1)]);
        leases.remove(JobId(1));
        assert_eq!(leases.next_look(), None);
    }

    #[test]
    fn where_more_are_to_be_looked_at_than_may_none_is_over_early_and_none_is_passed_over() {
        let mut leases = Leases::default();
        for job in 0..5 {
            leases.insert(attempt(job), SPAN, Time(0));
        }
        for job in 0..4 {
            leases.extend(attempt(job), None, Time(5));
        }
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.extend(over(&mut leases, 10, 2));
        }
        assert_eq!(seen.first(), Some(&attempt(4)));
        assert!(seen.iter().all(|it| *it == attempt(4)), "{seen:?}");
        assert_eq!(leases.next_look(), Some(Time(10)));
        leases.remove(JobId(4));
        assert_eq!(leases.next_look(), Some(Time(15)));
    }
}
