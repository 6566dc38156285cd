//! Calls: one guarded script each, bounded in number and time, never cut short.
//!
//! A call that has begun is carried out by [`CallsTask`], not by its caller's future: dropping that future
//! loses the answer and nothing else, and not even that when the call has an [`Heir`]. The place in flight
//! stays taken until the call has ended.

use crate::connection::Connection;
use crate::error::NO_ANSWER;
use crate::link::Link;
use crate::shared::Shared;
use crate::{CallError, Refusal, RefusalKind, Reply, Script, Session};
use bytes::Bytes;
use fred::types::Value;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// A guarded script with its keys and arguments; those of the guard are supplied.
#[derive(Clone, Debug)]
pub struct Call {
    script: &'static Script,
    keys: Vec<Value>,
    args: Vec<Value>,
    within: Option<Session>,
    heir: Option<Heir>,
}

/// Who is given the answer when the caller's future was dropped before it returned. Told once, unless the
/// store's tasks are aborted: the answer when it comes, or at once [`CallError::Away`] where the call was
/// not sent. Must not block.
#[derive(Clone)]
pub(crate) struct Heir(Arc<dyn Fn(Answer) + Send + Sync>);

type Answer = Result<Reply, CallError>;

impl Heir {
    pub(crate) fn new(heir: impl Fn(Answer) + Send + Sync + 'static) -> Self {
        Self(Arc::new(heir))
    }
}

impl fmt::Debug for Heir {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Heir")
    }
}

impl Call {
    /// A call of a script made by [`Script::guarded`].
    #[must_use]
    pub fn new(script: &'static Script) -> Self {
        Self {
            script,
            keys: Vec::new(),
            args: Vec::new(),
            within: None,
            heir: None,
        }
    }

    /// Adds a key: `KEYS[2]` and up.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.keys.push(Value::from(key.into()));
        self
    }

    /// Adds a text: `ARGV[4]` and up.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.args.push(Value::from(text.into()));
        self
    }

    /// Adds a number, at most 2^53: `ARGV[4]` and up.
    #[must_use]
    pub fn number(self, number: u64) -> Self {
        self.text(number.to_string())
    }

    /// Adds bytes: `ARGV[4]` and up.
    #[must_use]
    pub fn bytes(mut self, bytes: Bytes) -> Self {
        self.args.push(Value::Bytes(bytes));
        self
    }

    /// Makes sense in this session only (its connection apart); in another the call is refused as stale,
    /// without being sent. Without this a call runs in whatever session there is when it is sent.
    #[must_use]
    pub fn within(mut self, session: Session) -> Self {
        self.within = Some(session);
        self
    }

    /// Leaves the answer to an heir should the caller go before it comes.
    #[must_use]
    pub(crate) fn inherited_by(mut self, heir: Heir) -> Self {
        self.heir = Some(heir);
        self
    }
}

/// A call on its way.
pub(crate) struct Job {
    call: Call,
    heir: Option<Heir>,
    link: Arc<Link>,
    within: Duration,
    permit: OwnedSemaphorePermit,
    answer: oneshot::Sender<Answer>,
}

/// A caller that waits for its answer: dropped before it has it, the heir gets it.
struct Caller {
    heir: Option<Heir>,
    /// `None` before the call is handed over.
    answered: Option<oneshot::Receiver<Answer>>,
}

impl Drop for Caller {
    fn drop(&mut self) {
        let Some(Heir(heir)) = self.heir.take() else {
            return;
        };
        match &mut self.answered {
            None => heir(Err(CallError::Away("its caller left before it was sent"))),
            // Closed first: from here on the answer comes back to whoever sends it, who tells the heir.
            Some(answered) => {
                answered.close();
                if let Ok(answer) = answered.try_recv() {
                    heir(answer);
                }
            }
        }
    }
}

/// Carries out calls.
pub struct CallsTask {
    pub(crate) shared: Arc<Shared>,
    pub(crate) jobs: mpsc::Receiver<Job>,
}

impl CallsTask {
    /// Carries out calls until it is told to stop, then what is in flight. While it does not run, calls wait
    /// for it until their time is over; after it, they are away.
    pub async fn run(mut self, stop: CancellationToken) {
        let shared = &*self.shared;
        let mut in_flight = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(()) = in_flight.next() => {}
                job = self.jobs.recv() => match job {
                    Some(job) => in_flight.push(carry_out(shared, job)),
                    None => break,
                },
                () = stop.cancelled(), if !self.jobs.is_closed() => self.jobs.close(),
            }
        }
        while in_flight.next().await.is_some() {}
    }
}

/// Waits for a place in flight, hands the call over and waits for its answer.
pub(crate) async fn call(shared: &Shared, mut call: Call) -> Answer {
    let mut caller = Caller {
        heir: call.heir.take(),
        answered: None,
    };
    let answer = hand_over(shared, call, &mut caller).await;
    // It was received.
    caller.heir = None;
    answer
}

