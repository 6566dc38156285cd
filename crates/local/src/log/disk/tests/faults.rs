//! Faults, kills and power cuts at any call: what was acknowledged is there, in order, once; what was refused is not;
//! what is unknown is there as a whole or not at all.

use super::history::{History, PARTITIONS};
use super::life::{Life, options};
use super::sim::{Lie, Odds, Sim};
use crate::log::disk::OpenError;
use trellis_conformance::leases::Random;

/// What a run has seen.
#[derive(Debug, Default)]
struct Figures {
    acknowledged: usize,
    refused: usize,
    unknown: usize,
    crashes: usize,
    kills: usize,
    failed_openings: usize,
}

/// Several lives of one log by a seed.
fn run(seed: u64, promise: Lie, figures: &mut Figures) -> Result<(), String> {
    let mut random = Random::new(seed);
    let sim = Sim::new(seed ^ 0x5eed);
    sim.lie(promise);
    let mut history = History::default();
    for _ in 0..8 {
        let mut life = open(&sim, &mut random, figures)?;
        sim.quietly(|| history.check(&life, true))?;
        sim.odds(odds(&mut random));
        if random.percent(40) {
            sim.stop_after(random.between(0, 60));
        }
        for _ in 0..random.between(1, 25) {
            step(&mut life, &mut history, &mut random);
            if random.percent(10) {
                sim.quietly(|| history.check(&life, false))?;
            }
        }
        match random.index(3) {
            0 => {
                life.writer.end();
                sim.kill();
                figures.kills += 1;
            }
            1 => {
                sim.kill();
                figures.kills += 1;
            }
            _ => {
                sim.crash();
                figures.crashes += 1;
            }
        }
    }
    let life = Life::open(&sim, options()).map_err(|error| error.to_string())?;
    history.check(&life, true)?;
    figures.acknowledged += history.acknowledged;
    figures.refused += history.refused;
    figures.unknown += history.unknown;
    Ok(())
}

fn odds(random: &mut Random) -> Odds {
    let mut odds = Odds {
        short: 2,
        ..Odds::default()
    };
    match random.index(5) {
        0 => odds.write = 15,
        1 => odds.sync = 15,
        2 => odds.name = 30,
        3 => (odds.write, odds.sync, odds.name) = (10, 10, 10),
        _ => {}
    }
    odds
}

/// Opens the log, perhaps not at the first try.
fn open(sim: &Sim, random: &mut Random, figures: &mut Figures) -> Result<Life, String> {
    if random.percent(30) {
        sim.odds(odds(random));
        sim.stop_after(random.between(0, 40));
        match Life::open(sim, options()) {
            Ok(_) | Err(OpenError::Io { .. }) => figures.failed_openings += 1,
            Err(error) => return Err(error.to_string()),
        }
        if random.percent(50) {
            sim.crash();
        } else {
            sim.kill();
        }
    }
    Life::open(sim, options()).map_err(|error| error.to_string())
}

/// One thing that a daemon does with its log.
fn step(life: &mut Life, history: &mut History, random: &mut Random) {
    match random.index(10) {
        0 => {
            let partition = u32::try_from(random.index(PARTITIONS as usize)).unwrap();
            let bounds = life.bounds(partition);
            let before = random.between(bounds.start.0, bounds.end.0 + 1);
            let answer = life.trim(partition, before);
            history.trimmed(partition, before, &answer);
            life.writer.sweep();
        }
        1 => life.writer.roll(),
        _ => {
            let mut group = Vec::new();
            let mut asked = Vec::new();
            for _ in 0..random.between(1, 6) {
                let partition = u32::try_from(random.index(PARTITIONS as usize)).unwrap();
                let most = if random.percent(10) { 4_000 } else { 200 };
                let sizes: Vec<usize> = (0..random.between(1, 4))
                    .map(|_| random.index(most))
                    .collect();
                let records = history.next(&sizes);
                asked.push(history.ask(partition, records.clone()));
                group.push((partition, records));
            }
            for (id, answer) in asked.into_iter().zip(life.append(group)) {
                history.answered(id, &answer);
            }
        }
    }
}

/// How many seeds are tried; more by `TRELLIS_SEEDS`.
fn seeds() -> u64 {
    let asked = std::env::var("TRELLIS_SEEDS").ok();
    asked.and_then(|seeds| seeds.parse().ok()).unwrap_or(150)
}

#[test]
fn what_was_acknowledged_is_there_and_nothing_is_half_there_whatever_fails() {
    let mut figures = Figures::default();
    for seed in 0..seeds() {
        if let Err(what) = run(seed, Lie::None, &mut figures) {
            panic!("seed {seed}: {what}");
        }
    }
    // The run has met what it is about.
    assert!(figures.acknowledged > 5_000, "{figures:?}");
    assert!(figures.refused > 200 && figures.unknown > 40, "{figures:?}");
    assert!(figures.crashes > 200 && figures.kills > 200, "{figures:?}");
    assert!(figures.failed_openings > 100, "{figures:?}");
}

#[test]
fn the_check_finds_out_a_disk_that_does_not_keep_what_it_has_synced() {
    for lie in [Lie::Data, Lie::Names] {
        let mut figures = Figures::default();
        let found = (0..50).find(|seed| run(*seed, lie, &mut figures).is_err());
        assert!(found.is_some(), "{lie:?} was not found out");
    }
}
