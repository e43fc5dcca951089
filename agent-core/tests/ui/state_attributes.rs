//! Attributes of `#[derive(State)]` that are refused.
use agent_core::State;
use serde::{Deserialize, Serialize};
#[derive(State, Default, Serialize, Deserialize)]
#[state(migrate = nothing, versoin = 2)]
struct Container {
    name: String,
}

#[derive(State, Default, Serialize, Deserialize)]
#[state(migrate = nothing)]
struct NothingToMigrate {
    name: String,
}

#[derive(State, Default, Serialize, Deserialize)]
struct Fields {
    #[state(apend)]
    unknown: Vec<String>,
    #[state(append, add)]
    two: Vec<String>,
    #[state(append)]
    wrong: std::collections::HashSet<String>,
    #[state(untracked)]
    stored: String,
    #[serde(skip)]
    lost: String,
    #[serde(flatten)]
    flat: std::collections::BTreeMap<String, u32>,
    is_empty: bool,
}

#[derive(State)]
enum NoStruct {
    A,
}

#[derive(State)]
struct Borrows<'a> {
    name: &'a str,
}

fn main() {}
