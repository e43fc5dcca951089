//! Types of settings: parsing of their texts, and descriptions of valid values.

use std::{
    collections::HashSet, fmt::Display, net::IpAddr, ops::RangeInclusive, path::PathBuf, str::FromStr,
    time::Duration,
};

use agent_core::{run::Durability, secret::Secret, session::Retention};

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};

use crate::{Hosts, Origins, Proxies, auth::Subject};

/// Parses a text.
type Read<T> = Box<dyn Fn(&str) -> Option<T>>;

/// Parser of a type of settings.
pub(super) struct Kind<T> {
    pub(super) shape: Shape,
    read: Read<T>,
    /// Explains why a text is invalid.
    pub(super) hint: Option<fn(&str) -> Option<String>>,
}

/// Description of valid values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// For example "a port from 0 to 65535".
    pub(super) what: String,
    /// Placeholder in `--help`.
    pub(super) word: &'static str,
    /// Whether the value is secret.
    pub(super) secret: bool,
    /// Whether a flag without a value means `true`.
    pub(super) switch: bool,
}

impl<T> Kind<T> {
    pub(super) fn new(
        word: &'static str,
        what: impl Into<String>,
        read: impl Fn(&str) -> Option<T> + 'static,
    ) -> Self {
        let shape = Shape { what: what.into(), word, secret: false, switch: false };
        Self { shape, read: Box::new(read), hint: None }
    }

    /// Marks the value as secret: it is never shown, has no flag, and can be read from a file.
    pub(super) fn hidden(mut self) -> Self {
        self.shape.secret = true;
        self
    }

    /// Parses a text. The error describes the expected value.
    pub(super) fn read(&self, text: &str) -> Result<T, String> {
        (self.read)(text).ok_or_else(|| match self.hint.and_then(|hint| hint(text)) {
            Some(hint) => format!("must be {}: {hint}", self.shape.what),
            None => format!("must be {}", self.shape.what),
        })
    }
}

pub(super) fn ip() -> Kind<IpAddr> {
    Kind::new("ADDRESS", "an IP address or `localhost`", |text| match text {
        "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
        _ => text.trim_start_matches('[').trim_end_matches(']').parse().ok(),
    })
}

pub(super) fn text(word: &'static str) -> Kind<String> {
    Kind::new(word, "a text", |text| Some(text.to_owned()))
}

pub(super) fn secret() -> Kind<Secret> {
    Kind::new("SECRET", "a text", |text| Some(Secret::new(text))).hidden()
}

pub(super) fn path() -> Kind<PathBuf> {
    Kind::new("FILE", "a file", |text| Some(PathBuf::from(text)))
}

/// An existing file.
pub(super) fn file() -> Kind<PathBuf> {
    Kind::new("FILE", "a file that exists", |text| Some(PathBuf::from(text)).filter(|path| path.is_file()))
}

pub(super) fn flag() -> Kind<bool> {
    let mut kind = Kind::new("BOOL", "`true` or `false`", |text| match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    });
    kind.shape.switch = true;
    kind
}

pub(super) fn number<T>(word: &'static str, what: &str, range: RangeInclusive<T>) -> Kind<T>
where
    T: FromStr + PartialOrd + Display + 'static,
{
    let what = format!("{what} from {} to {}", range.start(), range.end());
    Kind::new(word, what, move |text| {
        text.replace('_', "").parse().ok().filter(|number| range.contains(number))
    })
}

pub(super) fn seconds(range: RangeInclusive<f64>) -> Kind<Duration> {
    let what = format!("seconds, from {} to {}", range.start(), range.end());
    Kind::new("SECONDS", what, move |text| {
        let number: f64 = text.strip_suffix('s').unwrap_or(text).trim().parse().ok()?;
        range.contains(&number).then(|| Duration::from_secs_f64(number))
    })
}

pub(super) fn millis() -> Kind<Duration> {
    const MOST: u64 = 60_000;
    Kind::new("MILLISECONDS", format!("milliseconds, from 0 to {MOST}"), |text| {
        text.parse().ok().filter(|ms| *ms <= MOST).map(Duration::from_millis)
    })
}

pub(super) fn bytes(range: RangeInclusive<usize>) -> Kind<usize> {
    let what = format!("bytes (`65536`, `64KiB`, `1MiB`), from {} to {}", range.start(), range.end());
    Kind::new("BYTES", what, move |text| {
        let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit() && c != '_') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let unit = match unit.trim() {
            "" | "B" => 1,
            "KiB" => 1024,
            "MiB" => 1024 * 1024,
            _ => return None,
        };
        let number: usize = digits.replace('_', "").parse().ok()?;
        number.checked_mul(unit).filter(|bytes| range.contains(bytes))
    })
}

/// `http` or `https` URL with a host, without user name and password.
pub(super) fn url() -> Kind<String> {
    let mut kind = Kind::new("URL", "an address that begins with `http://` or `https://`", |text| {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let plain = !host.is_empty() && !host.contains('@') && !text.contains(char::is_whitespace);
        plain.then(|| text.trim_end_matches('/').to_owned())
    });
    kind.hint = Some(|text| {
        text.contains('@')
            .then(|| "it must not contain a user name or password; use the setting for the key".to_owned())
    });
    kind
}

