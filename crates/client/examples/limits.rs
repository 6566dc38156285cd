//! A tour of limits against a running daemon.
//!
//! `cargo run -p trellis-client --example limits [address]`; the address is `http://127.0.0.1:7117`
//! unless given. Its limits are made anew on each run, so the printed lines are always the same.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::env;
use std::time::Duration;

use trellis_client::{Acquired, Actual, Charge, Client, LevelPolicy, Limits, Result, Spec};

#[tokio::main]
async fn main() -> Result<()> {
    let address = env::args()
        .nth(1)
        .unwrap_or_else(|| "http://127.0.0.1:7117".into());
    let limits = Client::connect(address)
        .await?
        .limits()
        .namespace("example");
    until_denied(&limits).await?;
    wait_in_line(&limits).await?;
    reserve_and_settle(&limits).await?;
    pipelined(&limits).await
}

/// Declares a limit and takes from it until it has no more.
async fn until_denied(limits: &Limits) -> Result<()> {
    let spec = Spec::window(3, Duration::from_mins(1));
    declare(limits, "requests", spec).await?;
    loop {
        match limits.try_acquire(Charge::new("requests", 1)).await? {
            Acquired::Granted(grant) => println!("granted, {} left", grant.charges[0].remaining),
            Acquired::Denied { retry_after, .. } => {
                println!(
                    "denied, free again within a minute: {}",
                    retry_after.as_secs() <= 60
                );
                return Ok(());
            }
            other => {
                println!("unexpected: {other:?}");
                return Ok(());
            }
        }
    }
}

/// Empties a fast bucket, then waits for its refill instead of being denied.
async fn wait_in_line(limits: &Limits) -> Result<()> {
    let spec = Spec::rate(10, Duration::from_secs(1)).burst(10);
    declare(limits, "fast", spec).await?;
    let emptied = limits.try_acquire(Charge::new("fast", 10)).await?;
    println!("emptied: {}", emptied.is_granted());
    let waiting = limits
        .acquire()
        .charge(Charge::new("fast", 2))
        .max_wait(Duration::from_secs(5));
    println!(
        "granted after waiting: {}",
        waiting.send().await?.is_granted()
    );
    Ok(())
}

/// Reserves what a call may cost at most, and settles what it cost.
async fn reserve_and_settle(limits: &Limits) -> Result<()> {
    declare(
        limits,
        "tokens",
        Spec::window(10_000, Duration::from_mins(1)),
    )
    .await?;
    declare(limits, "slots", Spec::concurrency(2)).await?;
    let acquired = limits
        .acquire()
        .charges([Charge::new("tokens", 4_000), Charge::new("slots", 1)])
        .reserve(Duration::from_secs(30))
        .send()
        .await?;
    let Some(reservation) = acquired.granted().and_then(|grant| grant.reservation) else {
        println!("unexpected: no reservation");
        return Ok(());
    };
    println!("reserved 4000 tokens and a slot");
    let settled = reservation.settle([Actual::new("tokens", 1_312)]).await?;
    for charge in settled.charges {
        println!(
            "{}: {} given back, {} left",
            charge.limit, charge.refunded, charge.remaining
        );
    }
    Ok(())
}

/// Sends a hundred acquires at once over one stream.
async fn pipelined(limits: &Limits) -> Result<()> {
    declare(limits, "bulk", Spec::window(60, Duration::from_mins(1))).await?;
    let pipeline = limits.pipeline();
    let calls = (0..100).map(|_| pipeline.try_acquire(Charge::new("bulk", 1)));
    let answers = futures::future::try_join_all(calls).await?;
    let granted = answers.iter().filter(|answer| answer.is_granted()).count();
    println!("pipelined: {granted} of {} granted", answers.len());
    Ok(())
}

async fn declare(limits: &Limits, name: &str, spec: impl Into<Spec>) -> Result<()> {
    // Deleted first, so that a former run leaves nothing behind.
    limits.delete_limit(name).send().await?;
    limits
        .set_limit(name, spec)
        .level_policy(LevelPolicy::Refill)
        .send()
        .await?;
    println!("declared {name}");
    Ok(())
}
