//! The checker of jobs on histories whose truth is known: one that kept every promise is not accused, and each way to break one
//! is found, and nothing else.

use crate::jobs::checker::{Kind, check};
use crate::jobs::history::{
    Attempt, Heard, Held, History, Name, Outcome, Said, Sent, Stands, Word,
};
use trellis_proto::v1::JobState;

fn name(number: u64) -> Name {
    Name {
        submitter: 0,
        number,
    }
}

fn sent(number: u64) -> Sent {
    Sent {
        name: name(number),
        named: true,
        max_attempts: 3,
        times: 1,
        answers: vec![format!("job-{number}")],
        cancels: Vec::new(),
        told: Vec::new(),
    }
}

fn lease(number: u64, attempt: i32) -> String {
    format!("lease-{number}.{attempt}")
}

/// An attempt that is received at this time, in milliseconds, and ended a millisecond later.
fn attempt(number: u64, attempt: i32, at: u64, word: Option<Word>) -> Attempt {
    let time = at * 1_000;
    Attempt {
        job: format!("job-{number}"),
        name: name(number),
        lease: lease(number, attempt),
        life: 1,
        number: attempt,
        granted: time - 500,
        received: time,
        held: vec![Held {
            life: 1,
            from: time,
            until: time + 1_000,
        }],
        said: word.map(|word| Said {
            word,
            sent: time + 1_000,
            times: 1,
            heard: Heard::Done(time + 1_500),
        }),
    }
}

fn stands(number: u64, attempts: i32, state: JobState) -> Stands {
    let made = format!("made under {}", lease(number, attempts)).into_bytes();
    let succeeded = state == JobState::Succeeded;
    Stands {
        job: format!("job-{number}"),
        name: name(number),
        attempts,
        outcome: Outcome {
            state,
            result: if succeeded { made } else { Vec::new() },
        },
    }
}

/// One that is done at once, one at the second attempt, one that is given up, one that dies, and one that is taken back.
fn right() -> History {
    let mut history = History {
        sent: (0..5).map(sent).collect(),
        attempts: vec![
            attempt(0, 1, 100, Some(Word::Succeeded)),
            attempt(1, 1, 110, Some(Word::Failed)),
            attempt(1, 2, 120, Some(Word::Succeeded)),
            attempt(2, 1, 130, Some(Word::Given)),
            attempt(3, 1, 140, Some(Word::Failed)),
            attempt(3, 2, 150, Some(Word::Failed)),
            attempt(3, 3, 160, None),
        ],
        stands: vec![
            stands(0, 1, JobState::Succeeded),
            stands(1, 2, JobState::Succeeded),
            stands(2, 1, JobState::Failed),
            stands(3, 3, JobState::Dead),
            stands(4, 0, JobState::Cancelled),
        ],
    };
    history.sent[4].cancels = vec![Heard::Nothing];
    history.sent[1].told = vec![history.stands[1].outcome.clone()];
    history
}

/// What is found, and how many of each.
fn found(history: &History) -> Vec<Kind> {
    check(history).into_iter().map(|fault| fault.kind).collect()
}

#[track_caller]
fn only(change: impl FnOnce(&mut History), kinds: &[Kind]) {
    let mut history = right();
    change(&mut history);
    assert_eq!(found(&history), kinds, "{:?}", check(&history));
}

#[test]
fn a_history_that_kept_every_promise_is_not_accused() {
    only(|_| {}, &[]);
}

#[test]
fn a_job_that_was_acknowledged_and_does_not_stand_is_lost() {
    only(|it| drop(it.stands.pop()), &[Kind::Lost]);
}

#[test]
fn a_submission_that_nobody_answered_may_stand_or_not() {
    only(|it| it.sent[0].answers.clear(), &[]);
    only(
        |it| {
            it.sent[4].answers.clear();
            it.stands.pop();
        },
        &[],
    );
}

#[test]
fn two_jobs_of_one_request_are_found_whether_they_were_told_or_stand() {
    only(
        |it| it.sent[0].answers.push("job-9".into()),
        &[Kind::Doubled],
    );
    only(
        |it| {
            let again = Stands {
                job: "job-9".into(),
                ..stands(2, 1, JobState::Dead)
            };
            it.stands.push(Stands {
                attempts: 3,
                ..again
            });
        },
        &[Kind::Doubled],
    );
}

#[test]
fn a_job_of_nobody_is_foreign() {
    only(|it| it.stands[4].name.submitter = 7, &[Kind::Foreign]);
}

#[test]
fn a_job_that_has_not_ended_is_found() {
    only(
        |it| it.stands[4].outcome.state = JobState::Unspecified,
        &[Kind::Unfinished],
    );
}

#[test]
fn an_end_that_was_told_otherwise_has_changed() {
    only(
        |it| {
            it.sent[0].told.push(Outcome {
                state: JobState::Dead,
                result: Vec::new(),
            });
        },
        &[Kind::Changed],
    );
}

#[test]
fn an_end_that_nobody_made_is_unearned() {
    only(
        |it| it.stands[4].outcome.state = JobState::Failed,
        &[Kind::Unearned],
    );
    only(|it| it.sent[4].cancels.clear(), &[Kind::Unearned]);
}

#[test]
fn an_acknowledged_end_that_does_not_hold_is_ignored() {
    let other = |it: &mut History| {
        it.sent[2].cancels = vec![Heard::Nothing];
        it.stands[2].outcome.state = JobState::Cancelled;
    };
    only(other, &[Kind::Ignored]);
    only(
        |it| {
            other(it);
            if let Some(said) = &mut it.attempts[3].said {
                said.heard = Heard::Nothing;
            }
        },
        &[],
    );
}

#[test]
fn two_workers_at_once_are_found_and_one_after_the_other_is_not() {
    let early = |it: &mut History| {
        it.attempts[2].received = 110_500;
        it.attempts[2].granted = 110_400;
    };
    only(early, &[Kind::Shared]);
    only(
        |it| {
            early(it);
            it.attempts[2].life = 2;
        },
        &[],
    );
}

#[test]
fn an_attempt_after_the_acknowledged_end_is_found() {
    only(
        |it| it.attempts.push(attempt(0, 2, 200, None)),
        &[Kind::RanAgain],
    );
}

#[test]
fn attempts_are_counted() {
    only(|it| it.stands[3].attempts = 2, &[Kind::Miscounted]);
    only(|it| it.stands[0].attempts = 4, &[Kind::Miscounted]);
}
