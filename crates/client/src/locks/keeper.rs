//! The task behind the guards of one [`Locks`](super::Locks) handle: it keeps their session, and attaches to it
//! again when its stream broke.
//!
//! It ends when the last handle and guard are gone, and closes the session, which releases everything. Commands
//! wait in a list that is bounded by its callers: an acquire sends two at most, a guard one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tonic::transport::Channel;
use trellis_proto::v1 as proto;
use trellis_proto::v1::lock_service_client::LockServiceClient;
use trellis_proto::v1::lock_service_session_request::Request;
use trellis_proto::v1::lock_service_session_response::Response;

use super::LostReason;
use super::clock::{Mark, SessionClock};
use super::link::Link;
use crate::error::{Error, ErrorReason, Result};
use crate::mail::{self, Last};

/// How long to wait before a broken stream is attached again.
const AGAIN: Duration = Duration::from_millis(100);

/// What a granted acquire is told.
#[derive(Debug)]
pub(super) enum Granted {
    Grant(proto::LockGranted, watch::Receiver<Option<LostReason>>),
    Refused(proto::LockRefused),
}

/// Where the end of a release is told.
type Reply = oneshot::Sender<Result<()>>;

/// What handles and guards ask for.
#[derive(Debug)]
pub(super) enum Command {
    Acquire {
        id: u64,
        request: proto::LockSessionAcquire,
        reply: oneshot::Sender<Result<Granted>>,
    },
    /// Nobody waits for this acquire any more.
    Cancel(u64),
    Release {
        lease: String,
        reply: Option<Reply>,
    },
    /// The last handle and guard are gone.
    Close,
}

impl Last for Command {
    fn last() -> Self {
        Self::Close
    }
}

pub(super) type Mail = mail::Mail<Command>;

/// Held by handles and guards; the session is closed with the last.
pub(super) type Owner = mail::Owner<Command>;

struct Pending {
    request: proto::LockSessionAcquire,
    /// Until when it may wait.
    until: Option<Instant>,
    reply: oneshot::Sender<Result<Granted>>,
}

/// Keeps a session.
pub(super) struct Keeper {
    pub(super) stub: LockServiceClient<Channel>,
    pub(super) open: proto::LockSessionOpen,
    pub(super) mail: Arc<Mail>,
    pub(super) clock: Arc<SessionClock>,
    guards: HashMap<String, watch::Sender<Option<LostReason>>>,
    acquires: HashMap<u64, Pending>,
    releases: HashMap<u64, (String, Option<Reply>)>,
    renewals: HashMap<u64, Mark>,
    ids: u64,
}

/// Why a stream is not used any more.
enum End {
    /// It broke; the session may stand.
    Broken(Error),
    /// The session is over.
    Over,
    /// Everything is released.
    Closed,
}

impl Keeper {
    pub(super) fn new(
        stub: LockServiceClient<Channel>,
        open: proto::LockSessionOpen,
        mail: Arc<Mail>,
        clock: Arc<SessionClock>,
    ) -> Self {
        Self {
            stub,
            open,
            mail,
            clock,
            guards: HashMap::new(),
            acquires: HashMap::new(),
            releases: HashMap::new(),
            renewals: HashMap::new(),
            // Above those of acquires, which their callers number.
            ids: 1 << 32,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            if self.open.session_secret.is_empty() && self.acquires.is_empty() {
                // Nothing is held: what is to be released has ended with its session.
                self.lose_all();
                match self.mail.clone().next().await {
                    Command::Close => return,
                    command => {
                        self.note(command);
                    }
                }
                continue;
            }
            match self.keep().await {
                End::Closed => return,
                End::Over => self.lose_all(),
                End::Broken(error) if self.open.session_secret.is_empty() => {
                    for (_, acquire) in self.acquires.drain() {
                        let _ = acquire.reply.send(Err(error.clone()));
                    }
                }
                End::Broken(_) => {
                    tokio::select! {
                        () = tokio::time::sleep(AGAIN) => {}
                        () = self.clock.over() => self.lose_all(),
                    }
                }
            }
        }
    }

