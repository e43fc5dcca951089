//! Pinned documents: the API documents of today differ from the pinned ones only by addition.
//!
//! Every path, method, response code, property, required name and enum value of a pin must still exist, with the same
//! type. Descriptions, titles and examples may change.

use std::{collections::BTreeSet, fs, path::PathBuf};

use agent_core::{
    Agent, Runtime,
    model::Model,
    tool,
    tool::{ToolError, ToolRegistry},
};
use agent_server::{Assistant, Chat, demo::TrendAgent};
use serde_json::{Value, json};
use trend_agent::graph::{Desk, trend_graph};

use crate::support::{Here, upstream::Fake};

/// Prose of a document, and what a release changes.
const FREE: &[&str] = &["description", "summary", "title", "example", "examples", "version", "externalDocs"];

fn pin(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pins").join(name)
}

fn stored(path: PathBuf) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A document without its prose.
fn bare(value: &Value, named: bool) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(key, _)| named || !FREE.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), bare(value, holds_names(key))))
            .collect(),
        Value::Array(list) => list.iter().map(|value| bare(value, false)).collect(),
        other => other.clone(),
    }
}

/// Whether the keys of the object at `key` are names of the document, not keywords.
fn holds_names(key: &str) -> bool {
    matches!(key, "properties" | "schemas")
}

/// Compares a pinned document with the present one.
struct Comparison<'a> {
    pinned: &'a Value,
    present: &'a Value,
    /// Follow references instead of comparing the names of definitions, which are names of Rust types.
    follow: bool,
    compared: BTreeSet<(String, String)>,
    faults: Vec<String>,
}

impl Comparison<'_> {
    fn faults(pinned: &Value, present: &Value, follow: bool) -> Vec<String> {
        let mut comparison =
            Comparison { pinned, present, follow, compared: BTreeSet::new(), faults: Vec::new() };
        comparison.value("", pinned, present);
        comparison.faults
    }

    fn value(&mut self, place: &str, pinned: &Value, present: &Value) {
        if self.follow
            && let (Some(old), Some(new)) = (reference(pinned), reference(present))
        {
            if self.compared.insert((old.to_owned(), new.to_owned())) {
                let (old, new) = (self.pinned.pointer(&old[1..]), self.present.pointer(&new[1..]));
                self.value(place, old.unwrap(), new.unwrap());
            }
            return;
        }
        match (pinned, present) {
            (Value::Object(old), Value::Object(new)) => {
                for (key, old) in old {
                    // `properties` may have a property with such a name.
                    let named = place.rsplit('/').next().is_some_and(holds_names);
                    if (FREE.contains(&&**key) && !named) || (self.follow && key == "$defs") {
                        continue;
                    }
                    let place = format!("{place}/{key}");
                    match new.get(key) {
                        Some(new) if key == "required" && !named && old.is_array() => {
                            self.required(&place, old, new, pinned);
                        }
                        Some(new) => self.value(&place, old, new),
                        None => self.faults.push(format!("{place} is gone")),
                    }
                }
            }
            (Value::Array(old), Value::Array(new)) => {
                for (at, old) in old.iter().enumerate() {
                    let place = format!("{place}/{at}");
                    let same = new.iter().any(|new| self.fits(old, new));
                    if !same {
                        self.faults.push(format!("{place} is gone or changed: {old}"));
                    }
                }
            }
            (old, new) if old == new => {}
            (old, new) => self.faults.push(format!("{place} was {old} and is {new}")),
        }
    }

    /// Whether an element of the pinned array is that element of the present one, with additions.
    fn fits(&mut self, old: &Value, new: &Value) -> bool {
        for key in ["name", "in"] {
            if old.get(key) != new.get(key) {
                return false;
            }
        }
        let faults = self.faults.len();
        let compared = self.compared.clone();
        self.value("", old, new);
        let fits = self.faults.len() == faults;
        if !fits {
            self.faults.truncate(faults);
            self.compared = compared;
        }
        fits
    }

    /// A property that was required still is, and one that was optional is not required now.
    fn required(&mut self, place: &str, old: &Value, new: &Value, pinned: &Value) {
        self.value(place, old, new);
        for name in new.as_array().into_iter().flatten().filter_map(Value::as_str) {
            let known = pinned["properties"].get(name).is_some();
            if known && !old.as_array().unwrap().iter().any(|old| old == name) {
                self.faults.push(format!("{place}: `{name}` was optional"));
            }
        }
    }
}

fn reference(value: &Value) -> Option<&str> {
    value.get("$ref").and_then(Value::as_str)
}

