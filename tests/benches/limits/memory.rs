//! Resident sizes: of an idle daemon, and of a declared limit that nobody uses.

use crate::load::Connections;
use crate::messages::set_limit;
use trellis_tests::bench::Result;
use trellis_tests::bench::process::{Pinning, Server};
use trellis_tests::bench::table::{Row, Table, Target};

/// Declared to find the size of one: as many as the default bound of a namespace admits.
const DECLARED: u32 = 100_000;

/// Starts a daemon of its own, so that nothing else lies in its memory.
#[expect(
    clippy::cast_precision_loss,
    reason = "resident sizes are far below 2^52"
)]
pub async fn measure(pinning: Pinning, table: &mut Table) -> Result<()> {
    let server = Server::trellis(pinning)?;
    let idle = server.resident_bytes()?;
    let connections = Connections::open(&server.address).await?;
    // The same calls on one limit alone, so that buffers and histograms are there already, and the events that tell of them are as many
    // as are kept.
    let same = (0..DECLARED).map(|_| set_limit("limit.000000".into()));
    connections.declare(same).await?;
    let before = server.resident_bytes()?;
    let others = (1..DECLARED).map(|number| set_limit(format!("limit.{number:06}")));
    connections.declare(others).await?;
    let grown = server.resident_bytes()?.saturating_sub(before);
    let each = grown as f64 / f64::from(DECLARED - 1);
    let limits = format!("memory per idle declared limit, of {DECLARED}");
    let row = Row::new(limits, "").target(Target::AtMost(300.0));
    table.add(row.value(each, "B"));
    let row = Row::new("resident size of the idle daemon".into(), "");
    table.add(
        row.target(Target::AtMost(15.0))
            .value(idle as f64 / 1e6, "MB"),
    );
    Ok(())
}
