# Routine tasks. `just` lists them.

# Where tests/run puts buf and grpcurl, which some tasks need: run it once.
tools := justfile_directory() / ".tools"
export PATH := tools / "bin:" + tools / "node_modules/.bin:" + env_var("PATH")

[private]
default:
    @just --list --unsorted

# Start the daemon with default settings.
serve *arguments:
    cargo run --release --bin trellisd -- {{arguments}}

# Everything that must pass before a change lands: what CI runs.
verify:
    tests/run

# Format the sources.
fmt:
    cargo fmt --all

# Lint sources and contract.
lint:
    cargo clippy --workspace --all-targets -- --deny warnings
    buf lint

# Run the tests, or those whose name contains NAME.
test *name:
    cargo test --workspace {{name}}

# Compare the contract with that of main: no change may break a client.
breaking:
    buf breaking --against '.git#branch=main'

# Measure limits, cache, locks, events, jobs or log, or parts of one: `just bench limits streams` prints ratios to baselines measured in the same run.
bench name *parts:
    cargo build --release --bin trellisd
    cargo bench --package trellis-tests --bench {{name}} -- {{parts}}

# Break the daemons, and what they stand on, under load, and hold what clients saw against what is promised: `just campaign limits`, `events` or `jobs`.
campaign name *arguments:
    cargo build --release --bin trellisd
    cargo bench --package trellis-tests --bench campaign -- {{name}} {{arguments}}

# Three servers alone, and sharing, beside the guide's table: half an hour; `just scenario --short` takes seconds.
scenario *arguments:
    cargo build --release --bin trellisd --bin scenario
    ${CARGO_TARGET_DIR:-target}/release/scenario {{arguments}}

# Open the documentation of the crates.
docs:
    cargo doc --workspace --no-deps --open
