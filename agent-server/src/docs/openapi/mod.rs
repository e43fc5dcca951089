//! OpenAPI document, generated from the routes, their documentation, the error table and the types of the messages.

mod route_doc;

use agent_core::Code;
use serde_json::{Map, Value, json};

pub(crate) use self::route_doc::{RouteDoc, SESSION_ID};
use super::asyncapi;
use crate::{api::schema::Schemas, app::AppState, error::Rejection, http::router::Route};

/// Returns the schemas of all messages: those of routes, of errors and of the WebSocket.
pub(crate) fn schemas(docs: &[RouteDoc]) -> Map<String, Value> {
    let mut schemas = Schemas::default();
    for doc in docs {
        schemas.extend(&doc.schemas);
    }
    route_doc::add_errors(&mut schemas);
    asyncapi::add_messages(&mut schemas);
    let mut schemas = schemas.into_json();
    if let Some(answer) = schemas.get_mut("AnswerRequest") {
        answer["dependentRequired"] = json!({"id": ["value"]});
    }
    if let Some(error) = schemas.get_mut("Error") {
        error["properties"]["code"]["enum"] = json!(codes());
    }
    schemas
}

/// Returns the OpenAPI 3.1 document of a server, including its agents and custom routes.
pub(crate) fn document(app: &AppState, docs: &[RouteDoc]) -> Value {
    let agents: Vec<&str> = app.agents.iter().map(|agent| agent.graph()).collect();
    let mut schemas = schemas(docs);
    if let Some(request) = schemas.get_mut("RunRequest").map(|request| &mut request["properties"]) {
        if !agents.is_empty() {
            let mut names: Vec<Value> = agents.iter().map(|name| json!(name)).collect();
            names.push(Value::Null);
            request["agent"]["enum"] = json!(names);
        }
        if app.webhooks.is_none() {
            request["webhook"] = json!({
                "type": "null",
                "description": "Address that is notified when the run has ended. This server has no webhooks.",
            });
        }
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
        "paths": paths(app.router.iter(), docs),
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

fn paths<'a>(routes: impl Iterator<Item = &'a Route<AppState>>, docs: &[RouteDoc]) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let doc = docs.iter().find(|doc| doc.method == route.method && doc.paths.contains(&route.path));
        let operation = doc.map_or_else(|| custom_operation(route), |doc| doc.operation(route));
        let methods = paths.entry(route.path.clone()).or_insert_with(|| json!({}));
        methods[route.method.as_str().to_ascii_lowercase()] = operation;
    }
    json!(paths)
}

/// Operation of a custom route, of which only the path is known.
fn custom_operation(route: &Route<AppState>) -> Value {
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
        error::{Contract, status},
        handler::{route_docs, routes},
    };

    #[test]
    fn every_route_is_documented_and_every_documentation_has_a_route() {
        let served: BTreeSet<String> =
            routes().unwrap().iter().map(|route| format!("{} {}", route.method, route.path)).collect();
        let documented: BTreeSet<String> = route_docs()
            .iter()
            .flat_map(|doc| doc.paths.iter().map(|path| format!("{} {path}", doc.method)))
            .collect();
        assert_eq!(served, documented);
    }

    #[test]
    fn every_operation_has_its_own_name() {
        let paths = paths(routes().unwrap().iter(), &route_docs());
        let operations =
            paths.as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
        let ids: Vec<&str> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
    }

    #[test]
    fn every_code_is_documented_at_its_status_or_as_a_code_of_the_socket() {
        let paths = paths(routes().unwrap().iter(), &route_docs());
        let text = paths.to_string();
        let socket = asyncapi::codes();
        for code in codes() {
            let at = text.contains(&format!("`{code}`")) || socket.contains(&code);
            assert!(at || WITHOUT_ROUTE.contains(&code), "no operation has the code {code}");
        }
        let busy = paths["/run"]["post"]["responses"]["409"]["description"].to_string();
        assert_eq!(status(Contract::TaskAgent, Code::SessionBusy), 409);
        assert!(busy.contains("session_busy"), "{busy}");
    }

    /// Codes of requests without a route.
    const WITHOUT_ROUTE: &[&str] = &["not_found", "method_not_allowed"];
}