pub(super) fn origins() -> Kind<Origins> {
    let mut kind = Kind::new("ORIGINS", "origins separated by commas or as a JSON list, or `*`", |text| {
        Origins::parse(text).ok()
    });
    kind.hint = Some(|text| Origins::parse(text).err());
    kind
}

pub(super) fn allowed_hosts() -> Kind<Hosts> {
    let mut kind =
        Kind::new("HOSTS", "host names separated by commas, or `*`", |text| Hosts::parse(text).ok());
    kind.hint = Some(|text| Hosts::parse(text).err());
    kind
}

pub(super) fn proxies() -> Kind<Proxies> {
    let what = "addresses and networks separated by commas";
    let mut kind = Kind::new("NETWORKS", what, |text| Proxies::parse(text).ok());
    kind.hint = Some(|text| Proxies::parse(text).err());
    kind
}

/// Regular expression.
pub(super) fn pattern() -> Kind<regex::Regex> {
    Kind::new("REGEX", "a regular expression", |text| regex::Regex::new(text).ok())
}

/// Host names or addresses.
pub(super) fn hosts() -> Kind<Vec<String>> {
    Kind::new("HOSTS", "names or addresses without port, separated by commas", |text| {
        let legal = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let named = |host: &str| {
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            match bare.parse::<std::net::IpAddr>() {
                // As in a URL, without the brackets.
                Ok(address) => Some(address.to_string()),
                Err(_) => host.chars().all(legal).then(|| host.to_owned()),
            }
        };
        listed(text).map(named).collect()
    })
}

/// Subjects with their kinds.
pub(super) fn subjects() -> Kind<Vec<Subject>> {
    let what = "`key:NAME` or `token:SUB` separated by commas or lines";
    Kind::new("SUBJECTS", what, |text| listed(text).map(|entry| entry.parse().ok()).collect())
}

/// One of several words.
pub(super) fn one_of<T: Copy + 'static>(choices: &'static [(&'static str, T)]) -> Kind<T> {
    let words: Vec<String> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
    let what = match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.join(""),
    };
    Kind::new("WORD", what, move |text| {
        choices.iter().find(|(word, _)| text.eq_ignore_ascii_case(word)).map(|(_, value)| *value)
    })
}

pub(super) fn durability() -> Kind<Durability> {
    const WORDS: [(&str, Durability); 3] =
        [("sync", Durability::Sync), ("async", Durability::Async), ("exit", Durability::Exit)];
    one_of(&WORDS)
}

pub(super) fn retention() -> Kind<Retention> {
    Kind::new("ENTRIES", "a number of entries, at least 1, or `all`", |text| match text {
        "all" => Some(Retention::everything()),
        _ => text.replace('_', "").parse().ok().filter(|entries| *entries > 0).map(Retention::entries),
    })
}

/// An API key and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiKey {
    /// Name of the subject.
    pub name: String,
    /// Key.
    pub key: Secret,
}

/// `name:key` separated by commas or lines; lines that begin with `#` are comments.
pub(super) fn api_keys() -> Kind<Vec<ApiKey>> {
    let mut kind = Kind::new("KEYS", "`name:key` separated by commas or lines", |text| {
        let keys: Option<Vec<ApiKey>> = listed(text)
            .map(|entry| {
                let (name, key) = entry.split_once(':')?;
                let (name, key) = (name.trim(), key.trim());
                let legal = is_name(name) && key.len() >= MIN_KEY_BYTES && !key.contains(char::is_whitespace);
                legal.then(|| ApiKey { name: name.to_owned(), key: Secret::new(key) })
            })
            .collect();
        let names =
            |keys: &Vec<ApiKey>| keys.iter().map(|key| key.name.clone()).collect::<HashSet<_>>().len();
        keys.filter(|keys| !keys.is_empty() && names(keys) == keys.len())
    });
    kind.hint = Some(|_| {
        Some(format!(
            "unique names of letters, digits and `._-@`; keys of at least {MIN_KEY_BYTES} characters, without spaces"
        ))
    });
    kind.hidden()
}

/// Request headers with secret values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers(pub(crate) HeaderMap);

/// `name=value` separated by commas; values may be percent-encoded.
pub(super) fn headers() -> Kind<Headers> {
    let kind = Kind::new("HEADERS", "`name=value` separated by commas", |text| {
        let mut headers = HeaderMap::new();
        for entry in listed(text) {
            let (name, value) = entry.split_once('=')?;
            let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().ok()?;
            let mut value = HeaderValue::from_str(&value).ok()?;
            value.set_sensitive(true);
            headers.append(HeaderName::try_from(name.trim()).ok()?, value);
        }
        (!headers.is_empty()).then_some(Headers(headers))
    });
    kind.hidden()
}

/// Minimum length of an API key, in bytes.
const MIN_KEY_BYTES: usize = 16;

fn listed(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|entry| !entry.is_empty())
}

fn is_name(name: &str) -> bool {
    let legal = |c: char| c.is_alphanumeric() || "._-@".contains(c);
    (1..=128).contains(&name.len()) && name.chars().all(legal)
}
