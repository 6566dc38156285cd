//! Resident size of a held lock.

use crate::session::{Session, Ttl, Wait};
use trellis_tests::bench::Result;
use trellis_tests::bench::process::{Pinning, Server};
use trellis_tests::bench::table::{Row, Table};

/// How many are held when their size is taken.
const HELD: [u32; 3] = [1_000, 10_000, 100_000];

/// Acquires in flight.
const IN_FLIGHT: u32 = 500;

/// Starts a daemon of its own, so that nothing else lies in its memory.
pub async fn measure(pinning: Pinning, table: &mut Table) -> Result<()> {
    let server = Server::trellis(pinning)?;
    let mut session = Session::open(server.connect().await?, Ttl::Long).await?;
    // As many calls at a time for one lock, so that buffers and histograms are there already.
    for _ in 0..4 {
        warm(&mut session).await?;
    }
    let before = server.resident_bytes()?;
    let mut held = 0;
    for count in HELD {
        while held < count {
            let more = held + IN_FLIGHT;
            session.hold(held..more).await?;
            held = more;
        }
        let grown = server.resident_bytes()?.saturating_sub(before);
        #[expect(
            clippy::cast_precision_loss,
            reason = "resident sizes are far below 2^52"
        )]
        let each = grown as f64 / f64::from(count);
        let row = Row::new(format!("memory per held lock, of {count}"), "");
        table.add(row.value(each, "B"));
    }
    Ok(())
}

/// Asks for one lock many times; the first has it, for the others it is held.
async fn warm(session: &mut Session) -> Result<()> {
    for id in 0..IN_FLIGHT {
        session.acquire(id.into(), "lock", Wait::No)?;
    }
    let lease = session.granted().await?;
    for _ in 1..IN_FLIGHT {
        session.refused().await?;
    }
    session.release(0, lease)?;
    session.released().await?;
    Ok(())
}
