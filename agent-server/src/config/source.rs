//! Sources of settings: `.env`, environment variables, a TOML file, flags. Each is a layer of texts; later layers
//! override earlier ones.

use std::{
    collections::HashMap,
    env, fmt, fs, io,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use super::{
    error::Fault,
    settings::{Setting, by_name, table},
};

/// Default name of the TOML file.
const USUAL: &str = "agent-server.toml";
/// Maximum size of a TOML file or secret file in bytes.
const MOST: u64 = 256 * 1024;

/// Source of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The default value.
    Default,
    /// The file `.env`.
    DotEnv,
    /// An environment variable.
    Environment,
    /// A line of the TOML file.
    File {
        /// Path of the file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
    },
    /// A flag of the command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::DotEnv => f.write_str(".env"),
            Self::Environment => f.write_str("environment"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// Texts by the name of a setting or alias, or by `NAME_FILE` for a secret.
pub(super) type Layer = HashMap<String, (String, Origin)>;

/// All layers, in order of increasing precedence.
#[derive(Default)]
pub(super) struct Layers(pub(super) Vec<Layer>);

impl Layers {
    /// Reads every source.
    pub(super) fn gather(sources: &Sources, faults: &mut Vec<Fault>, warnings: &mut Vec<String>) -> Self {
        let mut layers = Self::default();
        if sources.dot_env {
            layers.0.push(dot_env(faults, warnings));
        }
        if let Some(variable) = &sources.variable {
            layers.0.push(environment(&**variable));
        }
        if let Some(file) = layers.file(sources) {
            layers.0.push(read_file(&file, faults));
        }
        let flags = sources.flags.iter().map(|(name, text)| (name.clone(), (text.clone(), Origin::Flag)));
        layers.0.push(flags.collect());
        layers
    }

    /// Returns the TOML file: from `--config`, `AGENT_CONFIG`, or the default one if it exists.
    fn file(&self, sources: &Sources) -> Option<PathBuf> {
        let named = || self.0.iter().rev().find_map(|layer| layer.get(CONFIG)).map(|(text, _)| text.into());
        let usual = || Some(PathBuf::from(USUAL)).filter(|path| sources.dot_env && path.is_file());
        sources.file.clone().or_else(named).or_else(usual)
    }

    /// Returns the text of a setting from the layer with the highest precedence. An alias counts only if the setting itself
    /// is in no layer.
    pub(super) fn text(&self, setting: &Setting, faults: &mut Vec<Fault>) -> Option<(String, Origin)> {
        let names = std::iter::once(setting.name).chain(setting.aliases.iter().copied());
        let has = |name: &&str| {
            let own_file = || *name == setting.name && setting.shape.secret;
            self.0.iter().any(|layer| {
                layer.contains_key(*name) || (own_file() && layer.contains_key(&file_name(name)))
            })
        };
        let name = names.into_iter().find(has)?;
        for layer in self.0.iter().rev() {
            let plain = layer.get(name);
            let file = if setting.shape.secret { layer.get(&file_name(setting.name)) } else { None };
            match (plain, file) {
                (Some((_, origin)), Some(_)) => {
                    let message = format!("and {} are both set; keep one", file_name(setting.name));
                    faults.push(Fault::new(setting.name, origin.clone(), message));
                    return None;
                }
                (Some(text), None) => return Some(text.clone()),
                (None, Some((path, origin))) => match read_small(Path::new(path)) {
                    Ok(text) if !text.trim().is_empty() => {
                        return Some((text.trim().to_owned(), origin.clone()));
                    }
                    Ok(_) => {
                        let message = "names an empty file";
                        faults.push(Fault::new(file_name(setting.name), origin.clone(), message));
                        return None;
                    }
                    Err(error) => {
                        let message = format!("names a file that cannot be read: {error}");
                        faults.push(Fault::new(file_name(setting.name), origin.clone(), message));
                        return None;
                    }
                },
                (None, None) => {}
            }
        }
        None
    }
}

/// Environment variable with the path of the TOML file.
pub(super) const CONFIG: &str = "AGENT_CONFIG";

/// Returns the name of the variable with the path of the secret's file.
pub(super) fn file_name(name: &str) -> String {
    format!("{name}_FILE")
}

/// Returns the value of a variable, if it is set.
type Variable = Box<dyn Fn(&str) -> Option<String>>;

/// Sources for [`Config::read`](super::Config::read).
#[derive(Default)]
pub struct Sources {
    dot_env: bool,
    variable: Option<Variable>,
    file: Option<PathBuf>,
    flags: Vec<(String, String)>,
}

impl Sources {
    /// No sources: all settings have their defaults.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::config::{Config, Sources};
    ///
    /// assert_eq!(Config::read(&Sources::none())?.port, 8000);
    /// # Ok::<(), agent_server::config::ConfigError>(())
    /// ```
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The sources of a process: `.env` in the working directory or one of its parents, the environment, and the
    /// TOML file at `AGENT_CONFIG` or `agent-server.toml` in the working directory.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::config::{Config, Sources};
    ///
    /// let config = Config::read(&Sources::process().flag("API_PORT", "9000"));
    /// # drop(config);
    /// ```
    #[must_use]
    pub fn process() -> Self {
        Self { dot_env: true, ..Self::default() }.environment(|name| env::var(name).ok())
    }

    /// Sets the lookup of environment variables.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::config::{Config, Sources};
    ///
    /// let sources = Sources::none().environment(|name| (name == "PORT").then(|| "9000".to_owned()));
    /// let config = Config::read(&sources)?;
    /// assert_eq!(config.port, 9000);
    /// # Ok::<(), agent_server::config::ConfigError>(())
    /// ```
    #[must_use]
    pub fn environment(mut self, variable: impl Fn(&str) -> Option<String> + 'static) -> Self {
        self.variable = Some(Box::new(variable));
        self
    }

    /// Sets the TOML file. Default: `agent-server.toml` if it exists.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::config::{Config, Sources};
    ///
    /// let missing = Config::read(&Sources::none().file("no-such-file.toml"));
    /// assert!(missing.unwrap_err().to_string().contains("no-such-file.toml"));
    /// ```
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Returns the value of a variable that is a setting of the program itself, not of this crate: from the flags, the
    /// environment, or `.env`. Values are trimmed; an empty one counts as not set. A `.env` that cannot be read is an error
    /// of [`Config::read`](super::Config::read).
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::config::Sources;
    ///
    /// let sources = Sources::none().environment(|name| (name == "CHUNK_PACE_MS").then(|| "50".to_owned()));
    /// assert_eq!(sources.own("CHUNK_PACE_MS").as_deref(), Some("50"));
    /// assert_eq!(sources.own("OTHER"), None);
    /// ```
    #[must_use]
    pub fn own(&self, name: &str) -> Option<String> {
        let filled = |text: String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let flag = || self.flags.iter().rev().find(|(known, _)| known == name);
        let variable = || self.variable.as_ref().and_then(|variable| variable(name));
        let dot_env = || {
            let path = super::dot_env::find().filter(|_| self.dot_env)?;
            let lines = super::dot_env::read(&path).ok()?;
            lines.into_iter().rev().find(|(known, _)| known == name).map(|(_, text)| text)
        };
        flag()
            .and_then(|(_, text)| filled(text.clone()))
            .or_else(|| variable().and_then(filled))
            .or_else(|| dot_env().and_then(filled))
    }

    /// Adds the value of a flag.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::config::{Config, Sources};
    ///
    /// let sources = Sources::none().flag("API_PORT", "9000");
    /// let config = Config::read(&sources)?;
    /// assert_eq!(config.port, 9000);
    /// # Ok::<(), agent_server::config::ConfigError>(())
    /// ```
    #[must_use]
    pub fn flag(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.flags.push((name.into(), text.into()));
        self
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Returns every name that a variable may have.
fn names() -> impl Iterator<Item = String> {
    let of = |setting: Setting| {
        let own = std::iter::once(setting.name).chain(setting.aliases.iter().copied()).map(str::to_owned);
        let file = setting.shape.secret.then(|| file_name(setting.name));
        own.chain(file).collect::<Vec<_>>()
    };
    table().into_iter().flat_map(of).chain(std::iter::once(CONFIG.to_owned()))
}

fn environment(variable: &dyn Fn(&str) -> Option<String>) -> Layer {
    let named = names().filter_map(|name| {
        let text = variable(&name)?.trim().to_owned();
        (!text.is_empty()).then_some((name, (text, Origin::Environment)))
    });
    named.collect()
}

fn dot_env(faults: &mut Vec<Fault>, warnings: &mut Vec<String>) -> Layer {
    let mut layer = Layer::new();
    let Some(path) = super::dot_env::find() else { return layer };
    let lines = match super::dot_env::read(&path) {
        Ok(lines) => lines,
        Err(error) => {
            let origin = Origin::File { path, line: error.line };
            faults.push(Fault::new("`.env`", origin, error.message));
            return layer;
        }
    };
    let known: Vec<String> = names().collect();
    for (name, text) in lines {
        let text = text.trim();
        if known.contains(&name) {
            if !text.is_empty() {
                layer.insert(name, (text.to_owned(), Origin::DotEnv));
            }
        } else if let Some(meant) = nearest(&name, known.iter().map(String::as_str)) {
            // It may belong to another program, so it is only a warning.
            warnings.push(format!("`.env` contains {name}, which is not a setting; did you mean {meant}?"));
        }
    }
    layer
}

fn read_small(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > MOST {
        return Err(io::Error::other(format!("it has more than {MOST} bytes")));
    }
    fs::read_to_string(path)
}

fn read_file(path: &Path, faults: &mut Vec<Fault>) -> Layer {
    let mut layer = Layer::new();
    let name = || path.display().to_string();
    let text = match read_small(path) {
        Ok(text) => text,
        Err(error) => {
            faults.push(Fault::new(name(), Origin::Default, format!("cannot be read: {error}")));
            return layer;
        }
    };
    let document = match DeTable::parse(&text) {
        Ok(document) => document,
        Err(error) => {
            // The error text contains the line, which may contain a secret.
            let line = error.span().map_or(1, |span| line_of(&text, span.start));
            let origin = Origin::File { path: path.to_owned(), line };
            faults.push(Fault::new("TOML", origin, format!("cannot be read: {}", error.message())));
            return layer;
        }
    };
    let at = |start: usize| Origin::File { path: path.to_owned(), line: line_of(&text, start) };
    for (key, value) in document.get_ref() {
        let origin = at(key.span().start);
        match value.get_ref() {
            DeValue::Table(section) => {
                let title = key.get_ref().as_ref();
                if title == "mcp_servers" {
                    let servers = json(value.get_ref()).to_string();
                    layer.insert("MCP_SERVERS".to_owned(), (servers, origin));
                    continue;
                }
                if !table().iter().any(|setting| setting.section == title) {
                    let hint = hint(nearest(title, table().iter().map(|setting| setting.section)), "[", "]");
                    faults.push(Fault::new(format!("[{title}]"), origin, format!("is not a section{hint}")));
                    continue;
                }
                for (key, value) in section {
                    let origin = at(key.span().start);
                    read_table(key.get_ref(), Some(title), value.get_ref(), origin, &mut layer, faults);
                }
            }
            value => read_table(key.get_ref(), None, value, origin, &mut layer, faults),
        }
    }
    layer
}

/// Adds one key of the file to the layer.
fn read_table(
    key: &str,
    section: Option<&str>,
    value: &DeValue<'_>,
    origin: Origin,
    layer: &mut Layer,
    faults: &mut Vec<Fault>,
) {
    let name = key.to_uppercase();
    let Some(setting) = by_name(&name) else {
        let known: Vec<String> = names().map(|name| name.to_lowercase()).collect();
        let hint = hint(nearest(key, known.iter().map(String::as_str)), "`", "`");
        faults.push(Fault::new(format!("`{key}`"), origin, format!("is not a setting{hint}")));
        return;
    };
    if let Some(section) = section.filter(|section| *section != setting.section) {
        let message = format!("belongs to [{}], not to [{section}]", setting.section);
        faults.push(Fault::new(format!("`{key}`"), origin, message));
        return;
    }
    let Some(text) = plain(value) else {
        let message = format!("must be {}", setting.shape.what);
        faults.push(Fault::new(name, origin, message));
        return;
    };
    if text.trim().is_empty() {
        return;
    }
    if layer.insert(name.clone(), (text, origin.clone())).is_some() {
        faults.push(Fault::new(name, origin, "is set twice"));
    }
}

fn plain(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(|item| plain(item.get_ref())).collect();
            items.map(|items| items.join(","))
        }
        _ => None,
    }
}

/// Returns a value as JSON; dates as text.
fn json(value: &DeValue<'_>) -> serde_json::Value {
    match value {
        DeValue::Table(table) => {
            let members = table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref())));
            serde_json::Value::Object(members.collect())
        }
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Boolean(flag) => (*flag).into(),
        DeValue::Integer(number) => serde_json::from_str(number.as_str()).unwrap_or_default(),
        DeValue::Float(number) => serde_json::from_str(number.as_str()).unwrap_or_default(),
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Datetime(time) => time.to_string().into(),
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}

fn hint(meant: Option<String>, before: &str, after: &str) -> String {
    meant.map(|meant| format!("; did you mean {before}{meant}{after}?")).unwrap_or_default()
}

/// Returns the known name that is most similar to `name`, if any.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let distance = |known: &str| strsim::damerau_levenshtein(&name.to_uppercase(), &known.to_uppercase());
    let most = 1 + name.chars().count() / 6;
    let near = known.map(|known| (distance(known), known)).filter(|(distance, _)| *distance <= most);
    near.min().map(|(_, known)| known.to_owned())
}
