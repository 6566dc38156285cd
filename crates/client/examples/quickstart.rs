//! The README's example: reserve what a call may cost, settle what it did cost.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;
use trellis_client::{Acquired, Actual, Charge, Client, Spec};

const MINUTE: Duration = Duration::from_mins(1);

#[tokio::main]
async fn main() -> trellis_client::Result<()> {
    let limits = Client::connect("http://127.0.0.1:7117").await?.limits();
    for call in 1..=3 {
        // One request and an estimate of its tokens: both or neither.
        let acquire = limits
            .acquire()
            .charge(Charge::new("rust.requests", 1).spec(Spec::window(2, MINUTE)))
            .charge(Charge::new("rust.tokens", 900).spec(Spec::rate(10_000, MINUTE)))
            .reserve(MINUTE);
        match acquire.send().await? {
            Acquired::Granted(grant) => {
                let Some(reservation) = grant.reservation else {
                    continue;
                };
                // ... the call to the provider goes here; it used 250 tokens.
                let settled = reservation
                    .settle([Actual::new("rust.tokens", 250)])
                    .await?;
                println!("call {call}: {} tokens back", settled.charges[1].refunded);
            }
            refused => {
                let wait = refused.retry_after().unwrap_or_default();
                println!("call {call}: refused, again in {} s", wait.as_secs());
            }
        }
    }
    Ok(())
}
