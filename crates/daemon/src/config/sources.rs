//! Where settings come from, and reading them: files, `.env`, the environment, flags.
//!
//! The environment is handed in and never changed. Nothing of a file's text gets into an error, since
//! it may hold a password.

use super::error::{ConfigError, Problem};
use super::layer::Layer;
use figment::providers::{Format, Toml};
use figment::value::Dict;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The file that is read when it is there.
const FILE: &str = "trellis.toml";
const DOT_ENV: &str = ".env";

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Where `trellis.toml` and `.env` are looked for.
    pub directory: PathBuf,
    /// A file that must exist and stands for `trellis.toml`.
    pub config: Option<PathBuf>,
    /// The environment's variables.
    pub environment: BTreeMap<String, String>,
    /// Values given on the command line, by key, for example `log.level`.
    pub flags: BTreeMap<&'static str, String>,
}

impl Sources {
    /// The layers, the last one strongest.
    pub(super) fn layers(&self) -> Result<Vec<Layer>, ConfigError> {
        let dot_env = read_dot_env(&self.directory.join(DOT_ENV))?;
        let mut layers = vec![Layer::defaults()];
        layers.extend(self.file()?);
        for (origin, variables) in [(DOT_ENV, &dot_env), ("environment", &self.environment)] {
            layers.push(Layer::well_known(origin, text(variables)));
            layers.push(Layer::prefixed(origin, text(variables)));
        }
        layers.push(Layer::flags(
            self.flags.iter().map(|(key, text)| (*key, text.as_str())),
        ));
        Ok(layers)
    }

    fn file(&self) -> Result<Option<Layer>, ConfigError> {
        let (path, must_exist) = match &self.config {
            Some(path) => (path.clone(), true),
            None => (self.directory.join(FILE), false),
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let origin = path.display().to_string();
                parse(&origin, &text).map(Some)
            }
            Err(error) if error.kind() == ErrorKind::NotFound && !must_exist => Ok(None),
            Err(error) => Err(unreadable(&path, format!("cannot be read: {error}"))),
        }
    }
}

fn text(variables: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    variables
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
}

/// A layer from the text of a file.
pub(super) fn parse(origin: &str, text: &str) -> Result<Layer, ConfigError> {
    let values: Dict = Toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text
            .bytes()
            .take(start)
            .filter(|byte| *byte == b'\n')
            .count()
            + 1;
        unreadable(
            Path::new(origin),
            format!("is not valid TOML: line {line}: {}", error.message()),
        )
    })?;
    Ok(Layer::file(origin, &values))
}

fn read_dot_env(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    let lines = match dotenvy::from_path_iter(path) {
        Ok(lines) => lines,
        Err(error) if error.not_found() => return Ok(BTreeMap::new()),
        Err(_) => return Err(unreadable(path, "cannot be read".to_owned())),
    };
    lines.collect::<Result<_, _>>().map_err(|error| {
        let name = match &error {
            dotenvy::Error::LineParse(line, _) => line.split_once('=').map(|(name, _)| name),
            _ => None,
        };
        let line = name.map_or_else(|| "a line".to_owned(), |name| format!("the line of {name}"));
        let allowed = format!("{line} is not NAME=value, with quotes where the value has spaces");
        unreadable(path, allowed)
    })
}

fn unreadable(path: &Path, allowed: String) -> ConfigError {
    ConfigError {
        problems: vec![Problem {
            setting: path.display().to_string(),
            origin: "file".to_owned(),
            value: None,
            allowed,
        }],
    }
}
