//! Tells the tests whether there is a `redis-server` to run them on: without one they are reported as ignored,
//! unless `TRELLIS_REQUIRE` lists `redis`, which makes its absence a failure. The build script of every package with
//! such tests.

use std::process::{Command, Stdio};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(no_redis)");
    println!("cargo::rerun-if-env-changed=PATH");
    println!("cargo::rerun-if-env-changed=TRELLIS_REQUIRE");
    let asked = std::env::var("TRELLIS_REQUIRE").unwrap_or_default();
    let required = asked.split(',').any(|name| name == "redis");
    let version = Command::new("redis-server")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if version.is_err() && !required {
        println!("cargo::rustc-cfg=no_redis");
    }
}
