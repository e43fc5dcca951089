//! The name of a case: `family_args[:saver[-durability]][/sync]`.

use agent_core::Durability;

/// Location of the journals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Saver {
    Nowhere,
    Memory,
    Sqlite,
    Postgres,
}

/// A case by its parts.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// The family with its arguments: `sequential_100`.
    pub(crate) family: String,
    pub(crate) saver: Saver,
    pub(crate) durability: Durability,
    /// Blocks one thread, instead of using the runtime of `#[tokio::main]`.
    pub(crate) blocking: bool,
}

impl Case {
    /// `None`: an unsupported store or durability.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (name, blocking) = match name.strip_suffix("/sync") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (family, spec) = name.split_once(':').unwrap_or((name, "none"));
        let (saver, durability) = spec.split_once('-').unwrap_or((spec, "async"));
        let saver = match saver {
            "none" => Saver::Nowhere,
            "mem" => Saver::Memory,
            "sqlite" => Saver::Sqlite,
            "pg" => Saver::Postgres,
            _ => return None,
        };
        let durability = match durability {
            "exit" => Durability::Exit,
            "async" => Durability::Async,
            "sync" => Durability::Sync,
            _ => return None,
        };
        Some(Self { family: family.to_owned(), saver, durability, blocking })
    }

    /// Returns the number after a family's name: `number("sequential_")` of `sequential_100` is 100.
    pub(crate) fn number(&self, prefix: &str) -> Option<usize> {
        self.family.strip_prefix(prefix)?.parse().ok().filter(|&number| number > 0)
    }
}
