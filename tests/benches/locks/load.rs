//! What is done on sessions, in closed loops. The echo answers as if every lock were free.

use crate::session::{Session, Ttl, Wait, lease};
use futures::stream::{FuturesUnordered, TryStreamExt as _};
use std::cell::Cell;
use std::time::Instant;
use tokio::sync::Mutex;
use tonic::transport::Channel;
use trellis_proto::v1::lock_service_session_response::Response;
use trellis_tests::bench::Result;
use trellis_tests::bench::process::Server;
use trellis_tests::bench::rounds::{Done, now};

/// Sessions that want one lock, or locks taken at a time.
pub const CONTENDERS: usize = 16;

/// To each server.
pub const CONNECTIONS: usize = 4;

/// Connections to servers, and sessions on them, which outlive the rounds.
pub struct Load {
    /// To the servers by turns.
    channels: Vec<Channel>,
    /// Over all connections by turns.
    spread: Sessions,
    /// All on one connection.
    together: Sessions,
}

impl Load {
    pub async fn open(servers: &[Server]) -> Result<Self> {
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            for server in servers {
                channels.push(server.connect().await?);
            }
        }
        let (spread, together) = (Sessions::default(), Sessions::default());
        spread.open(&channels).await?;
        together.open(&channels[..1]).await?;
        Ok(Self {
            channels,
            spread,
            together,
        })
    }

    /// One of the connections, taken by turns.
    pub fn channel(&self, turn: usize) -> Channel {
        self.channels[turn % self.channels.len()].clone()
    }

    pub async fn round_trips(&self, deadline: Instant) -> Result<Done> {
        self.spread
            .on(1, async |_, session| {
                messages(session, deadline, &lock(0)).await
            })
            .await
    }

    pub async fn cycles(&self, deadline: Instant) -> Result<Done> {
        self.spread
            .on(1, async |_, session| {
                cycles(session, deadline, &lock(0)).await
            })
            .await
    }

    pub async fn lanes(&self, deadline: Instant) -> Result<Done> {
        self.spread
            .on(1, async |_, session| lanes(session, deadline).await)
            .await
    }

    pub async fn apart(&self, deadline: Instant) -> Result<Done> {
        self.spread
            .on(CONTENDERS, async |place, session| {
                cycles(session, deadline, &lock(place)).await
            })
            .await
    }

    pub async fn contended(&self, deadline: Instant) -> Result<Done> {
        contended(&self.spread, deadline).await
    }

    pub async fn contended_together(&self, deadline: Instant) -> Result<Done> {
        contended(&self.together, deadline).await
    }

    pub async fn closing(&self, deadline: Instant) -> Result<Done> {
        // The one that ends is on another connection than the one that waits, and on another server if there is one.
        let holder = self.channel(1);
        self.spread
            .on(1, async |_, session| {
                closing(session, &holder, deadline).await
            })
            .await
    }
}

/// [`CONTENDERS`] sessions; none while they are in use.
#[derive(Default)]
struct Sessions(Cell<Vec<Session>>);

impl Sessions {
    async fn open(&self, channels: &[Channel]) -> Result<()> {
        let mut sessions = Vec::new();
        for channel in channels.iter().cycle().take(CONTENDERS) {
            sessions.push(Session::open(channel.clone(), Ttl::Long).await?);
        }
        self.0.set(sessions);
        Ok(())
    }

    /// Runs something on each of the first sessions, all at a time.
    async fn on<R>(&self, count: usize, run: R) -> Result<Done>
    where
        R: AsyncFn(usize, &mut Session) -> Result<Done>,
    {
        let mut sessions = self.0.take();
        // Polls only the session that has news, unlike a join.
        let lanes: FuturesUnordered<_> = sessions
            .iter_mut()
            .take(count)
            .enumerate()
            .map(|(place, session)| run(place, session))
            .collect();
        let done = lanes.try_collect().await?;
        self.0.set(sessions);
        Ok(Done::sum(done))
    }
}

/// The name of a lock.
pub fn lock(number: usize) -> String {
    format!("lock.{number:02}")
}

