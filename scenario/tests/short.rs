//! The short form: every process starts, and what does not depend on time holds.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure is a failed test, and its figures are printed"
)]

use std::process::{Command, Output};

/// The lines that the program prints.
fn short(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scenario"));
    let ran = command.arg("--short").args(arguments).output();
    let Output {
        status,
        stdout,
        stderr,
    } = ran.expect("the program runs");
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{status}\n{stdout}\n{stderr}");
    stdout
}

fn line<'a>(text: &'a str, start: &str) -> &'a str {
    let found = text.lines().find(|line| line.trim().starts_with(start));
    found.unwrap_or_else(|| panic!("no line {start:?}:\n{text}"))
}

#[test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
fn three_servers_pay_once_and_violate_nothing() {
    let text = short(&[]);
    println!("{text}");
    let hello = line(&text, "\"Hello\" at three servers at once, sharing");
    assert!(hello.ends_with(": 1 embedding calls"), "{hello}");
    let shares = line(&text, "a limit of 100 in 2 s");
    assert!(shares.ends_with("refused by the provider: 0"), "{shares}");
    assert_eq!(shares.matches("= 100").count(), 3, "{shares}");
    let sharing = line(&text, "sharing");
    assert!(sharing.contains("violations   0.0/min"), "{sharing}");
    assert!(sharing.contains("failed 0 "), "{sharing}");
    for column in ["alone", "embedded"] {
        assert!(line(&text, column).contains("failed 0 "), "{text}");
    }
    let target = line(&text, "- no rate-limit violation");
    assert!(target.contains("met, 0.0"), "{target}");
}
