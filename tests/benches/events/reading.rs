//! Readers: those that follow, those that catch up, and those that take nothing.

use crate::messages;
use crate::publishing::Publishers;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use trellis_proto::v1::event_service_client::EventServiceClient;
use trellis_proto::v1::event_service_subscribe_request::Request;
use trellis_proto::v1::event_service_subscribe_response::Response;
use trellis_proto::v1::event_start::Start;
use trellis_proto::v1::{
    EventCredit, EventEdge, EventServiceSubscribeRequest, EventServiceSubscribeResponse,
    EventStart, SubscriptionOpen,
};
use trellis_tests::bench::Result;
use trellis_tests::bench::process::Server;
use trellis_tests::bench::rounds::{Done, now};

/// Events that a reader grants ahead; again when half is used.
const CREDIT: usize = 100_000;

/// A subscription and the way to grant more.
struct Reader {
    credits: mpsc::Sender<EventServiceSubscribeRequest>,
    told: Streaming<EventServiceSubscribeResponse>,
}

impl Reader {
    async fn open(server: &Server, topic: &str, edge: EventEdge, credit: usize) -> Result<Self> {
        let (credits, queue) = mpsc::channel(16);
        let open = Request::Open(SubscriptionOpen {
            topic: topic.into(),
            start: Some(EventStart {
                start: Some(Start::Edge(edge.into())),
            }),
            credit: Some(granted(credit)?),
            ..Default::default()
        });
        credits.try_send(EventServiceSubscribeRequest {
            request: Some(open),
        })?;
        let mut client = EventServiceClient::new(server.connect().await?);
        let told = client.subscribe(ReceiverStream::new(queue)).await?;
        let told = told.into_inner();
        Ok(Self { credits, told })
    }

    /// How many events the next page has; 0 for other news.
    async fn page(&mut self) -> Result<usize> {
        let told = self.told.message().await?.ok_or("a subscription ends")?;
        match told.response {
            Some(Response::Events(page)) => Ok(page.events.len()),
            Some(Response::Gap(gap)) => Err(format!("a gap: {gap:?}").into()),
            _ => Ok(0),
        }
    }

    async fn grant(&self, events: usize) -> Result<()> {
        let request = Some(Request::Credit(granted(events)?));
        let request = EventServiceSubscribeRequest { request };
        Ok(self.credits.send(request).await?)
    }
}

/// So many events, in as many bytes as credit counts for them.
fn granted(events: usize) -> Result<EventCredit> {
    Ok(EventCredit {
        events: i64::try_from(events)?,
        bytes: i64::try_from(events * messages::bytes())?,
    })
}

/// How fast a topic was read, and how many events a page had.
pub struct CaughtUp {
    /// Thousands of events a second.
    pub rate: f64,
    /// The mean size of a page.
    pub page: usize,
}

/// Reads so many events from the beginning.
#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
pub async fn catch_up(server: &Server, topic: &str, events: usize) -> Result<CaughtUp> {
    let begun = now();
    let mut reader = Reader::open(server, topic, EventEdge::Earliest, CREDIT).await?;
    let (mut read, mut pages, mut unused) = (0, 0, CREDIT);
    while read < events {
        let page = reader.page().await?;
        read += page;
        pages += usize::from(page > 0);
        unused = unused.saturating_sub(page);
        if unused < CREDIT / 2 && read < events {
            // The echo reads no further, and needs no credit.
            let _ = reader.grant(CREDIT - unused).await;
            unused = CREDIT;
        }
    }
    let rate = read as f64 / begun.elapsed().as_secs_f64() / 1e3;
    let page = read.div_ceil(pages.max(1));
    Ok(CaughtUp { rate, page })
}

/// Tasks that read a topic, or hold subscriptions without reading.
pub struct Readers {
    tasks: Vec<JoinHandle<()>>,
    stalled: Vec<Reader>,
    read: Arc<AtomicUsize>,
    news: Arc<Notify>,
}

impl Readers {
    /// So many that take whatever comes.
    pub async fn open(server: &Server, topic: &str, count: usize) -> Result<Self> {
        let (read, news) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let mut tasks = Vec::new();
        for _ in 0..count {
            let mut reader = Reader::open(server, topic, EventEdge::Latest, CREDIT).await?;
            // It has begun when it says that nothing stands behind it.
            while reader.page().await? > 0 {}
            let (read, news) = (Arc::clone(&read), Arc::clone(&news));
            tasks.push(spawn(async move {
                let mut unused = CREDIT;
                while let Ok(page) = reader.page().await {
                    read.fetch_add(page, Ordering::Relaxed);
                    news.notify_one();
                    unused = unused.saturating_sub(page);
                    if unused < CREDIT / 2 {
                        if reader.grant(CREDIT - unused).await.is_err() {
                            return;
                        }
                        unused = CREDIT;
                    }
                }
            }));
        }
        Ok(Self {
            tasks,
            stalled: Vec::new(),
            read,
            news,
        })
    }

    /// So many that have granted credit and take nothing.
    pub async fn stalled(server: &Server, topic: &str, count: usize) -> Result<Self> {
        let mut stalled = Vec::new();
        for _ in 0..count {
            stalled.push(Reader::open(server, topic, EventEdge::Latest, CREDIT).await?);
        }
        Ok(Self {
            tasks: Vec::new(),
            stalled,
            read: Arc::default(),
            news: Arc::default(),
        })
    }

    pub fn end(self) {
        for task in self.tasks {
            task.abort();
        }
        drop(self.stalled);
    }
}

/// Publishes one event after the other to the topic of one reader, and notes how long each takes to it.
pub async fn follow(publishers: &Publishers, readers: &Readers, deadline: Instant) -> Result<Done> {
    let mut stream = publishers.stream(0).await?;
    let request = messages::publish("followed");
    let mut done = Done::default();
    while now() < deadline {
        let (before, sent) = (readers.read.load(Ordering::Relaxed), now());
        stream.send(request.clone())?;
        while readers.read.load(Ordering::Relaxed) == before {
            readers.news.notified().await;
        }
        done.add(now() - sent);
        stream.answer().await?;
        // Idle: one a millisecond or so.
        sleep(Duration::from_millis(1)).await;
    }
    Ok(done)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark has no supervisor: its tasks end with the round"
)]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task)
}
