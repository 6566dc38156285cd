//! A member of a group: acknowledges, at once, later or when its lease has just ended, gives back, rejects, needs longer, forgets,
//! or is gone with all that it had. Most are on a stream; some ask and settle by calls.
//!
//! An acknowledgement that was not answered is said again, to whatever life of the daemon, until it is.

use super::field::{Client, Field, GROUPS, earliest, group, stored, topic};
use super::history::{Delivery, Heard, Said, Word};
use crate::calls::{answered, status};
use crate::history::Micros;
use crate::random::Random;
use prost::Message as _;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use trellis_proto::v1::event_service_consume_request::Request;
use trellis_proto::v1::event_service_consume_response::Response;
use trellis_proto::v1::event_settle_result::Result as Outcome;
use trellis_proto::v1::event_settlement::Settlement;
use trellis_proto::v1::{
    self, EventServiceConsumeRequest, EventServiceReceiveRequest, EventServiceSettleRequest,
};

/// How often a member that is handed nothing says what is due.
const TICK: Duration = Duration::from_millis(10);

/// A word that is to be said: when, by which delivery.
type Due = (Micros, usize, Word);

pub struct Member<'a> {
    field: &'a Field,
    group: usize,
    random: Random,
    /// It asks and settles by calls.
    calls: bool,
    deliveries: Vec<Delivery>,
    leases: BTreeMap<usize, String>,
    due: Vec<Due>,
    /// Acknowledgements that were said and not answered: delivery, and the how manieth word of it.
    unheard: Vec<(usize, usize)>,
}

impl<'a> Member<'a> {
    pub fn new(field: &'a Field, group: usize, number: u64) -> Self {
        Self {
            field,
            group,
            random: Random::new(field.seed, 3_000 + 100 * group as u64 + number),
            calls: number == 0,
            deliveries: Vec::new(),
            leases: BTreeMap::new(),
            due: Vec::new(),
            unheard: Vec::new(),
        }
    }

    pub async fn run(mut self) -> Vec<Delivery> {
        while !Field::is(&self.field.done) {
            let (life, mut client) = self.field.client().await;
            let said = self.repeat(&mut client).await;
            if said.is_some() && self.calls {
                self.call(life, client).await;
            } else if said.is_some() {
                self.consume(life, client).await;
            }
            // Half of what was in hand is acknowledged nevertheless, to whoever serves then.
            let random = &mut self.random;
            self.due
                .retain(|(_, _, word)| *word == Word::Ack && random.percent(50));
        }
        self.deliveries
    }

    /// Says again what was not answered.
    async fn repeat(&mut self, client: &mut Client) -> Option<()> {
        while !self.unheard.is_empty() {
            let some: Vec<_> = self.unheard.iter().take(100).copied().collect();
            self.settle(client, &some).await?;
            self.unheard.drain(..some.len());
        }
        Some(())
    }

    /// Notes that it says something.
    fn say(&mut self, delivery: usize, word: Word) -> (usize, usize) {
        let said = &mut self.deliveries[delivery].said;
        said.push(Said {
            word,
            sent: self.field.clock.now(),
            heard: Heard::Nothing,
        });
        (delivery, said.len() - 1)
    }

    /// Says words by a call, and takes in what is answered.
    async fn settle(&mut self, client: &mut Client, words: &[(usize, usize)]) -> Option<()> {
        if words.is_empty() {
            return Some(());
        }
        let settlements = words.iter().map(|place| self.settlement(*place));
        let request = EventServiceSettleRequest {
            topic: topic(GROUPS[self.group].0),
            group: group(self.group),
            settlements: settlements.collect(),
            ..EventServiceSettleRequest::default()
        };
        let answer = answered(client.settle(request)).await;
        for (place, result) in words.iter().zip(answer.ok()?.into_inner().results) {
            match result.result? {
                Outcome::Settled(_) => self.hear(*place),
                Outcome::Error(error) => self.refuse(*place, &status(&error))?,
            }
        }
        Some(())
    }