    /// One stream, from its opening to its end.
    async fn keep(&mut self) -> End {
        let (mut link, ttl) = match self.connect().await {
            Ok(opened) => opened,
            Err(error) => return Self::end_of(error),
        };
        for id in self.acquires.keys().copied().collect::<Vec<_>>() {
            self.send_acquire(&link, id);
        }
        for (id, (lease, _)) in &self.releases {
            link.send(*id, release(lease));
        }
        let (mail, clock) = (self.mail.clone(), self.clock.clone());
        let mut renew = Instant::now() + ttl / 3;
        loop {
            tokio::select! {
                biased;
                answer = link.next() => match answer {
                    Ok(answer) => if let Some(end) = self.answer(answer, ttl, &link) {
                        return end;
                    },
                    Err(error) => return Self::end_of(error),
                },
                () = tokio::time::sleep_until(renew) => {
                    renew = Instant::now() + ttl / 3;
                    let id = self.id();
                    self.renewals.insert(id, Mark::now());
                    link.send(id, Request::KeepAlive(proto::LockSessionKeepAlive {}));
                }
                () = clock.over() => return End::Over,
                command = mail.next() => match command {
                    Command::Close => {
                        link.close(self.id()).await;
                        return End::Closed;
                    }
                    command => self.carry_out(command, &link),
                },
            }
        }
    }

    async fn connect(&mut self) -> Result<(Link, Duration)> {
        let sent = Mark::now();
        let (link, opened) = Link::open(self.stub.clone(), self.open.clone()).await?;
        let ttl = crate::convert::duration(opened.ttl, "ttl")?;
        self.clock.renew(sent, ttl);
        self.renewals.clear();
        self.open.session_secret = opened.session_secret;
        let held = opened
            .held
            .into_iter()
            .map(|it| (it.request_id, it.grant.unwrap_or_default()));
        let held: Vec<_> = held
            .map(|(request, grant)| (request, grant.lease_id))
            .collect();
        self.guards.retain(|lease, lost| {
            let stands = held.iter().any(|(_, other)| other == lease);
            if !stands {
                lost.send_replace(Some(LostReason::Expired));
            }
            stands
        });
        for (request, lease) in held {
            let awaited = |acquire: &Pending| acquire.request.request_id == request;
            let known = self.guards.contains_key(&lease)
                || self.acquires.values().any(awaited)
                || self.releases.values().any(|(other, _)| *other == lease);
            if !known {
                // Granted to a caller that had gone before the grant arrived.
                let id = self.id();
                self.releases.insert(id, (lease, None));
            }
        }
        Ok((link, ttl))
    }

    fn end_of(error: Error) -> End {
        match error.reason() {
            Some(ErrorReason::LeaseLost | ErrorReason::LeaseNotFound) => End::Over,
            _ => End::Broken(error),
        }
    }

    fn id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    /// Keeps a command for the next stream.
    fn note(&mut self, command: Command) -> Option<u64> {
        match command {
            Command::Acquire { id, request, reply } => {
                let wait = request
                    .max_wait
                    .and_then(|wait| Duration::try_from(wait).ok());
                let until = wait.and_then(|wait| Instant::now().checked_add(wait));
                let pending = Pending {
                    request,
                    until,
                    reply,
                };
                self.acquires.insert(id, pending);
                Some(id)
            }
            Command::Release { lease, reply } => {
                self.guards.remove(&lease);
                let id = self.id();
                self.releases.insert(id, (lease, reply));
                Some(id)
            }
            Command::Cancel(id) => self.acquires.remove(&id).map(|_| id),
            Command::Close => None,
        }
    }

