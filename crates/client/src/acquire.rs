//! The builder of an acquire, and batches of them.

use std::time::Duration;

use trellis_proto::v1 as proto;

use crate::acquired::Acquired;
use crate::charge::{Charge, Charges};
use crate::convert;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::route::Route;

/// An acquire being put together; all of its charges are taken, or none.
///
/// Made by [`Limits::acquire`] or [`Pipeline::acquire`](crate::Pipeline::acquire), sent by
/// [`Acquire::send`] or `.await`. Dropping the future takes the call back: a waiting acquire is
/// cancelled, and a reservation granted to nobody is refunded.
#[derive(Clone, Debug)]
#[must_use = "an acquire does nothing until it is sent"]
pub struct Acquire {
    route: Route,
    charges: Charges,
    max_wait: Option<Duration>,
    reserve: Option<Duration>,
    request_id: String,
    priority: Priority,
    fair_key: String,
    weight: u32,
    dry_run: bool,
}

/// Who is served first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// Someone is waiting for the answer.
    #[default]
    Interactive,
    /// Served when no interactive call waits for the same bucket.
    Batch,
}

impl Acquire {
    pub(crate) fn new(route: Route) -> Self {
        Self {
            route,
            charges: Charges::default(),
            max_wait: None,
            reserve: None,
            request_id: String::new(),
            priority: Priority::default(),
            fair_key: String::new(),
            weight: 0,
            dry_run: false,
        }
    }

    /// Adds a charge. 1 to 32, of different buckets.
    pub fn charge(mut self, charge: Charge) -> Self {
        self.charges.0.push(charge);
        self
    }

    /// Adds several charges.
    pub fn charges(mut self, charges: impl Into<Charges>) -> Self {
        self.charges.0.extend(charges.into().0);
        self
    }

    /// Waits in line for at most this long (0 to 1 hour) instead of being denied at once.
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = Some(max_wait);
        self
    }

    /// Asks for a reservation that may be settled for this long (1 ms to 24 hours). Without it one
    /// is made only where slots are held.
    pub fn reserve(mut self, ttl: Duration) -> Self {
        self.reserve = Some(ttl);
        self
    }

    /// Makes a repeat with the same id get the first answer instead of being charged again.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = id.into();
        self
    }

    /// Who is served first. Default [`Priority::Interactive`].
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Waits on the account of a fair key, such as a tenant: 1 to 256 bytes. Calls of one key are served
    /// in order of arrival, keys by turns, so that one tenant's backlog does not make the others wait.
    /// Without a key a call waits on the account of all calls that name none.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use trellis_client::{Charge, Limits};
    /// # async fn run(limits: Limits) -> trellis_client::Result<()> {
    /// let acquired = limits
    ///     .acquire()
    ///     .charge(Charge::new("llm.tokens", 4_000))
    ///     .max_wait(Duration::from_secs(30))
    ///     .fair_key("tenant-7")
    ///     .weight(3)
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn fair_key(mut self, key: impl Into<String>) -> Self {
        self.fair_key = key.into();
        self
    }

    /// The weight of the fair key: its share of the units while others wait too. 1 to 1,000, default 1;
    /// needs a [`Acquire::fair_key`].
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Asks what would happen now: nothing is charged and nothing waits.
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// Sends the acquire. Its deadline is the client's call timeout plus the `max_wait`.
    pub async fn send(self) -> Result<Acquired> {
        let max_wait = self.max_wait.unwrap_or_default();
        let (request, route) = self.into_proto()?;
        route.acquire(request, max_wait).await
    }

    fn into_proto(self) -> Result<(proto::AcquireRequest, Route)> {
        let mode = match self.max_wait {
            Some(_) => proto::AcquireMode::Wait,
            None => proto::AcquireMode::Try,
        };
        let duration = |value: Option<Duration>, field| {
            value
                .map(|value| convert::to_proto(value, field))
                .transpose()
        };
        let request = proto::AcquireRequest {
            namespace: self.route.namespace(),
            charges: self.charges.into_proto()?,
            mode: mode.into(),
            max_wait: duration(self.max_wait, "max_wait")?,
            reservation_ttl: duration(self.reserve, "reservation_ttl")?,
            request_id: self.request_id,
            priority: proto::Priority::from(self.priority).into(),
            dry_run: self.dry_run,
            fair_key: self.fair_key,
            weight: self.weight,
        };
        Ok((request, self.route))
    }
}

impl From<Priority> for proto::Priority {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Interactive => Self::Interactive,
            Priority::Batch => Self::Batch,
        }
    }
}

/// Sends many independent acquires in one call; see [`Limits::acquire_batch`].
pub(crate) async fn batch(
    limits: &Limits,
    acquires: Vec<Acquire>,
) -> Result<Vec<Result<Acquired>>> {
    let max_wait = acquires.iter().filter_map(|acquire| acquire.max_wait).max();
    let mut requests = Vec::with_capacity(acquires.len());
    for mut acquire in acquires {
        acquire.route = acquire.route.into_unary();
        requests.push(acquire.into_proto()?);
    }
    let (requests, routes): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
    let results = limits
        .call_batch(requests, max_wait.unwrap_or_default())
        .await?;
    if results.len() != routes.len() {
        let (got, sent) = (results.len(), routes.len());
        return Err(Error::invalid_answer(format!(
            "{got} results to {sent} requests"
        )));
    }
    Ok(results
        .into_iter()
        .zip(&routes)
        .map(|(item, route)| decode_item(item, route))
        .collect())
}

fn decode_item(item: proto::BatchAcquireResult, route: &Route) -> Result<Acquired> {
    use proto::batch_acquire_result::Result as Item;
    match convert::required(item.result, "result")? {
        Item::Response(answer) => Acquired::decode(answer, route),
        Item::Error(status) => Err(Error::from_item(&status)),
    }
}
