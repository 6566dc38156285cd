//! Resident size of an entry above its key and its value.

use crate::load::{CALLS, Connections};
use crate::messages::{NAMESPACE, Size};
use futures::future::try_join_all;
use std::cell::Cell;
use trellis_proto::v1::{SetItem, SetRequest};
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
    set(&connections, (0..KEPT / 10).map(|_| size.key(0))).await?;
    let before = server.resident_bytes()?;
    set(&connections, (1..KEPT).map(|number| size.key(number))).await?;
    let grown = server.resident_bytes()?.saturating_sub(before) as f64;
    let own = size.bytes() + size.key(0).len();
    let above = grown / (KEPT - 1) as f64 - own as f64;
    let entry = format!("memory per entry above its {own} B of key and value, of {KEPT}");
    let row = Row::new(entry, "").target(Target::AtMost(200.0));
    table.add(row.value(above, "B"));
    Ok(())
}

/// Keeps small values under keys, a call for each.
async fn set(connections: &Connections, keys: impl Iterator<Item = String>) -> Result<()> {
    let value = Size::Small.value();
    let keys: Vec<_> = keys.collect();
    let next = Cell::new(0);
    let lanes = (0..CALLS).map(|lane| {
        let (mut client, keys, value, next) = (connections.client(lane), &keys, &value, &next);
        async move {
            while let Some(key) = keys.get(next.replace(next.get() + 1)) {
                let item = SetItem {
                    key: key.clone(),
                    value: value.clone(),
                    ..Default::default()
                };
                let request = SetRequest {
                    namespace: NAMESPACE.into(),
                    item: Some(item),
                };
                if !client.set(request).await?.into_inner().stored {
                    return Err("a value is not kept".into());
                }
            }
            Result::Ok(())
        }
    });
    try_join_all(lanes).await?;
    Ok(())
}
