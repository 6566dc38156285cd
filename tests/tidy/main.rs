//! The tree keeps its own rules: headers, sizes, dependencies, banned calls.
//!
//! A failed check says what to change. Exceptions stand here, each with its reason.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: a failure is a failed test"
)]

mod dependencies;
mod sources;

use std::path::PathBuf;
use std::process::Command;

/// The root of the repository.
fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Paths of all files of the tree, known to git or not, but for the ignored ones.
fn files() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        listed.status.success(),
        "git ls-files failed: the tidy test needs a git checkout"
    );
    let listed = String::from_utf8(listed.stdout).unwrap();
    listed
        .lines()
        .filter(|path| root().join(path).is_file())
        .map(str::to_owned)
        .collect()
}

/// Fails with all findings at once.
fn none(findings: &[String], how_to_fix: &str) {
    assert!(
        findings.is_empty(),
        "\n{}\n=> {how_to_fix}\n",
        findings.join("\n")
    );
}
