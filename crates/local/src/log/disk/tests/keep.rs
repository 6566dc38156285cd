//! What goes by age, and the files that go with it.

use super::life::{Life, options, record};
use super::sim::Sim;
use crate::log::Retention;
use crate::log::disk::DiskLogOptions;
use trellis_core::{Micros, Time};

#[test]
fn records_that_are_too_old_go_with_their_files_and_offsets_go_on() {
    let sim = Sim::new(1);
    let by_age = Retention {
        max_bytes: None,
        max_age: Some(Micros::from_secs(1)),
    };
    let options = || DiskLogOptions {
        retention: vec![by_age],
        ..options()
    };
    let mut life = Life::open(&sim, options()).unwrap();
    let mut times = Vec::new();
    for _ in 0..10 {
        let answers = life.append(vec![(0, vec![record(vec![b'x'; 5_000])])]);
        times.push(answers[0].as_ref().unwrap().time);
    }
    let answers = life.append(vec![(
        1,
        vec![record("of a partition that keeps everything")],
    )]);
    let time = answers[0].as_ref().unwrap().time;
    assert!(life.writer.shared.state.lock().sealed.len() >= 2);
    life.writer.retain(times[5] + Micros::from_secs(1));
    let bounds = life.bounds(0);
    assert!((1..=5).contains(&bounds.start.0), "{bounds:?}");
    assert_eq!(bounds.end.0, 10);
    life.writer.retain(time + Micros::from_secs(2));
    assert_eq!(life.bounds(0).start.0, 10);
    drop(life);
    let mut life = Life::open(&sim, options()).unwrap();
    assert_eq!(life.bounds(0).start.0, 10);
    assert_eq!(life.read_all(1).unwrap().len(), 1);
    // One file is left for the record that stays, and one is being written.
    assert_eq!(life.writer.shared.state.lock().sealed.len(), 1);
    let appended = life
        .append(vec![(0, vec![record("next")])])
        .remove(0)
        .unwrap();
    assert_eq!(appended.first.0, 10);
    assert!(appended.time > Time(0));
}
