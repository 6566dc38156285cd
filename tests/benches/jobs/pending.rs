//! Many jobs that wait: what each takes in memory, and whether the next one comes as fast as from a few.

use crate::ROUND;
use crate::messages::PAYLOAD;
use crate::submitting::Submitters;
use trellis_tests::bench::Result;
use trellis_tests::bench::process::{Pinning, Server};
use trellis_tests::bench::rounds::{Case, Sample, alternate};
use trellis_tests::bench::table::{Row, Table, Target};

/// How many wait, from a few to many. Each number in a queue of its own.
const PENDING: [usize; 3] = [1_000, 100_000, 1_000_000];

/// Measures a daemon of its own, so that nothing else lies in its memory.
pub async fn measure(pinning: Pinning, table: &mut Table) -> Result<()> {
    // What has ended is kept for half a minute, and more ends here in that time than there is room for.
    let room = [("TRELLIS_JOBS__MAX_JOBS", "20000000")];
    let server = Server::trellis_with(pinning, &room)?;
    let submitters = Submitters::open(&server).await?;
    // Buffers and histograms are there already.
    submitters.fill("warm", 10_000).await?;
    for pending in PENDING {
        let before = server.resident_bytes()?;
        submitters.fill(&queue(pending), pending).await?;
        let grown = server.resident_bytes()?.saturating_sub(before);
        // Of few jobs, what the allocator keeps ready is more than they are.
        if pending >= 100_000 {
            #[expect(
                clippy::cast_precision_loss,
                reason = "resident sizes are far below 2^52"
            )]
            let each = grown as f64 / pending as f64 - PAYLOAD as f64;
            let row = Row::new(
                format!("memory per pending job above its payload, of {pending}"),
                "",
            );
            table.add(row.target(Target::AtMost(300.0)).value(each, "B"));
        }
    }
    dispatch(&server, &submitters, table).await
}

/// Takes, finishes and submits as many again, so that as many wait all the time.
async fn dispatch(server: &Server, submitters: &Submitters, table: &mut Table) -> Result<()> {
    let cases = PENDING.map(|pending| {
        Case::new(server.pid(), move |deadline| async move {
            submitters.cycle(&queue(pending), deadline).await
        })
    });
    let [few, more, many] = alternate(cases, ROUND).await?;
    for (pending, own) in [(PENDING[1], more), (PENDING[2], many)] {
        let what = format!("taken, finished and submitted again, {pending} pending: jobs/s");
        let row = Row::new(what, &format!("{} pending", PENDING[0]));
        let row = row.target(Target::AtLeast(0.8));
        table.add(row.compare(&few, &own, Sample::kilocalls_per_second, "k"));
    }
    Ok(())
}

fn queue(pending: usize) -> String {
    format!("pending.{pending}")
}