/// The requests of a cycle by turns, each timed.
async fn messages(session: &mut Session, deadline: Instant, lock: &str) -> Result<Done> {
    let mut done = Done::default();
    let mut sent = now();
    loop {
        session.acquire(1, lock, Wait::No)?;
        let lease = session.granted().await?;
        let granted = now();
        done.add(granted - sent);
        session.release(1, lease)?;
        session.released().await?;
        sent = now();
        done.add(sent - granted);
        if sent >= deadline {
            return Ok(done);
        }
    }
}

/// A lock taken and given back again and again, each time timed.
async fn cycles(session: &mut Session, deadline: Instant, lock: &str) -> Result<Done> {
    let mut done = Done::default();
    let mut sent = now();
    loop {
        session.acquire(1, lock, Wait::No)?;
        let lease = session.granted().await?;
        session.release(1, lease)?;
        session.released().await?;
        let released = now();
        done.add(released - sent);
        if released >= deadline {
            return Ok(done);
        }
        sent = released;
    }
}

/// Cycles of [`CONTENDERS`] locks beside each other on one stream.
async fn lanes(session: &mut Session, deadline: Instant) -> Result<Done> {
    let names: Vec<_> = (0..CONTENDERS).map(lock).collect();
    // A lane is the id of its requests, of which one at a time is in hand.
    for (id, name) in (0..).zip(&names) {
        session.acquire(id, name, Wait::No)?;
    }
    let mut done = Done::default();
    let mut lanes = CONTENDERS;
    while lanes > 0 {
        let (id, answer) = session.answer().await?;
        if !matches!(answer, Response::Released(_)) {
            session.release(id, lease(answer)?)?;
            continue;
        }
        done.calls += 1;
        if now() >= deadline {
            lanes -= 1;
        } else {
            let name = names.get(usize::try_from(id)?).ok_or("an unknown id")?;
            session.acquire(id, name, Wait::No)?;
        }
    }
    Ok(done)
}

/// All of the sessions want one lock.
async fn contended(sessions: &Sessions, deadline: Instant) -> Result<Done> {
    let entry = Mutex::new(());
    let contend = async |_, session: &mut Session| contend(session, deadline, &entry).await;
    sessions.on(CONTENDERS, contend).await
}

/// One of many that want a lock: gives it back at once, and stands in line again with the same breath. They stand in
/// line in the order in which they are given the entry, by turns of the servers.
async fn contend(session: &mut Session, deadline: Instant, entry: &Mutex<()>) -> Result<Done> {
    let name = lock(0);
    let mut done = Done::default();
    let mut ids = 1..;
    let mut next = || ids.next().ok_or("no id");
    let entered = entry.lock().await;
    session.acquire(next()?, &name, Wait::Long)?;
    let mut answer = session.answer().await?.1;
    drop(entered);
    let mut in_hand = 1;
    loop {
        match answer {
            Response::Queued(_) => {}
            Response::Released(_) => in_hand -= 1,
            answer => {
                done.calls += 1;
                session.release(next()?, lease(answer)?)?;
                if now() < deadline {
                    session.acquire(next()?, &name, Wait::Long)?;
                    in_hand += 1;
                }
            }
        }
        if in_hand == 0 {
            return Ok(done);
        }
        answer = session.answer().await?.1;
    }
}

/// Sessions that take a lock and end, each time with another that waits for it.
async fn closing(waiter: &mut Session, holder: &Channel, deadline: Instant) -> Result<Done> {
    let name = lock(0);
    let mut done = Done::default();
    while now() < deadline {
        let mut session = Session::open(holder.clone(), Ttl::Long).await?;
        session.acquire(1, &name, Wait::No)?;
        session.granted().await?;
        waiter.acquire(1, &name, Wait::Long)?;
        match waiter.answer().await?.1 {
            Response::Queued(_) => {}
            other => return Err(format!("a call that must wait is answered {other:?}").into()),
        }
        let ended = now();
        let session = session.end();
        let lease = waiter.granted().await?;
        done.add(now() - ended);
        waiter.release(2, lease)?;
        waiter.released().await?;
        session.ended().await?;
    }
    Ok(done)
}
