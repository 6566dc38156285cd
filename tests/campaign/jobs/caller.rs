//! A worker of single calls: reserves a few jobs, and finishes them together. What was not answered it says again to the next life.

use super::field::{Client, Field, LEASE, queue};
use super::history::{Attempt, Heard, Held, Word};
use super::working::{attempt, decide, end, hear, say};
use crate::calls::{answered, status};
use crate::clock::pause;
use crate::random::Random;
use std::time::Duration;
use trellis_proto::v1::job_finish_result::Result as Told;
use trellis_proto::v1::{JobServiceFinishRequest, JobServiceReserveRequest};

pub struct Caller<'a> {
    field: &'a Field,
    random: Random,
    name: String,
    attempts: Vec<Attempt>,
    /// Attempts whose end was said and not answered.
    open: Vec<(usize, Word)>,
}

impl<'a> Caller<'a> {
    pub fn new(field: &'a Field, number: u64) -> Self {
        Self {
            field,
            random: Random::new(field.seed, 2_000 + number),
            name: format!("caller-{number}"),
            attempts: Vec::new(),
            open: Vec::new(),
        }
    }

    pub async fn run(mut self) -> Vec<Attempt> {
        while !Field::is(&self.field.done) {
            let (life, client) = self.field.client().await;
            self.work(life, client).await;
            if self.random.percent(30) {
                // As one whose process has died too.
                self.open.clear();
            }
        }
        self.attempts
    }

    /// Until the connection breaks, or it is done.
    async fn work(&mut self, life: u64, mut client: Client) -> Option<()> {
        self.finish(&mut client).await?;
        while !Field::is(&self.field.done) {
            let places = self.reserve(life, &mut client).await?;
            pause(Duration::from_millis(self.random.of(0..10))).await;
            for place in places {
                let word = decide(self.field, &mut self.random);
                self.open.extend(word.map(|word| (place, word)));
            }
            self.finish(&mut client).await?;
        }
        None
    }

    async fn reserve(&mut self, life: u64, client: &mut Client) -> Option<Vec<usize>> {
        let granted = self.field.clock.now();
        let request = JobServiceReserveRequest {
            queue: queue(self.random.of(0..100)),
            worker: self.name.clone(),
            max_jobs: i32::try_from(self.random.of(1..6)).unwrap_or(1),
            max_wait: Some(prost_types::Duration {
                seconds: 0,
                nanos: 50_000_000,
            }),
            lease: prost_types::Duration::try_from(LEASE).ok(),
            ..Default::default()
        };
        let answer = match answered(client.reserve(request)).await {
            Ok(answer) => answer.into_inner(),
            Err(error) => {
                self.field.errors.note(&error);
                return None;
            }
        };
        let received = self.field.clock.now();
        let lease = u64::try_from(LEASE.as_micros()).unwrap_or(u64::MAX);
        let mut places = Vec::new();
        for job in &answer.jobs {
            let mut attempt = attempt(job, life, granted, received);
            attempt.held.push(Held {
                life,
                from: received,
                until: granted + lease,
            });
            places.push(self.attempts.len());
            self.attempts.push(attempt);
        }
        Some(places)
    }

    async fn finish(&mut self, client: &mut Client) -> Option<()> {
        if self.open.is_empty() {
            return Some(());
        }
        let now = self.field.clock.now();
        let mut ends = Vec::new();
        for (place, word) in &self.open {
            let attempt = &mut self.attempts[*place];
            say(attempt, *word, now);
            ends.push(end(attempt, *word));
        }
        let request = JobServiceFinishRequest {
            ends,
            ..Default::default()
        };
        let answer = match answered(client.finish(request)).await {
            Ok(answer) => answer.into_inner(),
            Err(error) => {
                self.field.errors.note(&error);
                return None;
            }
        };
        let now = self.field.clock.now();
        let open = std::mem::take(&mut self.open);
        for ((place, word), result) in open.into_iter().zip(answer.results) {
            match result.result? {
                Told::Finished(_) => hear(&mut self.attempts[place], Heard::Done(now)),
                Told::Error(error) => {
                    let reason = self.field.errors.note(&status(&error));
                    if reason == "OUTCOME_UNKNOWN" {
                        self.open.push((place, word));
                    } else {
                        hear(&mut self.attempts[place], Heard::Refused);
                    }
                }
            }
        }
        Some(())
    }
}
