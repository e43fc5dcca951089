//! What is wrong with a configuration, all of it at once, never with a value in it.

use std::fmt;

use super::source::Origin;

/// Every fault of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// One each.
    pub faults: Vec<Fault>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The setting, or what was taken for one.
    pub name: String,
    /// Where it was said.
    pub origin: Origin,
    /// What is wrong and what to do. Values are not in it: they may be secrets.
    pub told: String,
}

impl Fault {
    pub(super) fn new(name: impl Into<String>, origin: Origin, told: impl Into<String>) -> Self {
        Self { name: name.into(), origin, told: told.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => write!(f, "{} {}", self.name, self.told),
            origin => write!(f, "{} ({origin}) {}", self.name, self.told),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.faults[..] {
            [only] => write!(f, "the configuration is wrong: {only}"),
            faults => {
                write!(f, "the configuration has {} faults:", faults.len())?;
                faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
            }
        }
    }
}
