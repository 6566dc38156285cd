//! The configuration as a `trellis.toml`: every setting with its meaning, default and bounds.
//!
//! What is printed can be loaded again and means the same, except that secrets are left out.

use super::checked::Checked;
use super::declared::Declared;
use super::effective::{Effective, Entry};
use super::pipelines::DeclaredPipeline;
use serde::Serialize;
use std::fmt::Write as _;

const HEADER: &str = "\
# Settings of trellisd. What is left out has its default.
#
# Strongest last: defaults, this file, ./.env, the environment, flags. Each setting has a variable,
# TRELLIS_ and its name in capitals with __ for the dot: TRELLIS_GRPC__MAX_CALLS. Some have well-known
# ones as well: USE_DISTRIBUTED; REDIS_ and HOST, PORT, DB, USERNAME, PASSWORD, URL or KEY_PREFIX; and
# all of the group kafka (KAFKA_BOOTSTRAP_SERVERS).
# Times are a whole number and a unit: us, ms, s, m, h, d.
";

const EXAMPLE: &str = r#"
# Limits that exist from the start, each with one of rate, window and concurrency:
#
# [[limits.declared]]
# namespace = "default"                                 # the default
# name = "openai-requests"
# rate = { amount = 500, period = "1m", burst = 500 }   # burst: default amount
# overrides = [{ key = "batch", rate = { amount = 100, period = "1m" } }]
# sharing = "auto"                                      # the default; "exact" decides every call in Redis, "leased"
#                                                       # takes units ahead however small this daemon's share
#
# [[limits.declared]]
# name = "openai-tokens-a-day"
# window = { amount = 1000000, calendar = "day", time_zone = "America/Los_Angeles" }
# # or of any interval of this length: window = { amount = 100, period = "1m" }
#
# [[limits.declared]]
# name = "ocr-workers"
# concurrency = { slots = 8 }
"#;

const PIPELINES_EXAMPLE: &str = r#"
# Values of pipelines, over those that are built in and under those that an update sets; in all namespaces:
#
# [[pipelines.declared]]
# name = "vision_rag"
# cache_ttls = { embedding = "2h", search = "1h" }
# limits = { llm = { rate = { amount = 10, period = "1s" } } }   # or window, as above
# concurrency = { images = 10 }
# lock_ttls = { default = "2m" }
"#;

#[derive(Serialize)]
struct PipelinesFile<'a> {
    pipelines: Pipelines<'a>,
}

#[derive(Serialize)]
struct Pipelines<'a> {
    declared: &'a [DeclaredPipeline],
}

#[derive(Serialize)]
struct File<'a> {
    limits: Limits<'a>,
}

#[derive(Serialize)]
struct Limits<'a> {
    declared: &'a [Declared],
}

/// The whole file.
pub(super) fn dump(
    effective: &Effective,
    declared: &[Declared],
    pipelines: &[DeclaredPipeline],
) -> String {
    let mut text = HEADER.to_owned();
    let mut group = "";
    for entry in effective.entries() {
        let own = entry
            .setting
            .key
            .split_once('.')
            .map_or("", |(group, _)| group);
        if own != group {
            if group == "limits" {
                push_declared(&mut text, declared);
            }
            let _ = write!(text, "\n[{own}]\n");
            group = own;
        }
        push_setting(&mut text, entry);
    }
    // The last group.
    push_pipelines(&mut text, pipelines);
    text
}

fn push_setting(text: &mut String, entry: &Entry) {
    let setting = entry.setting;
    let name = setting.key.rsplit('.').next().unwrap_or(setting.key);
    let default = setting.allowed.check(&setting.default.into());
    text.push('\n');
    for line in wrapped(setting.about) {
        let _ = writeln!(text, "# {line}");
    }
    let shown = match &default {
        Some(default) if !default.is_none() => default.to_string(),
        _ => "none".to_owned(),
    };
    let _ = writeln!(text, "# Default {shown}. Allowed: {}.", setting.allowed);
    if default.as_ref() != Some(&entry.value) {
        let _ = writeln!(text, "# Set by {} ({}).", entry.written, entry.origin);
    }
    let _ = match &entry.value {
        Checked::Secret(_) if entry.value.is_none() => writeln!(text, "# {name} = \"\""),
        Checked::Secret(secret) => writeln!(text, "# {name} = \"{secret}\""),
        value => writeln!(text, "{name} = {value}"),
    };
}

/// Lines of at most 98 characters.
fn wrapped(about: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in about.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + word.len() < 98 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn push_pipelines(text: &mut String, declared: &[DeclaredPipeline]) {
    text.push_str(PIPELINES_EXAMPLE);
    if declared.is_empty() {
        return;
    }
    let pipelines = Pipelines { declared };
    match toml::to_string(&PipelinesFile { pipelines }) {
        Ok(file) => {
            let _ = write!(text, "\n{file}");
        }
        Err(error) => {
            let _ = write!(
                text,
                "\n# The declared pipelines cannot be shown: {error}\n"
            );
        }
    }
}

fn push_declared(text: &mut String, declared: &[Declared]) {
    text.push_str(EXAMPLE);
    if declared.is_empty() {
        return;
    }
    let limits = Limits { declared };
    match toml::to_string(&File { limits }) {
        Ok(file) => {
            let _ = write!(text, "\n{file}");
        }
        // Numbers and text cannot fail to be written; were it so, a reader must not miss them.
        Err(error) => {
            let _ = write!(text, "\n# The declared limits cannot be shown: {error}\n");
        }
    }
}
