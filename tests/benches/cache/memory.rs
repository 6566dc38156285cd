//! Resident size of an entry above its key and its value.

use crate::load::{CALLS, Connections};
use crate::messages::{self, NAMESPACE, Size};
use futures::stream::{FuturesUnordered, TryStreamExt as _};
use std::cell::Cell;
use tonic::transport::Channel;
use trellis_proto::v1::cache_service_client::CacheServiceClient;
use trellis_proto::v1::{Read, SetItem, SetRequest};
use trellis_tests::bench::Result;
use trellis_tests::bench::process::{Pinning, Server};
use trellis_tests::bench::table::{Row, Table, Target};

/// Kept to find the size of one.
const KEPT: usize = 100_000;

/// Starts a daemon of its own, so that nothing else lies in its memory.
#[expect(
    clippy::cast_precision_loss,
    reason = "resident sizes are far below 2^52"
)]
pub async fn measure(pinning: Pinning, table: &mut Table) -> Result<()> {
    let server = Server::trellis(pinning)?;
    let connections = Connections::open(&server).await?;
    let size = Size::Small;
    // The same calls on one key, so that buffers and histograms are there already.
    let same: Vec<_> = (0..KEPT / 10).map(|_| size.key(0)).collect();
    each(&connections, &same, set).await?;
    each(&connections, &same, get).await?;
    let before = server.resident_bytes()?;
    let keys: Vec<_> = (1..KEPT).map(|number| size.key(number)).collect();
    let own = size.bytes() + size.key(0).len();
    let above = || -> Result<f64> {
        let grown = server.resident_bytes()?.saturating_sub(before) as f64;
        Ok(grown / keys.len() as f64 - own as f64)
    };
    let row = |what: &str| {
        let entries = format!("memory above the {own} B of key and value, of {KEPT}");
        Row::new(format!("{entries}: {what}"), "")
    };
    each(&connections, &keys, set).await?;
    let written = row("an entry").target(Target::AtMost(200.0));
    table.add(written.value(above()?, "B"));
    // What hands a value out to many needs a count of them.
    each(&connections, &keys, get).await?;
    table.add(row("one that was read").value(above()?, "B"));
    Ok(())
}

/// Does something with each key, many at a time.
async fn each(
    connections: &Connections,
    keys: &[String],
    call: impl AsyncFn(&mut CacheServiceClient<Channel>, &str) -> Result<()>,
) -> Result<()> {
    let (next, call) = (Cell::new(0), &call);
    let lanes: FuturesUnordered<_> = (0..CALLS)
        .map(|lane| {
            let (mut client, next) = (connections.client(lane), &next);
            async move {
                while let Some(key) = keys.get(next.replace(next.get() + 1)) {
                    call(&mut client, key).await?;
                }
                Result::Ok(())
            }
        })
        .collect();
    lanes.try_collect().await
}

async fn set(client: &mut CacheServiceClient<Channel>, key: &str) -> Result<()> {
    let item = SetItem {
        key: key.to_owned(),
        value: Size::Small.value(),
        ..Default::default()
    };
    let request = SetRequest {
        namespace: NAMESPACE.into(),
        item: Some(item),
        fence: None,
    };
    if client.set(request).await?.into_inner().stored {
        return Ok(());
    }
    Err("a value is not kept".into())
}

async fn get(client: &mut CacheServiceClient<Channel>, key: &str) -> Result<()> {
    let answer = client
        .get(messages::get(key.to_owned(), Read::Unspecified))
        .await?;
    messages::checked(answer.into_inner().entry.as_ref(), Size::Small)
}