    fn settlement(&self, (delivery, word): (usize, usize)) -> v1::EventSettlement {
        let settlement = match self.deliveries[delivery].said[word].word {
            Word::Ack => Settlement::Ack(v1::EventAck {}),
            Word::Reject => Settlement::Reject(v1::EventReject {}),
            Word::Extend => Settlement::Extend(v1::EventExtend::default()),
            Word::Nack(delay) => {
                let delay = Duration::from_micros(delay).try_into().ok();
                let delay = delay.filter(|delay: &prost_types::Duration| delay.nanos > 0);
                Settlement::Nack(v1::EventNack { delay })
            }
        };
        v1::EventSettlement {
            lease_id: self.leases.get(&delivery).cloned().unwrap_or_default(),
            settlement: Some(settlement),
        }
    }

    fn hear(&mut self, (delivery, word): (usize, usize)) {
        let delivery = &mut self.deliveries[delivery];
        let said = &mut delivery.said[word];
        said.heard = Heard::Done(self.field.clock.now());
        if let Word::Ack | Word::Reject = said.word {
            let mut settled = self.field.settled[self.group].lock();
            settled.insert(delivery.event.offset);
        }
    }

    /// `None` when it is not known what became of it.
    fn refuse(&mut self, (delivery, word): (usize, usize), error: &tonic::Status) -> Option<()> {
        let reason = self.field.note(error);
        (reason == "LEASE_LOST").then(|| {
            self.deliveries[delivery].said[word].heard = Heard::Refused;
        })
    }

    /// Notes a delivery, and decides what is said of it. `None` when the member is gone with it.
    fn take(&mut self, delivery: &v1::EventDelivery, life: u64, granted: Micros) -> Option<()> {
        let received = self.field.clock.now();
        let place = self.deliveries.len();
        self.deliveries.push(Delivery {
            event: stored(&delivery.event.clone().unwrap_or_default()),
            life,
            attempt: delivery.attempt,
            granted,
            received,
            said: Vec::new(),
        });
        self.leases.insert(place, delivery.lease_id.clone());
        let random = &mut self.random;
        let kind = random.of(0..1_000);
        let mut later = |from, to| received + random.of(from..to) * 1_000;
        if Field::is(&self.field.calm) || kind < 800 {
            self.due.push((received, place, Word::Ack));
            return Some(());
        }
        match kind {
            800..860 => self.due.push((later(1, 200), place, Word::Ack)),
            // About when its lease ends.
            860..870 => self.due.push((later(900, 1_200), place, Word::Ack)),
            870..900 => {
                let again = random.of(1..200) * 1_000;
                self.due.push((received, place, Word::Nack(again)));
            }
            // The group has a delay of its own.
            900..930 => self.due.push((received, place, Word::Nack(0))),
            930..945 => self.due.push((received, place, Word::Reject)),
            945..965 => {
                self.due.push((later(100, 800), place, Word::Extend));
                self.due.push((later(850, 1_500), place, Word::Ack));
            }
            // Forgotten.
            965..985 => {}
            985..990 => return None,
            _ => self.due.push((later(1, 20), place, Word::Ack)),
        }
        Some(())
    }

    /// Words whose time has come.
    fn now_due(&mut self) -> Vec<(usize, usize)> {
        let now = self.field.clock.now();
        let (words, later) = std::mem::take(&mut self.due)
            .into_iter()
            .partition(|(at, _, _)| *at <= now);
        self.due = later;
        let words: Vec<Due> = words;
        let words = words.into_iter();
        words
            .map(|(_, place, word)| self.say(place, word))
            .collect()
    }

    /// By calls, until the daemon is gone or it is over.
    async fn call(&mut self, life: u64, mut client: Client) -> Option<()> {
        while !Field::is(&self.field.done) {
            let granted = self.field.clock.now();
            let request = EventServiceReceiveRequest {
                topic: topic(GROUPS[self.group].0),
                group: group(self.group),
                max_events: i32::try_from(self.random.of(1..20)).unwrap_or(1),
                max_wait: Duration::from_millis(50).try_into().ok(),
                start: Some(earliest()),
                ..EventServiceReceiveRequest::default()
            };
            let answer = answered(client.receive(request)).await;
            let mut gone = false;
            for delivery in answer.ok()?.into_inner().deliveries {
                gone |= self.take(&delivery, life, granted).is_none();
            }
            if gone {
                return None;
            }
            let words = self.now_due();
            if self.settle(&mut client, &words).await.is_none() {
                self.forget(words.into_iter());
                return None;
            }
        }
        Some(())
    }

