//! A TCP proxy that can hold back everything on the connections it has, or the answers alone, while new ones
//! pass, and can cut the link.

use super::{Server, soon, spawn};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    /// The server's port.
    server: AtomicU16,
    /// Connections with a lower number are held back.
    held_below: watch::Sender<usize>,
    /// Answers on connections with a lower number are held back.
    mute_below: watch::Sender<usize>,
    accepted: watch::Sender<usize>,
    /// While set, connections end and none is accepted.
    cut: watch::Sender<bool>,
    /// While set, the server's word of changes does not arrive.
    deaf: watch::Sender<bool>,
    /// Everything the server has answered.
    answers: Mutex<Vec<u8>>,
    /// While set, what is published for mailboxes is lost without a sign.
    lossy: watch::Sender<bool>,
    /// How often that has happened.
    lost: watch::Sender<usize>,
}

impl Proxy {
    pub async fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server: AtomicU16::new(server.port),
            held_below: watch::Sender::new(0),
            mute_below: watch::Sender::new(0),
            accepted: watch::Sender::new(0),
            cut: watch::Sender::new(false),
            deaf: watch::Sender::new(false),
            answers: Mutex::default(),
            lossy: watch::Sender::new(false),
            lost: watch::Sender::new(0),
        });
        spawn(accept(listener, shared.clone()));
        Self { port, shared }
    }

    /// Holds back what is sent on today's connections, in both directions.
    pub fn hold(&self) {
        self.shared
            .held_below
            .send_replace(*self.shared.accepted.borrow());
    }

    /// Holds back what is answered on today's connections; what is asked on them goes through.
    pub fn hold_answers(&self) {
        self.shared
            .mute_below
            .send_replace(*self.shared.accepted.borrow());
    }

    /// Ends every connection and refuses new ones, or lets them pass again.
    pub fn cut(&self, cut: bool) {
        self.shared.cut.send_replace(cut);
    }

    /// From now on new connections lead to another server.
    pub fn lead_to(&self, server: &Server) {
        self.shared.server.store(server.port, Ordering::Relaxed);
    }

    /// Loses what is published for mailboxes, while the connections live on.
    pub fn lose_messages(&self, lossy: bool) {
        self.shared.lossy.send_replace(lossy);
    }

    /// Waits until a message was lost.
    pub async fn has_lost(&self) {
        let mut lost = self.shared.lost.subscribe();
        soon("a lost message", lost.wait_for(|lost| *lost > 0))
            .await
            .unwrap();
    }

    /// From now on word of changes does not arrive, and everything else does.
    pub fn drop_invalidations(&self) {
        self.shared.deaf.send_replace(true);
    }

    /// Delivers what was held back.
    pub fn deliver(&self) {
        self.shared.held_below.send_replace(0);
        self.shared.mute_below.send_replace(0);
    }

    /// Waits until the server has answered this to anybody, be the client still there or not.
    pub async fn has_answered(&self, text: &str) {
        soon(text, async {
            while !String::from_utf8_lossy(&self.shared.answers.lock()).contains(text) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        if *shared.cut.borrow() {
            continue;
        }
        let number = *shared.accepted.borrow();
        shared.accepted.send_replace(number + 1);
        let port = shared.server.load(Ordering::Relaxed);
        let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
            continue;
        };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let held = shared.held_below.subscribe();
        let asked = requests(number, held.clone(), from_client, to_server);
        let answered = answers(number, held, from_server, to_client, shared.clone());
        spawn(until_cut(shared.clone(), asked));
        spawn(until_cut(shared.clone(), answered));
    }
}

async fn until_cut(shared: Arc<Shared>, carry: impl Future<Output = ()>) {
    let mut cut = shared.cut.subscribe();
    tokio::select! {
        () = carry => {}
        _ = cut.wait_for(|cut| *cut) => {}
    }
}

async fn requests(
    number: usize,
    mut held: watch::Receiver<usize>,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
) {
    let mut buffer = vec![0; 65_536];
    while let Some(read) = from.read(&mut buffer).await.ok().filter(|read| *read > 0) {
        held.wait_for(|below| number >= *below).await.unwrap();
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    held.wait_for(|below| number >= *below).await.unwrap();
    // Not shut down: the server may still have something to say.
    to.forget();
}

async fn answers(
    number: usize,
    mut held: watch::Receiver<usize>,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: Arc<Shared>,
) {
    let mut mute = shared.mute_below.subscribe();
    let mut buffer = vec![0; 65_536];
    while let Some(read) = from.read(&mut buffer).await.ok().filter(|read| *read > 0) {
        held.wait_for(|below| number >= *below).await.unwrap();
        mute.wait_for(|below| number >= *below).await.unwrap();
        shared.answers.lock().extend_from_slice(&buffer[..read]);
        if *shared.lossy.borrow() && is_message(&buffer[..read]) {
            shared.lost.send_modify(|lost| *lost += 1);
            continue;
        }
        if *shared.deaf.borrow() {
            let _ = to.write_all(&without_invalidations(&buffer[..read])).await;
            continue;
        }
        // Without a client there is nobody to tell, and the server goes on answering.
        let _ = to.write_all(&buffer[..read]).await;
    }
}

/// Whether an answer is a message for a mailbox.
fn is_message(answer: &[u8]) -> bool {
    let has = |text: &[u8]| answer.windows(text.len()).any(|part| part == text);
    has(b"message\r\n") && has(b":mailbox:")
}

/// What is left without invalidations of one key each, which come whole.
fn without_invalidations(mut bytes: &[u8]) -> Vec<u8> {
    const START: &[u8] = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$";
    let mut left = Vec::new();
    while let Some(at) = bytes.windows(START.len()).position(|part| part == START) {
        left.extend_from_slice(&bytes[..at]);
        let rest = &bytes[at + START.len()..];
        let end = rest.iter().position(|byte| *byte == b'\r').unwrap();
        let length: usize = std::str::from_utf8(&rest[..end]).unwrap().parse().unwrap();
        bytes = &rest[end + 2 + length + 2..];
    }
    left.extend_from_slice(bytes);
    left
}