async fn hand_over(shared: &Shared, call: Call, caller: &mut Caller) -> Answer {
    let asked_at = shared.clock.now().mono;
    if shared.link.borrow().is_none() {
        return Err(CallError::Away("not attached"));
    }
    let permit = place(shared).await?;
    let link = shared.link.borrow().clone();
    let link = link.ok_or(CallError::Away("not attached"))?;
    if call
        .within
        .is_some_and(|session| !session.continues_in(&link.session))
    {
        let message = "the session of this call is over";
        return Err(Refusal::new(RefusalKind::StaleGeneration, message).into());
    }
    let waited = Duration::from(shared.clock.now().mono - asked_at);
    let (answer, answered) = oneshot::channel();
    let job = Job {
        call,
        heir: caller.heir.clone(),
        link,
        // At least half, since a place is waited for during half of it at most.
        within: shared
            .config
            .store_timeout
            .saturating_sub(waited)
            .max(shared.config.store_timeout / 2),
        permit,
        answer,
    };
    // There are as many places in the queue as in flight, so it is never full.
    shared
        .jobs
        .try_send(job)
        .map_err(|_| CallError::Away("the store's tasks have ended"))?;
    let answered = caller.answered.insert(answered);
    answered
        .await
        .unwrap_or(Err(CallError::Unknown("the store's tasks were aborted")))
}

/// Commands that change nothing, with their arguments.
pub(crate) type Reads = Vec<(&'static str, Vec<Value>)>;

/// Sends commands that change nothing, together and in order, and waits for all answers: one round trip. They may be
/// dropped at any time, and need no guard: what an older connection still reads was true when it was read.
pub(crate) async fn read(shared: &Shared, commands: Reads) -> Result<Vec<Reply>, CallError> {
    let _permit = place(shared).await?;
    read_in_place(shared, commands).await
}

/// Which connection was read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The attached one.
    Attached,
    /// The one beside it.
    Beside,
}

/// The same on a connection beside the attached one; where that is gone, on the attached one after all.
///
/// `Unknown`: the connection beside gives no answers.
pub(crate) async fn read_beside(
    shared: &Shared,
    beside: &Connection,
    commands: Reads,
) -> Result<(Vec<Reply>, Way), CallError> {
    let _permit = place(shared).await?;
    match ask_all(beside, commands.clone(), shared.config.store_timeout).await {
        Ok(replies) => Ok((replies, Way::Beside)),
        Err(CallError::Unknown(reason)) if reason == NO_ANSWER => Err(CallError::Unknown(reason)),
        Err(CallError::Unknown(_) | CallError::Away(_)) => {
            let replies = read_in_place(shared, commands).await?;
            Ok((replies, Way::Attached))
        }
        Err(error) => Err(error),
    }
}

async fn ask_all(
    connection: &Connection,
    commands: Reads,
    within: Duration,
) -> Result<Vec<Reply>, CallError> {
    let asked = commands
        .into_iter()
        .map(|(command, args)| connection.ask(command, args, within));
    futures::future::try_join_all(asked).await
}

async fn read_in_place(shared: &Shared, commands: Reads) -> Result<Vec<Reply>, CallError> {
    let link = shared.link.borrow().clone();
    let link = link.ok_or(CallError::Away("not attached"))?;
    let clock = &shared.clock;
    let sent_at = clock.now().mono;
    match ask_all(&link.connection, commands, shared.config.store_timeout).await {
        Ok(replies) => {
            link.answered(clock.now().mono);
            Ok(replies)
        }
        Err(CallError::Unknown(reason)) => {
            if reason == NO_ANSWER {
                link.unanswered(sent_at);
            }
            // Reading has changed nothing, so nothing is unknown.
            Err(CallError::Away(reason))
        }
        Err(error) => Err(error),
    }
}

/// A place in flight, waited for during half the store timeout: what is sent has the other half.
async fn place(shared: &Shared) -> Result<OwnedSemaphorePermit, CallError> {
    let permits = shared.permits.clone();
    if let Ok(permit) = permits.clone().try_acquire_owned() {
        return Ok(permit);
    }
    let half = shared.config.store_timeout / 2;
    if let Ok(Ok(permit)) = tokio::time::timeout(half, permits.acquire_owned()).await {
        return Ok(permit);
    }
    let message = format!("{} calls are in flight", shared.config.max_in_flight);
    Err(Refusal::new(RefusalKind::TooManyInFlight, message).into())
}

async fn carry_out(shared: &Shared, job: Job) {
    let Job {
        call,
        heir,
        link,
        within,
        permit,
        answer,
    } = job;
    let sent_at = shared.clock.now().mono;
    let mut keys = Vec::with_capacity(call.keys.len() + 1);
    keys.push(Value::from(shared.keys.guard()));
    keys.extend(call.keys);
    let mut args = Vec::with_capacity(call.args.len() + 3);
    args.extend([
        Value::from(link.generation.as_str()),
        Value::from(shared.identity.daemon.as_str()),
        Value::from(link.stamp.as_str()),
    ]);
    args.extend(call.args);
    let clock = shared.clock.as_ref();
    let result = call
        .script
        .run(&link.connection, clock, (keys, args), within)
        .await;
    match &result {
        Err(CallError::Unknown(reason)) if *reason == NO_ANSWER => link.unanswered(sent_at),
        Err(CallError::Unknown(_) | CallError::Away(_)) => {}
        Ok(_) => link.answered(clock.now().mono),
        Err(CallError::Refused(refusal)) => {
            link.answered(clock.now().mono);
            if voids_session(refusal.kind) {
                link.void();
            }
        }
    }
    // The place is free before the caller goes on, who may want the next.
    drop(permit);
    if let (Err(result), Some(Heir(heir))) = (answer.send(result), heir) {
        heir(result);
    }
}

/// Whether a refusal shows that the session is over, or that the server is another one than was attached.
fn voids_session(kind: RefusalKind) -> bool {
    matches!(
        kind,
        RefusalKind::StaleGeneration
            | RefusalKind::StaleIncarnation
            | RefusalKind::ReadOnly
            | RefusalKind::Loading
    )
}
