//! What a setting's text may be: how it is read into a type, and what the reader is told when it cannot be.

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

/// A text as a `T`, if it is one.
type Read<T> = Box<dyn Fn(&str) -> Option<T>>;

/// How texts become a `T`.
pub(super) struct Kind<T> {
    pub(super) shape: Shape,
    read: Read<T>,
    /// Says more than the shape about a text that is not read.
    hint: Option<fn(&str) -> Option<String>>,
}

/// What people are told of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// "a port from 0 to 65535".
    pub(super) what: String,
    /// The word for it in `--help`.
    pub(super) word: &'static str,
    /// Its text is hidden.
    pub(super) secret: bool,
    /// A flag without a value means `true`.
    pub(super) switch: bool,
}

impl<T> Kind<T> {
    fn new(word: &'static str, what: impl Into<String>, read: impl Fn(&str) -> Option<T> + 'static) -> Self {
        let shape = Shape { what: what.into(), word, secret: false, switch: false };
        Self { shape, read: Box::new(read), hint: None }
    }

    /// Its text is a secret: it is shown nowhere, has no flag of its own, and may stand in a file.
    pub(super) fn hidden(mut self) -> Self {
        self.shape.secret = true;
        self
    }

    /// The value, or what is expected.
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

/// A file that is there.
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
    let told = format!("{what} from {} to {}", range.start(), range.end());
    Kind::new(word, told, move |text| {
        text.replace('_', "").parse().ok().filter(|number| range.contains(number))
    })
}

pub(super) fn seconds(range: RangeInclusive<f64>) -> Kind<Duration> {
    let told = format!("seconds, from {} to {}", range.start(), range.end());
    Kind::new("SECONDS", told, move |text| {
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
    let told = format!("bytes (`65536`, `64KiB`, `1MiB`), from {} to {}", range.start(), range.end());
    Kind::new("BYTES", told, move |text| {
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

/// `http` or `https` with a host, without a name and password in it.
pub(super) fn url() -> Kind<String> {
    let mut kind = Kind::new("URL", "an address that begins with `http://` or `https://`", |text| {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let plain = !host.is_empty() && !host.contains('@') && !text.contains(char::is_whitespace);
        plain.then(|| text.trim_end_matches('/').to_owned())
    });
    kind.hint = Some(|text| {
        text.contains('@')
            .then(|| "names and passwords do not belong in it; use the setting of the key".to_owned())
    });
    kind
}

pub(super) fn origins() -> Kind<Origins> {
    let mut kind = Kind::new("ORIGINS", "origins parted by commas, or `*`", |text| Origins::parse(text).ok());
    kind.hint = Some(|text| Origins::parse(text).err());
    kind
}

pub(super) fn allowed_hosts() -> Kind<Hosts> {
    let mut kind = Kind::new("HOSTS", "host names parted by commas, or `*`", |text| Hosts::parse(text).ok());
    kind.hint = Some(|text| Hosts::parse(text).err());
    kind
}

pub(super) fn proxies() -> Kind<Proxies> {
    let what = "addresses and networks parted by commas";
    let mut kind = Kind::new("NETWORKS", what, |text| Proxies::parse(text).ok());
    kind.hint = Some(|text| Proxies::parse(text).err());
    kind
}

/// Names of machines, or their addresses.
pub(super) fn hosts() -> Kind<Vec<String>> {
    Kind::new("HOSTS", "names or addresses without port, parted by commas", |text| {
        let legal = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let named = |host: &str| {
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            match bare.parse::<std::net::IpAddr>() {
                // As it stands in an address of the web, but for the brackets.
                Ok(address) => Some(address.to_string()),
                Err(_) => host.chars().all(legal).then(|| host.to_owned()),
            }
        };
        listed(text).map(named).collect()
    })
}

/// Who is meant, with how it shows who it is.
pub(super) fn subjects() -> Kind<Vec<Subject>> {
    let what = "`key:NAME` or `token:SUB` parted by commas or lines";
    Kind::new("SUBJECTS", what, |text| listed(text).map(|entry| entry.parse().ok()).collect())
}

/// One of a few words.
pub(super) fn one_of<T: Copy + 'static>(choices: &'static [(&'static str, T)]) -> Kind<T> {
    let words: Vec<String> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
    let told = match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.join(""),
    };
    Kind::new("WORD", told, move |text| {
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

/// A key that a caller shows, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiKey {
    /// The subject it stands for.
    pub name: String,
    /// The key.
    pub key: Secret,
}

/// `name:key` parted by commas or lines; lines that begin with `#` are remarks.
pub(super) fn api_keys() -> Kind<Vec<ApiKey>> {
    let mut kind = Kind::new("KEYS", "`name:key` parted by commas or lines", |text| {
        let keys: Option<Vec<ApiKey>> = listed(text)
            .map(|entry| {
                let (name, key) = entry.split_once(':')?;
                let (name, key) = (name.trim(), key.trim());
                let legal = is_name(name) && key.len() >= SHORTEST_KEY && !key.contains(char::is_whitespace);
                legal.then(|| ApiKey { name: name.to_owned(), key: Secret::new(key) })
            })
            .collect();
        let names =
            |keys: &Vec<ApiKey>| keys.iter().map(|key| key.name.clone()).collect::<HashSet<_>>().len();
        keys.filter(|keys| !keys.is_empty() && names(keys) == keys.len())
    });
    kind.hint = Some(|_| {
        Some(format!(
            "each name once, of letters, digits and `._-@`; each key of {SHORTEST_KEY} characters or more, without spaces"
        ))
    });
    kind.hidden()
}

/// Headers of requests, their values kept out of every output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers(pub(crate) HeaderMap);

/// `name=value` parted by commas; values may be percent-encoded.
pub(super) fn headers() -> Kind<Headers> {
    let kind = Kind::new("HEADERS", "`name=value` parted by commas", |text| {
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

/// The shortest key that is taken, in bytes.
const SHORTEST_KEY: usize = 16;

fn listed(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|entry| !entry.is_empty())
}

fn is_name(name: &str) -> bool {
    let legal = |c: char| c.is_alphanumeric() || "._-@".contains(c);
    (1..=128).contains(&name.len()) && name.chars().all(legal)
}
