//! `just campaign jobs`: whether jobs keep what they promise when the daemon is killed at any moment.
//!
//! A daemon on a folder on disk is killed by SIGKILL and started again there, while submitters submit, repeat, take back and ask, and
//! workers on streams and by single calls finish, fail, give up, forget and are gone. What all of them saw is held against what was
//! promised, by a checker that shares no code with jobs.
//!
//! Files: `run` a run, `field` what its clients share, `submitter`, `caller` and `streamer` the clients, `working` what workers do,
//! `history` what they write down, `checker` what must be so, `report` the figures.

mod caller;
pub mod checker;
mod field;
pub mod history;
pub mod report;
pub mod run;
mod streamer;
mod submitter;
mod working;
