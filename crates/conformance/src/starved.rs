//! Cases on real time, on a machine that may be busy with something else.
//!
//! Such a case holds only where calls take far less time than the periods that it lets pass. Where it has
//! failed while the machine was short of processors (pressure stall information, `/proc/pressure/cpu`: some
//! task was ready and waited), the failure says nothing: the case is made again, alone. One that fails on a
//! machine with time to spare has failed.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "how busy the machine was is real time, and told to whoever reads the output of the tests"
)]

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::RwLock;

/// From this share of the time on that some task waited for a processor, a failure is not believed. A suite
/// alone on two processors stays below it.
const STARVED: f64 = 0.7;

/// How often a case may be made.
const ATTEMPTS: usize = 4;

/// Cases that are made again are made alone.
static ALONE: RwLock<()> = RwLock::const_new(());

/// Runs a case on real time.
pub async fn on_real_time(case: impl AsyncFn()) {
    for attempt in 1..=ATTEMPTS {
        let began = (Instant::now(), stalled());
        let ended = if attempt == 1 {
            let _with_others = ALONE.read().await;
            caught(case()).await
        } else {
            let _alone = ALONE.write().await;
            caught(case()).await
        };
        let Err(panic) = ended else { return };
        let share = share_since(began);
        if attempt == ATTEMPTS || share < STARVED {
            resume_unwind(panic);
        }
        eprintln!(
            "{}: attempt {attempt} failed while tasks waited for a processor {:.0} % of the time",
            thread::current().name().unwrap_or("a case"),
            share * 100.0
        );
    }
}

async fn caught(case: impl Future<Output = ()>) -> thread::Result<()> {
    let mut case = pin!(case);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| case.as_mut().poll(context)));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await
}

fn share_since((then, before): (Instant, Option<Duration>)) -> f64 {
    match (before, stalled()) {
        (Some(before), Some(now)) => {
            now.saturating_sub(before).as_secs_f64() / then.elapsed().as_secs_f64().max(1e-6)
        }
        _ => 0.0,
    }
}

/// For how long some task has waited for a processor, since the machine started.
fn stalled() -> Option<Duration> {
    let pressure = std::fs::read_to_string("/proc/pressure/cpu").ok()?;
    let some = pressure.lines().find(|line| line.starts_with("some"))?;
    let total = some.split("total=").nth(1)?.trim();
    Some(Duration::from_micros(total.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_case_that_passes_is_made_once() {
        let made = AtomicUsize::new(0);
        on_real_time(async || {
            made.fetch_add(1, Ordering::Relaxed);
        })
        .await;
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_case_that_always_fails_fails_however_busy_the_machine_is() {
        let ended = caught(on_real_time(async || panic!("no"))).await;
        assert_eq!(ended.unwrap_err().downcast_ref::<&str>(), Some(&"no"));
    }
}
