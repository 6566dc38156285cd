//! A worker on a stream: jobs come as it has room, and when the stream breaks it names some of what it has on the next one.

use super::field::{Client, Field, LEASE, queue};
use super::history::{Attempt, Heard, Held, Word};
use super::working::{attempt, decide, end, hear, say};
use crate::calls::{answered, status};
use crate::random::Random;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use trellis_proto::v1::job_service_work_request::Request;
use trellis_proto::v1::job_service_work_response::Response;
use trellis_proto::v1::{JobCredit, JobServiceWorkRequest, JobServiceWorkResponse, WorkerOpen};

/// Jobs at once.
const CREDIT: u64 = 6;

/// How long it listens before it looks whether all is done.
const LISTENS: Duration = Duration::from_millis(50);

pub struct Streamer<'a> {
    field: &'a Field,
    random: Random,
    name: String,
    queue: String,
    attempts: Vec<Attempt>,
    /// Attempts that it has, with what it has said of them.
    has: BTreeMap<usize, Option<Word>>,
}

struct Stream {
    life: u64,
    requests: mpsc::Sender<JobServiceWorkRequest>,
    answers: Streaming<JobServiceWorkResponse>,
}

impl<'a> Streamer<'a> {
    pub fn new(field: &'a Field, number: u64) -> Self {
        Self {
            field,
            random: Random::new(field.seed, 3_000 + number),
            name: format!("streamer-{number}"),
            queue: queue(number),
            attempts: Vec::new(),
            has: BTreeMap::new(),
        }
    }

    pub async fn run(mut self) -> Vec<Attempt> {
        while !Field::is(&self.field.done) {
            let (life, client) = self.field.client().await;
            if let Some(mut stream) = self.open(life, client).await {
                self.work(&mut stream).await;
            }
            // From here on the daemon may give them to others.
            let now = self.field.clock.now();
            for attempt in &mut self.attempts {
                for held in &mut attempt.held {
                    held.until = held.until.min(now);
                }
            }
        }
        self.attempts
    }

    /// Opens a stream; names most of what it has, and forgets the rest.
    async fn open(&mut self, life: u64, mut client: Client) -> Option<Stream> {
        let random = &mut self.random;
        self.has.retain(|_, _| random.percent(70));
        let (requests, queue) = mpsc::channel(64);
        let open = WorkerOpen {
            queue: self.queue.clone(),
            worker: self.name.clone(),
            credit: Some(JobCredit {
                jobs: i32::try_from(CREDIT).unwrap_or(1),
            }),
            lease: prost_types::Duration::try_from(LEASE).ok(),
            lease_ids: self
                .has
                .keys()
                .map(|at| self.attempts[*at].lease.clone())
                .collect(),
            ..Default::default()
        };
        let request = Some(Request::Open(open));
        requests
            .try_send(JobServiceWorkRequest { id: 0, request })
            .ok()?;
        let answers = answered(client.work(ReceiverStream::new(queue))).await;
        let mut stream = Stream {
            life,
            requests,
            answers: answers.ok()?.into_inner(),
        };
        let answer = answered(stream.answers.message()).await.ok()??;
        let Some(Response::Opened(_)) = answer.response else {
            return None;
        };
        // What it was told already is said again, as nobody knows whether it was heard.
        for (place, word) in self.has.clone() {
            if let Some(word) = word {
                self.say(&stream, place, word)?;
            }
        }
        Some(stream)
    }

    fn say(&mut self, stream: &Stream, place: usize, word: Word) -> Option<()> {
        let attempt = &mut self.attempts[place];
        say(attempt, word, self.field.clock.now());
        self.has.insert(place, Some(word));
        let request = JobServiceWorkRequest {
            id: place as u64 + 1,
            request: Some(Request::Finish(end(attempt, word))),
        };
        stream.requests.try_send(request).ok()
    }

    /// Until the stream breaks, or is broken, or all is done.
    async fn work(&mut self, stream: &mut Stream) -> Option<()> {
        let opened = self.field.clock.now();
        while !Field::is(&self.field.done) {
            let answer = tokio::time::timeout(LISTENS, stream.answers.message()).await;
            if let Ok(answer) = answer {
                self.hear(stream, opened, answer.ok()??)?;
            }
            self.speak(stream)?;
            if !Field::is(&self.field.calm) && self.random.percent(1) {
                return None;
            }
        }
        None
    }

    /// Says what became of some of what it has.
    fn speak(&mut self, stream: &Stream) -> Option<()> {
        let silent = self.has.iter().filter(|(_, word)| word.is_none());
        let silent: Vec<usize> = silent.map(|(place, _)| *place).collect();
        for place in silent {
            if Field::is(&self.field.calm) || self.random.percent(60) {
                match decide(self.field, &mut self.random) {
                    Some(word) => self.say(stream, place, word)?,
                    // It says nothing, until its stream breaks.
                    None => return None,
                }
            }
        }
        Some(())
    }

    fn hear(&mut self, stream: &Stream, opened: u64, answer: JobServiceWorkResponse) -> Option<()> {
        let now = self.field.clock.now();
        let place = usize::try_from(answer.id).ok()?.checked_sub(1);
        match (answer.response?, place) {
            (Response::Job(job), _) => {
                let mut attempt = attempt(&job, stream.life, opened, now);
                attempt.held.push(Held {
                    life: stream.life,
                    from: now,
                    until: u64::MAX,
                });
                self.has.insert(self.attempts.len(), None);
                self.attempts.push(attempt);
            }
            (Response::Finished(_), Some(place)) => {
                hear(&mut self.attempts[place], Heard::Done(now));
                self.has.remove(&place);
            }
            (Response::Error(error), Some(place)) => {
                let reason = self.field.errors.note(&status(&error));
                if reason != "OUTCOME_UNKNOWN" {
                    hear(&mut self.attempts[place], Heard::Refused);
                    self.has.remove(&place);
                }
            }
            (Response::Cancel(cancel), _) => {
                let mut places = self.has.keys().copied();
                let gone = places.find(|place| self.attempts[*place].lease == cancel.lease_id);
                if let Some(place) = gone {
                    for held in &mut self.attempts[place].held {
                        held.until = held.until.min(now);
                    }
                    // What it has said is answered still.
                    if self.has.get(&place) == Some(&None) {
                        self.has.remove(&place);
                    }
                }
            }
            (Response::Draining(_) | Response::Drain(_), _) => return None,
            _ => {}
        }
        Some(())
    }
}
