//! Two properties that need no table: how one limit is divided between servers that all want more than it
//! gives, and what one text costs that all of them embed at once.

use crate::Result;
use crate::calling::{CallError, Caller};
use crate::provider::ledger::Ledger;
use crate::stage::{Column, Metering, Stage};
use crate::wire::{AskRequest, Embedded};
use crate::workload::SERVERS;
use futures::future::try_join_all;
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Calls in a period that three servers divide.
pub const LIMIT: u32 = 100;

/// Callers at each server: more than its share, so that somebody always waits at each.
const CALLERS: usize = 40;

/// Periods that are looked at, the first of which is whoever's comes first.
const PERIODS: u32 = 3;

/// How often the provider's book is read while nothing has come yet.
const LOOK: Duration = Duration::from_millis(10);

/// How one limit was divided.
#[derive(Debug)]
pub struct Shares {
    /// Calls that the provider admitted in each period, by server.
    pub periods: Vec<[u64; SERVERS]>,
    /// Calls that it refused.
    pub refused: u64,
}

/// Embeds the same text at all servers at once; returns how often the provider was called.
pub async fn hello(column: Column, metering: Metering, index: &Path) -> Result<u64> {
    let stage = Stage::start(column, metering, index)?;
    let caller = Caller::new("crowd");
    let request = AskRequest {
        text: "Hello".into(),
    };
    let servers = stage.servers();
    let embed = |server| caller.post::<Embedded>(server, "/embed", &request);
    try_join_all(servers.iter().map(|server| embed(server))).await?;
    Ok(stage.ledgers().await?.embeddings.total().calls)
}

/// Lets three servers, whose limits are shared, want more than the limit of a period.
pub async fn shares(metering: Metering, period: Duration, index: &Path) -> Result<Shares> {
    let mut embeddings = metering.embeddings;
    embeddings.limit = LIMIT;
    embeddings.period_ms = u32::try_from(period.as_millis())?;
    let metering = Metering {
        embeddings,
        ..metering
    };
    let stage = Stage::start(Column::Sharing, metering, index)?;
    // Aborted when dropped.
    let mut callers = JoinSet::new();
    for (server, address) in stage.servers().into_iter().enumerate() {
        for caller in 0..CALLERS {
            callers.spawn(want(address.clone(), format!("{server} {caller}")));
        }
    }
    while stage.ledgers().await?.embeddings.total().calls == 0 {
        tokio::time::sleep(LOOK).await;
    }
    // Halfway between the moments at which units come back, nothing is on its way.
    let mut look = Instant::now() + period / 2;
    let mut before = [0; SERVERS];
    let mut periods = Vec::new();
    let mut refused = 0;
    for _ in 0..PERIODS {
        tokio::time::sleep_until(look).await;
        let ledger = stage.ledgers().await?.embeddings;
        let now = counts(&ledger);
        periods.push(std::array::from_fn(|server| now[server] - before[server]));
        (before, refused) = (now, ledger.total().refused);
        look += period + crate::server::TRAVEL;
    }
    while let Some(ended) = callers.try_join_next() {
        ended??;
    }
    Ok(Shares { periods, refused })
}

/// Wants embeddings for ever.
async fn want(server: String, name: String) -> Result<(), CallError> {
    let caller = Caller::new("crowd");
    for number in 0_u64.. {
        let request = AskRequest {
            text: format!("{name} {number}"),
        };
        caller
            .post::<Embedded>(&server, "/embed-anew", &request)
            .await?;
    }
    Ok(())
}

fn counts(ledger: &Ledger) -> [u64; SERVERS] {
    std::array::from_fn(|server| {
        let name = format!("server-{}", server + 1);
        ledger.callers.get(&name).map_or(0, |counts| counts.calls)
    })
}
