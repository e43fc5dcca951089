//! Field types and reducers that `#[derive(State)]` refuses.
use agent_core::State;
use serde::{Deserialize, Serialize};
fn returns_a_number(held: &mut u32, _other: u32) -> u32 {
    *held
}

#[derive(State, Default, Serialize, Deserialize)]
struct Report {
    #[state(add)]
    text: bool,
    #[state(messages)]
    messages: Vec<bool>,
    #[state(reduce = returns_a_number)]
    number: u32,
}

fn main() {}
