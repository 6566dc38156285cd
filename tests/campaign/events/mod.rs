//! `just campaign events`: whether events keep what they promise when the daemon is killed at any moment.
//!
//! A daemon on a folder on disk is killed by SIGKILL and started again there, under the load of 16 publishers on streams, of a
//! subscriber of each topic that goes on from its last cursor, and of groups whose members acknowledge, give back, forget and are gone. What
//! all of them saw is held against what was promised, by a checker that shares no code with events.
//!
//! Files: `run` a run, `field` what its clients share, `publisher`, `reader` and `member` the
//! clients, `history` what they write down, `checker` what must be so, `report` the figures.

pub mod checker;
mod field;
pub mod history;
mod member;
mod publisher;
mod reader;
pub mod report;
pub mod run;
