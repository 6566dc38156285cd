//! A hundred documents read by two worker processes, of which one is killed; then by one worker.
//!
//! `cargo run --release -p trellis-client --example ocr [address] [speed]`; the address is `http://127.0.0.1:7117` unless given. A
//! document takes 30 s, at a speed of 1; the default is 10.
//!
//! Each document has 30 pages. A worker tells of each, for whoever follows the job, and keeps a checkpoint after every tenth, so that
//! whoever gets the job next does not begin anew.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashSet;
use std::env;
use std::error::Error;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use tokio::time::{Instant, sleep};
use trellis_client::Client;
use trellis_client::jobs::{Attempt, Failure, Job, JobEvent, JobState, Queue};

const DOCUMENTS: usize = 100;
const PAGES: u32 = 30;
const PLACES: usize = 10;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How the example was started: itself, or as a worker of a queue.
struct Arguments {
    address: String,
    speed: f64,
    worker: Option<(String, String)>,
}

impl Arguments {
    fn read() -> Result<Self> {
        let mut given = env::args().skip(1);
        let address = given.next();
        let speed: f64 = given.next().map_or(Ok(10.0), |speed| speed.parse())?;
        if !(0.01..=1_000.0).contains(&speed) {
            return Err("the speed must be 0.01 to 1000".into());
        }
        Ok(Self {
            address: address.unwrap_or_else(|| "http://127.0.0.1:7117".into()),
            speed,
            worker: given.next().zip(given.next()),
        })
    }

    fn page(&self) -> Duration {
        Duration::from_secs(1).div_f64(self.speed)
    }

