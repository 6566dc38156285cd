//! A submitter: sends a few jobs at a time, repeats those that have a request id and were not answered, takes some back, and asks what
//! became of some.

use super::field::{Client, Field, job, outcome};
use super::history::{Heard, Name, Sent};
use crate::calls::{answered, status};
use crate::clock::pause;
use crate::random::Random;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;
use trellis_proto::v1::job_submit_result::Result as Told;
use trellis_proto::v1::{
    JobServiceCancelRequest, JobServiceSubmitBatchRequest, JobServiceSubmitRequest,
    JobServiceWaitRequest,
};

/// The most that are sent at a time.
const TOGETHER: u64 = 12;

pub struct Submitter<'a> {
    field: &'a Field,
    number: u64,
    random: Random,
    named: bool,
    sent: Vec<Sent>,
    /// Jobs without an answer, to send them again.
    open: BTreeMap<usize, JobServiceSubmitRequest>,
}

impl<'a> Submitter<'a> {
    pub fn new(field: &'a Field, number: u64) -> Self {
        field.submitting.fetch_add(1, Ordering::Relaxed);
        Self {
            field,
            number,
            random: Random::new(field.seed, 1_000 + number),
            named: number % 3 != 2,
            sent: Vec::new(),
            open: BTreeMap::new(),
        }
    }

    pub async fn run(mut self) -> Vec<Sent> {
        while !Field::is(&self.field.over) || !self.open.is_empty() {
            let (_, client) = self.field.client().await;
            self.submit(client).await;
            if !self.named {
                // Nobody will ever know.
                self.open.clear();
            }
        }
        self.field.submitting.fetch_sub(1, Ordering::Relaxed);
        self.sent
    }

    /// Until the connection breaks, or it is over.
    async fn submit(&mut self, mut client: Client) -> Option<()> {
        loop {
            let over = Field::is(&self.field.over);
            let wanted = self.random.of(1..TOGETHER);
            while !over && !self.field.lags() && (self.open.len() as u64) < wanted {
                self.make();
            }
            if over && self.open.is_empty() {
                return None;
            }
            if !self.open.is_empty() {
                self.send(&mut client).await?;
            }
            if self.random.percent(8) {
                self.cancel(&mut client).await?;
            }
            if self.random.percent(15) {
                self.ask(&mut client).await?;
            }
            // Slower with what there is: a start reads all of it, and it is lives that count.
            let most = 12 + self.sent.len() as u64 / 5;
            pause(Duration::from_millis(self.random.of(0..most))).await;
        }
    }

    fn make(&mut self) {
        let random = &mut self.random;
        let size = match random.of(0..1_000) {
            0..900 => random.of(0..400),
            900..995 => random.of(400..4_000),
            _ => random.of(4_000..64_000),
        };
        let max_attempts = i32::try_from(random.of(2..6)).unwrap_or(2);
        let place = self.sent.len();
        let name = Name {
            submitter: self.number,
            number: place as u64,
        };
        self.sent.push(Sent {
            name,
            named: self.named,
            max_attempts,
            times: 0,
            answers: Vec::new(),
            cancels: Vec::new(),
            told: Vec::new(),
        });
        let job = job(name, self.named, max_attempts, size);
        self.open.insert(place, job);
    }

    async fn send(&mut self, client: &mut Client) -> Option<()> {
        let places: Vec<usize> = self.open.keys().copied().collect();
        for place in &places {
            self.sent[*place].times += 1;
        }
        let batch = JobServiceSubmitBatchRequest {
            requests: self.open.values().cloned().collect(),
        };
        let answer = match answered(client.submit_batch(batch)).await {
            Ok(answer) => answer.into_inner(),
            Err(error) => {
                self.field.errors.note(&error);
                return None;
            }
        };
        for (place, result) in places.into_iter().zip(answer.results) {
            match result.result? {
                Told::Job(job) => {
                    let sent = &mut self.sent[place];
                    if sent.answers.is_empty() {
                        self.field.submitted.fetch_add(1, Ordering::Relaxed);
                    }
                    sent.answers.push(job.job_id);
                    // As one does that has not heard the answer.
                    if !(self.named && self.random.percent(3)) {
                        self.open.remove(&place);
                    }
                }
                Told::Error(error) => {
                    self.field.errors.note(&status(&error));
                }
            }
        }
        self.named.then_some(()).or_else(|| {
            self.open.clear();
            Some(())
        })
    }

    /// A job whose submission was answered, among the last.
    fn known(&mut self) -> Option<(usize, String)> {
        let all = self.sent.len() as u64;
        let place = self.random.of(all.saturating_sub(100)..all.max(1));
        let place = usize::try_from(place).ok()?;
        let job = self.sent.get(place)?.answers.first()?;
        Some((place, job.clone()))
    }

    async fn cancel(&mut self, client: &mut Client) -> Option<()> {
        let Some((place, job_id)) = self.known() else {
            return Some(());
        };
        self.sent[place].cancels.push(Heard::Nothing);
        let request = JobServiceCancelRequest {
            job_id,
            ..Default::default()
        };
        match answered(client.cancel(request)).await {
            Ok(answer) => {
                let job = answer.into_inner().job?;
                let now = self.field.clock.now();
                self.sent[place].cancels.pop();
                self.sent[place].cancels.push(Heard::Done(now));
                self.hear(place, &job, None);
                Some(())
            }
            Err(error) => self.note(&error),
        }
    }

    async fn ask(&mut self, client: &mut Client) -> Option<()> {
        let Some((place, job_id)) = self.known() else {
            return Some(());
        };
        let request = JobServiceWaitRequest {
            job_id,
            max_wait: Some(prost_types::Duration {
                seconds: 0,
                nanos: 200_000_000,
            }),
            ..Default::default()
        };
        match answered(client.wait(request)).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                self.hear(place, &answer.job?, Some(answer.result.to_vec()));
                Some(())
            }
            Err(error) => self.note(&error),
        }
    }

    /// Writes down an end that was told; of a success only with its result.
    fn hear(&mut self, place: usize, job: &trellis_proto::v1::Job, result: Option<Vec<u8>>) {
        let succeeded = job.state() == trellis_proto::v1::JobState::Succeeded;
        if result.is_none() && succeeded {
            return;
        }
        let told = outcome(job, result.unwrap_or_default());
        self.sent[place].told.extend(told);
    }

    /// Whether the connection can be gone on with.
    fn note(&self, error: &tonic::Status) -> Option<()> {
        let reason = self.field.errors.note(error);
        (reason == "JOB_NOT_FOUND").then_some(())
    }
}
