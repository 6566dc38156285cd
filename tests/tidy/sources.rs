//! Rules about the text of source files.

use crate::{files, none, root};
use std::path::Path;

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;

/// Where a suite whose backend is missing is reported as ignored, which is what it is.
const MISSING_BACKEND: &str = "crates/conformance/src/limits/suite.rs";

/// Every Rust file and its text.
fn sources() -> Vec<(String, String)> {
    let sources = files()
        .into_iter()
        .filter(|path| Path::new(path).extension() == Some("rs".as_ref()));
    let read = |path: String| {
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        (path, text)
    };
    let sources: Vec<_> = sources.map(read).collect();
    assert!(sources.len() > 50, "the tidy test does not see the tree");
    sources
}

#[test]
fn every_file_opens_with_what_it_is() {
    let bare: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    none(
        &bare,
        "open the file with a `//!` header: what it is, guarantees, leaves to others",
    );
}

#[test]
fn files_and_functions_stay_small() {
    let mut large = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > MAX_FILE_LINES {
            large.push(format!("{path}: {lines} lines"));
        }
        for (name, line, length) in functions(&text) {
            if length > MAX_FUNCTION_LINES {
                large.push(format!("{path}:{line}: {name} has {length} lines"));
            }
        }
    }
    none(
        &large,
        "split it: a file has at most 500 lines and one reason to exist, a function 70",
    );
}

/// Name, first line and length of every function. rustfmt puts the closing brace below the opening
/// line's first column, which is all that this relies on.
fn functions(text: &str) -> Vec<(&str, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut functions = Vec::new();
    for (first, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let words = code
            .split_whitespace()
            .take_while(|word| !word.starts_with('"'));
        let modifiers = ["pub", "pub(crate)", "pub(super)", "const", "async"];
        let mut words = words.skip_while(|word| modifiers.contains(word));
        if words.next() != Some("fn") {
            continue;
        }
        let end = lines[first..].iter().position(|line| {
            line.len() - line.trim_start().len() == indent && line.trim_start().starts_with('}')
        });
        let name = words.next().unwrap_or_default();
        functions
            .extend(end.map(|end| (name.split('(').next().unwrap_or(name), first + 1, end + 1)));
    }
    functions
}

#[test]
fn nothing_is_left_for_later_and_no_test_waits_for_a_time() {
    // Assembled, so that this file does not find itself.
    let banned: Vec<(String, &str)> = vec![
        (format!("{}!(", "todo"), "finish it"),
        (format!("{}!(", "unimplemented"), "finish it"),
        (format!("// {}", "TODO"), "do it, or file an issue"),
        (format!("// {}", "FIXME"), "fix it"),
        (
            format!("#[{}", "ignore"),
            "a test that does not run proves nothing",
        ),
        (format!("thread::{}(", "sleep"), "wait for an event"),
    ];
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (line, code) in text.lines().enumerate() {
            for (call, why) in &banned {
                if code.contains(call.as_str()) && path != MISSING_BACKEND {
                    found.push(format!("{path}:{}: {call} ({why})", line + 1));
                }
            }
            let in_tests = path.contains("tests/") || path.contains("conformance/");
            let sleep = format!("time::{}(", "sleep");
            if in_tests && code.contains(&sleep) && !path.ends_with("tidy/sources.rs") {
                found.push(format!("{path}:{}: {sleep} (wait for an event)", line + 1));
            }
        }
    }
    none(&found, "see the reason beside each");
}

#[test]
fn the_tree_speaks_of_itself_alone() {
    let mut found = Vec::new();
    let machine = ["work", "root", "home"].map(|folder| format!("/{folder}/"));
    for path in files() {
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else {
            continue;
        };
        for (line, code) in text.lines().enumerate() {
            if machine.iter().any(|folder| code.contains(folder.as_str())) {
                found.push(format!("{path}:{}: {}", line + 1, code.trim()));
            }
        }
    }
    none(&found, "name no path of a machine");
}

#[test]
fn the_readme_lists_every_setting_with_its_default() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let (readme, settings) = (read("README.md"), read("deploy/trellis.toml"));
    let mut group = String::new();
    let mut missing = Vec::new();
    for line in settings.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            group = format!("{name}.");
        } else if let Some((name, default)) = line.split_once(" = ") {
            let default = match default.trim_matches('"') {
                "" | "[]" => "none",
                default => default,
            };
            let row = format!("| `{group}{name}` | {default} |");
            if !readme.contains(&row) {
                missing.push(row);
            }
        }
    }
    none(&missing, "bring the settings table of README.md up to date");
}

#[test]
fn no_event_awaits() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (line, arguments) in events(&text) {
            if arguments.contains(".await") {
                found.push(format!("{path}:{line}"));
            }
        }
    }
    none(
        &found,
        "bind the awaited value first: an event that the level leaves out evaluates no field",
    );
}

/// First line and arguments of every event or span, `tracing::info!(…)` and its kin.
fn events(text: &str) -> Vec<(usize, &str)> {
    let mut events = Vec::new();
    for (start, prefix) in text.match_indices("tracing::") {
        let rest = &text[start + prefix.len()..];
        let name = rest
            .bytes()
            .take_while(|byte| byte.is_ascii_lowercase() || *byte == b'_');
        let Some(inside) = rest[name.count()..].strip_prefix("!(") else {
            continue;
        };
        let line = text[..start].lines().count();
        events.extend(closing(inside).map(|end| (line, &inside[..end])));
    }
    events
}

/// Where the parenthesis that is open already closes. Parentheses in string literals do not count.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quoted, mut escaped) = (1, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

#[test]
fn an_event_ends_where_its_own_parenthesis_closes() {
    // Assembled, so that this file does not find itself.
    let event = format!(
        "\n  {}::info!(a = f(1), b = \"\\\")\");\n  x.await;",
        "tracing"
    );
    assert_eq!(events(&event), [(2, "a = f(1), b = \"\\\")\"")]);
}
