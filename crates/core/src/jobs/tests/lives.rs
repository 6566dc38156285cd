//! Random lives, and what is there after a crash at any record.

use super::super::*;
use super::checkpoints::replayed;
use super::harness::*;
use super::world::{Broken, Figures, Held, World};
use crate::log::{Offset, Record};
use std::collections::BTreeMap;

/// Lives of one seed. The seed is in what is told of a failure, and gives the same again.
fn live(seed: u64, broken: Broken, steps: usize) -> Result<Figures, String> {
    let mut world = World::new(seed, broken);
    for step in 0..steps {
        world
            .step()
            .map_err(|error| format!("seed {seed}, step {step}: {error}"))?;
    }
    Ok(world.figures)
}

#[test]
fn random_lives_keep_every_promise() {
    let mut sum = Figures::default();
    for seed in 1..=16 {
        let figures = live(seed, Broken::Nothing, 600).unwrap();
        sum.owners += figures.owners;
        sum.deposed += figures.deposed;
        sum.submitted += figures.submitted;
        sum.ended += figures.ended;
        sum.copies += figures.copies;
        sum.late += figures.late;
        sum.checkpoints += figures.checkpoints;
        sum.chunks += figures.chunks;
        sum.settled += figures.settled;
        sum.batches += figures.batches;
    }
    // Everything that may happen has.
    assert!(sum.owners > 100 && sum.deposed > 40, "{sum:?}");
    assert!(sum.submitted > 1_000 && sum.ended > 500, "{sum:?}");
    assert!(sum.copies > 200 && sum.late > 200, "{sum:?}");
    assert!(sum.checkpoints > 10, "{sum:?}");
    assert!(sum.chunks > 50 && sum.settled > 50, "{sum:?}");
    assert!(sum.batches > 50, "{sum:?}");
}

#[test]
fn a_rule_that_is_broken_is_found_out() {
    for broken in [
        Broken::Epochs,
        Broken::Copies,
        Broken::Leases,
        Broken::Trims,
    ] {
        let found = (1..=20).any(|seed| live(seed, broken, 600).is_err());
        assert!(found, "{broken:?}");
    }
}

/// A new owner ends what the last one has begun, and runs every job to its end.
fn run_to_the_end(log: &mut Vec<Record>) -> Result<BTreeMap<JobId, JobState>, String> {
    let (mut fold, _) = replayed(log, 0);
    let mut outcomes: BTreeMap<JobId, JobState> = BTreeMap::new();
    let number = fold.epoch().map_or(0, |epoch| epoch.number) + 1;
    let owner = u64::MAX;
    let mut now = fold.time();
    let mut writer = JobWriter::new(Epoch { number, owner }, now);
    let mut put = |fold: &mut JobFold, record: &JobRecord, now| -> Held {
        let record = writer.write(record, now);
        let (offset, entry) = (Offset(log.len() as u64), Entry::decode(&record).unwrap());
        let mut changes = Vec::new();
        fold.apply(offset, &entry, &mut changes);
        log.push(record);
        for change in changes {
            let state = change.state.filter(|state| state.is_ended());
            if let Some(state) = state
                && outcomes.insert(change.job, state).is_some()
            {
                return Err(format!("{} ended twice", change.job));
            }
        }
        Ok(())
    };
    put(&mut fold, &JobRecord::EpochStart, now)?;
    for name in ["ocr", "mail"] {
        let (queue, spec) = (queue(name), QueueSpec::default());
        put(&mut fold, &JobRecord::QueueSet { queue, spec }, now)?;
    }
    loop {
        let queues = [queue("ocr"), queue("mail")];
        let jobs = queues.iter().flat_map(|queue| fold.jobs_of(queue, None));
        let mut open: Vec<_> = jobs.filter(|(_, job)| !job.state().is_ended()).collect();
        open.sort_by_key(|(_, job)| job.state());
        let Some((job, it)) = open.last() else {
            return Ok(outcomes);
        };
        let (job, worker) = (*job, worker());
        // Of a batch others may go first, and one that joined another may wait for its back-off.
        let next = fold.next(fold.queue_of(it)).next();
        let record = match (it.lease().map(|lease| lease.id), next) {
            (Some(lease), _) => JobRecord::Ended {
                job,
                lease,
                how: AttemptEnd::Succeeded(bytes::Bytes::new()),
            },
            (None, Some(job)) => JobRecord::Leased {
                job,
                worker,
                reservation: None,
            },
            _ => {
                now = fold.next_due().ok_or("nothing is due")?.max(now);
                JobRecord::Tick
            }
        };
        put(&mut fold, &record, now)?;
    }
}

#[test]
fn after_a_crash_at_any_record_every_job_ends_once_and_as_it_was_told() {
    for seed in 100..102 {
        let mut world = World::new(seed, Broken::Nothing);
        for _ in 0..400 {
            world.step().unwrap();
        }
        for crash in (1..world.log.len()).step_by(3) {
            let mut log = world.log[..crash].to_vec();
            let (before, _) = replayed(&log, 0);
            let queues = [queue("ocr"), queue("mail")];
            let known = queues.iter().flat_map(|queue| before.jobs_of(queue, None));
            let known: Vec<(JobId, JobState)> = known.map(|(id, job)| (id, job.state())).collect();
            let outcomes = run_to_the_end(&mut log)
                .unwrap_or_else(|error| panic!("seed {seed}, crash at {crash}: {error}"));
            for (job, state) in known {
                let ended = outcomes.contains_key(&job);
                assert_ne!(ended, state.is_ended(), "seed {seed}, crash at {crash}");
            }
        }
    }
}

#[test]
fn a_tail_that_the_log_loses_under_its_owner_is_told_to_the_next_one() {
    for lost in 1..5 {
        let mut run = Run::new();
        for _ in 0..5 {
            run.submit(&spec());
        }
        run.log.truncate(run.log.len() - lost);
        run.submit(&spec());
        let (again, _) = replayed(&run.log, 0);
        assert_eq!(again.lost(), lost as u64);
        assert_eq!(again.len(), 6 - lost);
    }
}
