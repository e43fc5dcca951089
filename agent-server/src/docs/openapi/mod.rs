//! OpenAPI document, generated from the routes, the error table and the wire types.

mod chats;
mod entry;
mod pages;
mod sessions;
mod task_agent;

use agent_core::Code;
use serde_json::{Map, Value, json};

use self::entry::Entry;
use super::shape;
use crate::{app::AppState, error::Rejection, http::router::Route};

/// Returns the OpenAPI 3.1 document of a server, including its agents and custom routes.
pub(crate) fn document(app: &AppState) -> Value {
    let agents: Vec<&str> = app.agents.iter().map(|agent| agent.graph()).collect();
    let mut schemas = shape::all();
    if let Some(agent) = schemas.get_mut("RunRequest").map(|run| &mut run["properties"]["agent"])
        && !agents.is_empty()
    {
        let mut names: Vec<Value> = agents.iter().map(|name| json!(name)).collect();
        names.push(Value::Null);
        agent["enum"] = json!(names);
    }
    if let Some(answer) = schemas.get_mut("AnswerRequest") {
        answer["dependentRequired"] = json!({"id": ["value"]});
    }
    if let Some(error) = schemas.get_mut("Error") {
        error["properties"]["code"]["enum"] = json!(codes());
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "agent-server",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
            "description": ABOUT,
        },
        "servers": [{"url": "/", "description": "This server"}],
        "tags": TAGS.iter().map(|(name, text)| json!({"name": name, "description": text})).collect::<Vec<_>>(),
        "paths": paths(app.router.iter()),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key or a JWT, as `Authorization: Bearer ..`. Required if the operator has configured \
                                    keys; a server on loopback without keys requires none.",
                },
            },
        },
        "externalDocs": {"url": "/docs/websocket", "description": "The messages of the WebSocket"},
    })
}

const ABOUT: &str = "Durable agents over HTTP: start a run, watch it, answer its questions, stop and resume it.\n\n\
     Every event of a session has a number in its journal. The WebSocket and the event stream follow the journal without \
     loss: a client that reconnects sends the number of the last event. See [the WebSocket messages](/docs/websocket) and \
     [AsyncAPI](/asyncapi.json). Errors are `{code, message, ..}`; [every code has a page](/docs/errors).\n\n\
     한국어를 비롯한 모든 UTF-8 텍스트를 그대로 주고받습니다.";

const TAGS: &[(&str, &str)] = &[
    ("runs", "Start, watch, stop and resume runs. Also available under `/api/agent`."),
    ("sessions", "List sessions, read their journals, fork them at a checkpoint."),
    ("agents", "The agents of this server."),
    ("chats", "The streaming chat, the agent with tools, and OpenAI's chat completions with every agent."),
    ("operations", "Health, readiness and metrics."),
    ("pages", "The dashboard and these documents."),
    ("own", "Custom routes of the embedding program."),
];

/// Returns all error codes.
pub(crate) fn codes() -> Vec<&'static str> {
    let core = Code::ALL.iter().map(|code| code.name());
    core.chain(Rejection::ALL.iter().map(|refusal| refusal.name())).collect()
}

fn entries() -> Vec<Entry> {
    let mut entries = task_agent::entries();
    entries.extend(sessions::entries());
    entries.extend(chats::entries());
    entries.extend(pages::entries());
    entries
}

fn paths<'a>(routes: impl Iterator<Item = &'a Route<AppState>>) -> Value {
    let entries = entries();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let known =
            entries.iter().find(|entry| entry.method == route.method && entry.places.contains(&route.path));
        let operation = known.map_or_else(|| own(route), |entry| entry.operation(route));
        let methods = paths.entry(route.path.clone()).or_insert_with(|| json!({}));
        methods[route.method.as_str().to_ascii_lowercase()] = operation;
    }
    json!(paths)
}

/// Operation of a custom route, of which only the path is known.
fn own(route: &Route<AppState>) -> Value {
    let parts = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameters: Vec<Value> = parts
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    json!({
        "tags": ["own"],
        "summary": "Custom route of the embedding program",
        "parameters": parameters,
        "responses": {"default": {"description": "The response of the program."}},
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        docs::asyncapi,
        error::{Contract, status},
        handler,
    };

    #[test]
    fn every_path_is_described_and_every_description_is_of_a_path() {
        let routes = handler::routes().unwrap();
        let served: BTreeSet<String> =
            routes.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
        let described: BTreeSet<String> = entries()
            .iter()
            .flat_map(|entry| entry.places.iter().map(|place| format!("{} {place}", entry.method)))
            .collect();
        assert_eq!(served, described);
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let routes = handler::routes().unwrap();
        let paths = paths(routes.iter());
        let operations =
            paths.as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
        let ids: Vec<&str> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
    }

    #[test]
    fn every_code_stands_at_the_status_that_it_is_sent_with_or_among_those_of_the_socket() {
        let routes = handler::routes().unwrap();
        let told = paths(routes.iter()).to_string();
        let socket = asyncapi::codes();
        for code in codes() {
            let at = told.contains(&format!("`{code}`")) || socket.contains(&code);
            assert!(at || ANYWHERE.contains(&code), "no operation tells of {code}");
        }
        let busy = paths(routes.iter())["/run"]["post"]["responses"]["409"]["description"].to_string();
        assert_eq!(status(Contract::TaskAgent, Code::SessionBusy), 409);
        assert!(busy.contains("session_busy"), "{busy}");
    }

    /// What is said before any operation is found.
    const ANYWHERE: &[&str] = &["not_found", "method_not_allowed"];
}