    fn carry_out(&mut self, command: Command, link: &Link) {
        let cancels = matches!(command, Command::Cancel(_));
        let Some(id) = self.note(command) else { return };
        if cancels {
            link.send(id, Request::Cancel(proto::LockSessionCancel {}));
        } else if let Some((lease, _)) = self.releases.get(&id) {
            link.send(id, release(lease));
        } else {
            self.send_acquire(link, id);
        }
    }

    fn send_acquire(&self, link: &Link, id: u64) {
        let Some(acquire) = self.acquires.get(&id) else {
            return;
        };
        let mut request = acquire.request.clone();
        if let Some(until) = acquire.until {
            let left = until.saturating_duration_since(Instant::now());
            request.max_wait = crate::convert::to_proto(left, "max_wait").ok();
        }
        link.send(id, Request::Acquire(request));
    }

    fn answer(
        &mut self,
        answer: proto::LockServiceSessionResponse,
        ttl: Duration,
        link: &Link,
    ) -> Option<End> {
        let id = answer.id;
        match answer.response? {
            Response::Kept(_) => {
                if let Some(sent) = self.renewals.remove(&id) {
                    self.clock.renew(sent, ttl);
                }
            }
            Response::Granted(granted) => self.granted(id, granted, link),
            Response::Refused(refused) => {
                if let Some(acquire) = self.acquires.remove(&id) {
                    let _ = acquire.reply.send(Ok(Granted::Refused(refused)));
                }
            }
            Response::Released(_) => self.released(id, Ok(())),
            Response::Lost(lost) => {
                if let Some(guard) = self.guards.remove(&lost.lease_id) {
                    guard.send_replace(Some(match proto::LostReason::try_from(lost.reason) {
                        Ok(proto::LostReason::Forced) => LostReason::Forced(lost.message),
                        Ok(proto::LostReason::NotRestored) => LostReason::NotRestored,
                        _ => LostReason::Expired,
                    }));
                }
            }
            Response::Error(status) => {
                let error = Error::from_item(&status);
                if error.reason() == Some(ErrorReason::Draining) {
                    // The acquire goes on at the next stream.
                } else if let Some(acquire) = self.acquires.remove(&id) {
                    let _ = acquire.reply.send(Err(error));
                } else {
                    self.released(id, Err(error));
                }
            }
            Response::Draining(draining) => {
                return Some(End::Broken(Error::unreachable(draining.reason)));
            }
            Response::Opened(_) | Response::Queued(_) | Response::Closed(_) => {}
        }
        None
    }

    fn granted(&mut self, id: u64, granted: proto::LockGranted, link: &Link) {
        let lease = granted.grant.as_ref().map(|grant| grant.lease_id.clone());
        let lease = lease.unwrap_or_default();
        let (lost, guard) = watch::channel(None);
        let acquire = self.acquires.remove(&id);
        let granted = Ok(Granted::Grant(granted, guard));
        let told = acquire.is_some_and(|acquire| acquire.reply.send(granted).is_ok());
        if told {
            self.guards.insert(lease, lost);
        } else {
            // Its caller has gone.
            self.carry_out(Command::Release { lease, reply: None }, link);
        }
    }

    fn released(&mut self, id: u64, result: Result<()>) {
        if let Some((_, Some(reply))) = self.releases.remove(&id) {
            let _ = reply.send(result);
        }
    }

    /// The session is over. Acquires go on in the next one.
    fn lose_all(&mut self) {
        self.clock.end();
        self.open.session_secret.clear();
        for (_, lost) in self.guards.drain() {
            lost.send_replace(Some(LostReason::Expired));
        }
        for (_, (_, reply)) in self.releases.drain() {
            if let Some(reply) = reply {
                let _ = reply.send(Err(Error::lease_lost()));
            }
        }
    }
}

fn release(lease: &str) -> Request {
    let lease_id = lease.to_owned();
    Request::Release(proto::LockSessionRelease { lease_id })
}
