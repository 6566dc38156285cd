//! Locks: a guard, work that is cancelled with its lock, and an election.

#![allow(clippy::print_stdout, reason = "the example prints what it does")]

use std::time::Duration;
use trellis_client::{Client, Locked, Ran};

#[tokio::main]
async fn main() -> trellis_client::Result<()> {
    let locks = Client::connect("http://127.0.0.1:7117").await?.locks();
    let locks = locks.owner("worker-1").ttl(Duration::from_secs(10));

    // A guard is renewed in the background, and released when it is dropped.
    match locks.lock("report").acquire().await? {
        Locked::Granted(guard) => {
            // Give the token to the resource with every write: it refuses lower ones.
            println!(
                "held: {}, token above 0: {}",
                guard.is_valid(),
                guard.token() > 0
            );
            guard.release().await?;
        }
        Locked::Refused { retry_after, .. } => println!("busy, again after {retry_after:?}"),
    }

    // The work is cancelled at its next await when the lock is lost.
    let ran = locks.with_lock("report", async |_guard| 6 * 7).await?;
    println!(
        "{}",
        if let Ran::Done(answer) = ran {
            answer
        } else {
            0
        }
    );

    // An election is a lock whose holder says something.
    let election = locks.election("leader");
    let leadership = election.campaign("10.0.0.1:80").await?.granted();
    let leader = election.leader().await?.map(|leader| leader.value);
    println!(
        "{} leads",
        String::from_utf8_lossy(&leader.unwrap_or_default())
    );
    drop(leadership);
    Ok(())
}
