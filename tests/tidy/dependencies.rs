//! The dependency table of ARCHITECTURE.md is what `cargo metadata` says.

use crate::{none, root};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::collections::{BTreeMap, BTreeSet};

/// Each driver and the only crates that may know it.
const DRIVERS: [(&str, &[&str]); 7] = [
    ("fred", &["trellis-redis"]),
    (
        "tonic",
        &[
            "trellis-proto",
            "trellis-service",
            "trellis-daemon",
            "trellis-client",
            "trellis-conformance",
            "trellis-tests",
        ],
    ),
    ("figment", &["trellis-daemon"]),
    ("axum", &["trellis-daemon", "trellis-scenario"]),
    (
        "hdrhistogram",
        &["trellis-service", "trellis-scenario", "trellis-tests"],
    ),
    ("jiff", &["trellis-core"]),
    (
        "tokio",
        &[
            "trellis-redis",
            "trellis-resilience",
            "trellis-engine",
            "trellis-local",
            "trellis-service",
            "trellis-daemon",
            "trellis-client",
            "trellis-conformance",
            "trellis-scenario",
            "trellis-tests",
        ],
    ),
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap()
}

/// The normal dependencies of every package of the workspace.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let packages = metadata().packages.into_iter().map(|package| {
        let normal = package
            .dependencies
            .iter()
            .filter(|to| to.kind == DependencyKind::Normal);
        (
            package.name.to_string(),
            normal.map(|to| to.name.clone()).collect(),
        )
    });
    packages.collect()
}

/// The rows of the table under "Dependencies": a crate and the crates of ours that it may use.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let section = text
        .split("## Dependencies")
        .nth(1)
        .expect("ARCHITECTURE.md has no Dependencies");
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = |cell: &str| -> BTreeSet<String> {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    rows.filter_map(|row| {
        let (name, rest) = row.split_once('`')?;
        let cell = rest.split('|').nth(1)?;
        Some((name.to_owned(), names(cell)))
    })
    .collect()
}

#[test]
fn the_dependency_table_is_true() {
    let ours: BTreeSet<String> = dependencies().keys().cloned().collect();
    let actual: BTreeMap<_, BTreeSet<_>> = dependencies()
        .into_iter()
        .map(|(name, to)| (name, to.intersection(&ours).cloned().collect()))
        .collect();
    assert_eq!(
        table(),
        actual,
        "ARCHITECTURE.md (left) and cargo metadata (right) differ"
    );
}

#[test]
fn each_driver_is_known_only_where_it_belongs() {
    let mut found = Vec::new();
    for (name, dependencies) in dependencies() {
        for (driver, allowed) in DRIVERS {
            if dependencies.contains(driver) && !allowed.contains(&name.as_str()) {
                found.push(format!("{name} depends on {driver}"));
            }
        }
    }
    none(
        &found,
        "go through the port, or through the crate that owns the driver",
    );
}