    /// Acknowledgements that are not answered any more are said again.
    fn forget(&mut self, words: impl Iterator<Item = (usize, usize)>) {
        let open = words.filter(|(delivery, word)| {
            let said = &self.deliveries[*delivery].said[*word];
            said.word == Word::Ack && said.heard == Heard::Nothing
        });
        self.unheard.extend(open);
    }

    /// On a stream, until it breaks or it is over.
    async fn consume(&mut self, life: u64, client: Client) -> Option<()> {
        let mut words = BTreeMap::new();
        let ended = self.converse(life, client, &mut words).await;
        self.forget(words.into_values());
        ended
    }

    async fn converse(
        &mut self,
        life: u64,
        mut client: Client,
        words: &mut BTreeMap<u64, (usize, usize)>,
    ) -> Option<()> {
        let (requests, queue) = mpsc::channel(1_024);
        let credit = self.random.of(1..24);
        let open = v1::ConsumerOpen {
            topic: topic(GROUPS[self.group].0),
            group: group(self.group),
            start: Some(earliest()),
            credit: Some(grant(credit, 256 * 1024)),
            ..v1::ConsumerOpen::default()
        };
        // When each of what may be sent was granted.
        let mut granted: VecDeque<Micros> = (0..credit).map(|_| self.field.clock.now()).collect();
        let mut last = 0;
        let mut request = |request| {
            last += 1;
            EventServiceConsumeRequest {
                id: last,
                request: Some(request),
            }
        };
        requests.send(request(Request::Open(open))).await.ok()?;
        let told = answered(client.consume(ReceiverStream::new(queue))).await;
        let mut told = told.ok()?.into_inner();
        while !Field::is(&self.field.done) {
            for place in self.now_due() {
                let settle = request(Request::Settle(self.settlement(place)));
                words.insert(settle.id, place);
                requests.send(settle).await.ok()?;
            }
            let Ok(message) = tokio::time::timeout(TICK, told.message()).await else {
                continue;
            };
            let message = message.ok()??;
            match message.response? {
                Response::Delivery(delivery) => {
                    let since = granted.pop_front()?;
                    let bytes = delivery.encoded_len();
                    self.take(&delivery, life, since)?;
                    granted.push_back(self.field.clock.now());
                    let more = request(Request::Credit(grant(1, bytes)));
                    requests.send(more).await.ok()?;
                }
                Response::Settled(_) => self.hear(words.remove(&message.id)?),
                Response::Error(error) => {
                    let place = *words.get(&message.id)?;
                    self.refuse(place, &status(&error))?;
                    words.remove(&message.id);
                }
                Response::Draining(_) => return None,
            }
        }
        Some(())
    }
}

fn grant(events: u64, bytes: usize) -> v1::EventCredit {
    v1::EventCredit {
        events: events.cast_signed(),
        bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
    }
}

/// Makes every group.
pub async fn declare(field: &Field, lease: Duration, max_attempts: i32) {
    let (_, mut client) = field.client().await;
    for (number, (of, ordered)) in GROUPS.into_iter().enumerate() {
        let request = v1::EventServiceSetGroupRequest {
            topic: topic(of),
            group: group(number),
            spec: Some(v1::EventGroupSpec {
                lease: lease.try_into().ok(),
                max_attempts,
                min_backoff: Duration::from_millis(10).try_into().ok(),
                max_backoff: Duration::from_millis(100).try_into().ok(),
                ordered,
            }),
            start: Some(earliest()),
            ..v1::EventServiceSetGroupRequest::default()
        };
        let answer = answered(client.set_group(request)).await;
        answer.expect("a group can be made");
    }
}
