//! Configuration errors: all faults are reported together, and values never appear in them.

use std::fmt;

use super::source::Origin;

/// All faults of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The faults.
    pub faults: Vec<Fault>,
}

/// One fault of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// Name of the setting, or the text in its place.
    pub name: String,
    /// Source of the setting.
    pub origin: Origin,
    /// Fault and remedy. Contains no values, which may be secrets.
    pub message: String,
}

impl Fault {
    pub(super) fn new(name: impl Into<String>, origin: Origin, message: impl Into<String>) -> Self {
        Self { name: name.into(), origin, message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => write!(f, "{} {}", self.name, self.message),
            origin => write!(f, "{} ({origin}) {}", self.name, self.message),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.faults[..] {
            [only] => write!(f, "invalid configuration: {only}"),
            faults => {
                write!(f, "invalid configuration, {} faults:", faults.len())?;
                faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
            }
        }
    }
}
