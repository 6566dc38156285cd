//! What all clients share, and what they publish.

use super::history::{Name, Stored};
use crate::calls::Errors;
use crate::clock::Clock;
use crate::history::Micros;
use crate::house::House;
use parking_lot::Mutex;
use prost::Message as _;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use tonic::transport::Channel;
use trellis_proto::v1;
use trellis_proto::v1::event_service_client::EventServiceClient;

pub type Client = EventServiceClient<Channel>;

pub const TOPICS: usize = 4;

/// Of each group: its topic, and whether it is ordered by key.
pub const GROUPS: [(usize, bool); 5] = [(0, false), (0, true), (1, true), (2, false), (3, true)];

/// How far the groups of a topic may lag behind its publishers.
const MAX_LAG: u64 = 2_000;

pub struct Field {
    pub house: Arc<House>,
    pub clock: Clock,
    pub seed: u64,
    /// Publishers end when everything that they have sent is answered.
    pub over: AtomicBool,
    /// Those that have not ended.
    pub publishing: AtomicU64,
    /// Members do what they should.
    pub calm: AtomicBool,
    /// Members and subscribers end.
    pub done: AtomicBool,
    /// Events acknowledged, by topic.
    pub published: [AtomicU64; TOPICS],
    /// The last offset that a topic's subscriber saw.
    pub followed: [AtomicI64; TOPICS],
    /// Offsets settled, by group.
    pub settled: [Mutex<HashSet<i64>>; GROUPS.len()],
    /// How often the answer was an error, by its reason.
    pub errors: Errors,
}

impl Field {
    pub fn new(seed: u64) -> Self {
        Self {
            house: Arc::new(House::new()),
            clock: Clock::start(),
            seed,
            over: AtomicBool::new(false),
            publishing: AtomicU64::new(0),
            calm: AtomicBool::new(false),
            done: AtomicBool::new(false),
            published: Default::default(),
            followed: [const { AtomicI64::new(-1) }; TOPICS],
            settled: Default::default(),
            errors: Errors::default(),
        }
    }

    pub fn is(flag: &AtomicBool) -> bool {
        flag.load(Ordering::Relaxed)
    }

    /// Whether a group is so far behind that publishers should wait.
    pub fn lags(&self) -> bool {
        GROUPS.iter().zip(&self.settled).any(|((topic, _), done)| {
            let published = self.published[*topic].load(Ordering::Relaxed);
            published > done.lock().len() as u64 + MAX_LAG
        })
    }

    /// Events of all topics.
    pub fn acknowledged(&self) -> u64 {
        let topics = self.published.iter();
        topics.map(|topic| topic.load(Ordering::Relaxed)).sum()
    }

    /// A connection of its own to the daemon, and which life of it that is.
    pub async fn client(&self) -> (u64, Client) {
        let (life, channel) = self.house.channel().await;
        (life, Client::new(channel))
    }

    /// Notes an error; tells its reason.
    pub fn note(&self, status: &tonic::Status) -> String {
        self.errors.note(status)
    }
}

pub fn topic(number: usize) -> String {
    format!("orders-{number}")
}

pub fn group(number: usize) -> String {
    let (topic, ordered) = GROUPS[number];
    let kind = if ordered { "ordered" } else { "plain" };
    format!("{kind}-{topic}")
}

/// With the oldest.
pub fn earliest() -> v1::EventStart {
    let edge = v1::EventEdge::Earliest.into();
    v1::EventStart {
        start: Some(v1::event_start::Start::Edge(edge)),
    }
}

/// The event of this name, with so much data.
pub fn event(name: Name, named: bool, key: Option<u64>, size: u64) -> v1::Event {
    let text = name.to_string();
    let data = text.bytes().cycle();
    v1::Event {
        id: if named { text.clone() } else { String::new() },
        source: format!("/publishers/{}", name.publisher),
        r#type: "campaign.sent".to_owned(),
        subject: text.clone(),
        ordering_key: key.map_or(String::new(), |key| format!("key-{key}")),
        data: data.take(usize::try_from(size).unwrap_or(0)).collect(),
        ..v1::Event::default()
    }
}

/// Of everything that an event says (FNV-1a).
pub fn digest(event: &v1::Event) -> u64 {
    let bytes = event.encode_to_vec();
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What a reader saw. What has no name that a publisher gave is nobody's.
pub fn stored(stored: &v1::StoredEvent) -> Stored {
    let none = v1::Event::default();
    let event = stored.event.as_ref().unwrap_or(&none);
    let number = |text: &str| text.parse().unwrap_or(Micros::MAX);
    let (publisher, rest) = event.subject.split_once('-').unwrap_or_default();
    let name = Name {
        publisher: number(publisher),
        number: number(rest),
    };
    Stored {
        offset: stored.offset,
        name,
        digest: digest(event),
        key: event.ordering_key.strip_prefix("key-").map(number),
    }
}
