//! Settings of the real binary: what it refuses before it binds a port, and what it prints.

use trellis_tests::daemon::command;

fn refused(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = command();
    command.args(arguments).envs(environment.iter().copied());
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!said.contains("serving"), "{said}");
    said
}

#[test]
fn a_bad_setting_is_refused_with_its_name_value_and_what_is_allowed() {
    for (arguments, environment, wanted) in [
        (
            &["--listen", "nowhere"][..],
            &[][..],
            &["listen", "nowhere"][..],
        ),
        (
            &["--listen", "0.0.0.0:7117"],
            &[],
            &["0.0.0.0:7117", "insecure"],
        ),
        (&[], &[("REDIS_PORT", "70000")], &["REDIS_PORT", "70000"]),
        (
            &[],
            &[("USE_DISTRIBUTED", "maybe")],
            &["USE_DISTRIBUTED", "maybe"],
        ),
        (
            &[],
            &[("USE_DISTRIBUTED", "yes")],
            &["USE_DISTRIBUTED", "not built yet"],
        ),
        (
            &[],
            &[("TRELLIS_LIMITS__MAX_WAITRES", "5")],
            &["TRELLIS_LIMITS__MAX_WAITRES"],
        ),
        (
            &["--config", "/no/such/file.toml"],
            &[],
            &["/no/such/file.toml"],
        ),
        (&["--no-such-flag"], &[], &["--no-such-flag"]),
    ] {
        let said = refused(arguments, environment);
        for part in wanted {
            assert!(said.contains(part), "{arguments:?} {environment:?}: {said}");
        }
    }
}

#[test]
fn the_result_of_all_layers_is_printed_without_secrets() {
    let mut command = command();
    command
        .args(["--dump-config"])
        .env("REDIS_PASSWORD", "hunter2")
        .env("REDIS_HOST", "10.0.0.7");
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}");
    assert!(
        printed.contains("10.0.0.7") && !printed.contains("hunter2"),
        "{printed}"
    );
}