    /// Starts this program as a worker. It ends when its input does.
    fn start_worker(&self, queue: &Queue, name: &str) -> Result<Child> {
        let mut command = Command::new(env::current_exe()?);
        command.args([&self.address, &self.speed.to_string()]);
        command.args([queue.name(), name]).stdin(Stdio::piped());
        Ok(command.spawn()?)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::read()?;
    let client = Client::connect(arguments.address.clone()).await?;
    if let Some((queue, name)) = &arguments.worker {
        return work(&client.queue(queue), name, arguments.page()).await;
    }
    println!(
        "{DOCUMENTS} documents of {:.1?}, workers of {PLACES} places",
        PAGES * arguments.page()
    );
    let queue = client.queue(format!("ocr.two.{}", std::process::id()));
    let two = with_a_death(&arguments, &queue).await?;
    let queue = client.queue(format!("ocr.one.{}", std::process::id()));
    let mut worker = arguments.start_worker(&queue, "alone")?;
    let since = Instant::now();
    let jobs = submit(&queue).await?;
    finish(jobs, since, |_| {}).await?;
    let one = since.elapsed();
    end(&mut worker)?;
    println!("two workers, one of them killed: {two:.1?}; one worker: {one:.1?}");
    Ok(())
}

/// The worker process.
async fn work(queue: &Queue, name: &str, page: Duration) -> Result<()> {
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    let worker = queue.worker().name(name).concurrency(PLACES);
    let worker = worker.shutdown(async { drop(ended.await) });
    let read = move |attempt: Attempt<usize>| async move {
        let begin = attempt.checkpoint()?.unwrap_or(0);
        for done in begin + 1..=PAGES {
            tokio::select! {
                () = sleep(page) => {}
                _ = attempt.cancelled() => return Err(Failure::give_back()),
            }
            attempt.report(done.into(), u64::from(PAGES), "").await?;
            if done % 10 == 0 {
                attempt.progress(&done).await?;
            }
        }
        Ok(PAGES - begin)
    };
    Ok(worker.run(read).await?)
}

/// Two workers, of which one is killed when half of it is done. Tells how long all of it took.
async fn with_a_death(arguments: &Arguments, queue: &Queue) -> Result<Duration> {
    let mut survivor = arguments.start_worker(queue, "survivor")?;
    let mut victim = arguments.start_worker(queue, "victim")?;
    let since = Instant::now();
    let jobs = submit(queue).await?;
    let (first, is_time) = tokio::sync::oneshot::channel();
    let mut first = Some(first);
    let finishing = finish(jobs, since, |done| {
        if done == DOCUMENTS / 2
            && let Some(first) = first.take()
        {
            let _ = first.send(());
        }
    });
    let death = async {
        is_time.await?;
        kill(queue, &mut victim).await
    };
    tokio::try_join!(finishing, death)?;
    let took = since.elapsed();
    end(&mut survivor)?;
    let twice = queue.list().all().await?;
    let twice = twice.iter().filter(|job| job.attempts > 1).count();
    println!("{twice} documents needed a second attempt");
    Ok(took)
}

/// Kills a worker, and tells how long its jobs take to run again.
async fn kill(queue: &Queue, victim: &mut Child) -> Result<()> {
    let running = queue.list().state(JobState::Running);
    let all = running.clone().all().await?.into_iter();
    let by_victim = |worker: &str| worker == "victim";
    let lost = all.filter(|job| job.lease.as_ref().is_some_and(|it| by_victim(&it.worker)));
    let lost: HashSet<String> = lost.map(|job| job.id).collect();
    victim.kill()?;
    victim.wait()?;
    let since = Instant::now();
    println!("a worker with {} jobs is killed", lost.len());
    let mut noticed = false;
    loop {
        let now = running.clone().all().await?;
        let mut leases = now
            .iter()
            .filter_map(|job| Some((job, job.lease.as_ref()?)));
        if !noticed && !leases.clone().any(|(_, lease)| by_victim(&lease.worker)) {
            noticed = true;
            println!("its jobs are free after {:.2?}", since.elapsed());
        }
        let again = leases.any(|(job, lease)| lost.contains(&job.id) && !by_victim(&lease.worker));
        if noticed && (again || lost.is_empty()) {
            println!("the first one runs again after {:.2?}", since.elapsed());
            return Ok(());
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Submits all documents, one after the other, and tells how long that takes for each.
async fn submit(queue: &Queue) -> Result<Vec<Job>> {
    let (mut jobs, mut latencies) = (Vec::new(), Vec::new());
    for document in 0..DOCUMENTS {
        let since = Instant::now();
        let submitted = queue.submit(&document).await?;
        latencies.push(since.elapsed());
        jobs.push(submitted.job);
    }
    latencies.sort_unstable();
    let (p50, p99) = (latencies[DOCUMENTS / 2], latencies[DOCUMENTS * 99 / 100]);
    println!("a submission takes {p50:.2?} (p50), {p99:.2?} (p99)");
    Ok(jobs)
}

/// Follows all documents to their ends; tells how far it is, page by page.
async fn finish(jobs: Vec<Job>, since: Instant, mut told: impl FnMut(usize)) -> Result<()> {
    let streams = jobs.iter().enumerate().map(|(document, job)| {
        let events = job.stream().into_stream();
        events.map(move |event| (document, event))
    });
    let mut events = stream::select_all(streams);
    let mut pages = vec![0; DOCUMENTS];
    let (mut done, mut kept, mut shown) = (0, 0, 0);
    while let Some((document, event)) = events.next().await {
        match event? {
            JobEvent::Progress(progress) => pages[document] = progress.done,
            JobEvent::Ended { job, result } => {
                if job.state != JobState::Succeeded {
                    return Err(
                        format!("document {document}: {:?} {}", job.state, job.error).into(),
                    );
                }
                pages[document] = PAGES.into();
                kept += PAGES - serde_json::from_slice::<u32>(&result)?;
                done += 1;
                told(done);
            }
            // The next attempt tells where it begins.
            _ => {}
        }
        let (read, all) = (pages.iter().sum(), u64::from(PAGES) * DOCUMENTS as u64);
        if read >= shown + all / 10 {
            shown = read;
            let after = since.elapsed();
            println!("{read} of {all} pages are read, {done} documents done, after {after:.1?}");
        }
    }
    if kept > 0 {
        println!("{kept} pages came from checkpoints");
    }
    Ok(())
}

/// Lets a worker end.
fn end(worker: &mut Child) -> Result<()> {
    drop(worker.stdin.take());
    let ended = worker.wait()?;
    if !ended.success() {
        return Err("a worker has failed".into());
    }
    Ok(())
}