/// Opens the cupboard.
#[tool]
async fn open_cupboard() -> Result<String, ToolError> {
    Err(ToolError::failed("the cupboard is locked"))
}

/// A server with every kind of endpoint.
async fn server() -> Here {
    let model: Model = Fake::start(Vec::new()).await.model();
    let tools = ToolRegistry::builder().tool(open_cupboard).build().unwrap();
    let agents = model.clone();
    let assistant =
        Assistant::new(move || Agent::builder("assistant").model(agents.clone()).tools(tools.clone()))
            .unwrap();
    let runtime = || Runtime::builder().graph(&trend_graph().unwrap()).provide(Desk::default());
    let passing = runtime().build();
    Here::made(runtime(), |server| {
        server.agent(TrendAgent).chat(Chat::new(model)).assistant(assistant).ephemeral_runtime(passing)
    })
    .await
}

const SERVED: [&str; 2] = ["openapi.json", "asyncapi.json"];

#[tokio::test]
async fn the_api_documents_differ_from_the_pinned_ones_only_by_addition() {
    let here = server().await;
    for name in SERVED {
        let present = here.get(&format!("/{name}")).await.body;
        let faults = Comparison::faults(&stored(pin(name)), &present, false);
        assert!(faults.is_empty(), "{name}: {faults:#?}");
    }
}

#[test]
fn the_event_schema_differs_from_the_pinned_one_only_by_addition() {
    let present = stored(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/event.schema.json"));
    let faults = Comparison::faults(&stored(pin("event.schema.json")), &present, true);
    assert!(faults.is_empty(), "{faults:#?}");
}

#[tokio::test]
#[ignore = "writes the pins; run it once for a new document"]
async fn write_the_pins() {
    let here = server().await;
    for name in SERVED {
        let document = bare(&here.get(&format!("/{name}")).await.body, false);
        let text = serde_json::to_string_pretty(&document).unwrap();
        fs::write(pin(name), text + "\n").unwrap();
    }
}

#[test]
fn a_comparison_finds_what_is_gone_or_changed_and_allows_additions() {
    let old = json!({
        "paths": {"/run": {"post": {"responses": {"200": {"description": "a"}}, "parameters": [{"name": "x", "in": "query"}]}}},
        "schemas": {"A": {"type": "object", "required": ["a"], "enum": ["x", "y"], "properties": {"a": {"type": "string"}, "b": {}, "title": {"type": "string"}}}},
    });
    let faults = |change: fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new);
        Comparison::faults(&old, &new, false).len()
    };
    assert_eq!(faults(|_| {}), 0);
    assert_eq!(faults(|new| new["paths"]["/new"] = json!({})), 0);
    assert_eq!(faults(|new| new["paths"]["/run"]["post"]["responses"]["200"]["description"] = json!("b")), 0);
    assert_eq!(faults(|new| new["schemas"]["A"]["enum"] = json!(["y", "z", "x"])), 0);
    assert_eq!(faults(|new| new["schemas"]["A"]["enum"] = json!(["x"])), 1);
    assert_eq!(faults(|new| new["schemas"]["A"]["required"] = json!([])), 1);
    assert_eq!(faults(|new| new["schemas"]["A"]["required"] = json!(["a", "b"])), 1);
    assert_eq!(faults(|new| new["schemas"]["A"]["required"] = json!(["a", "c"])), 0);
    assert_eq!(faults(|new| new["schemas"]["A"]["properties"]["a"]["type"] = json!("integer")), 1);
    assert_eq!(faults(|new| new["schemas"]["A"]["properties"]["title"]["type"] = json!("integer")), 1);
    assert_eq!(faults(|new| new["paths"]["/run"]["post"]["responses"] = json!({"201": {}})), 1);
    assert_eq!(
        faults(|new| new["paths"]["/run"]["post"]["parameters"] = json!([{"name": "y", "in": "query"}])),
        1
    );
    assert_eq!(faults(|new| new["paths"] = json!({})), 1);
    let (old, new) = (
        json!({"properties": {"a": {"$ref": "#/$defs/Old"}}, "$defs": {"Old": {"type": "string"}}}),
        json!({"properties": {"a": {"$ref": "#/$defs/New"}}, "$defs": {"New": {"type": "string"}}}),
    );
    assert_eq!(Comparison::faults(&old, &new, true).len(), 0);
    assert_eq!(
        Comparison::faults(
            &old,
            &json!({"properties": {"a": {"$ref": "#/$defs/N"}}, "$defs": {"N": {"type": "null"}}}),
            true
        )
        .len(),
        1
    );
}
