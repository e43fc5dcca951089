//! Schemas of all messages, derived from types. `tests/it/docs.rs` validates real messages against them, including
//! unknown fields.
#![expect(dead_code, reason = "only their schemas are used")]

mod chats;
mod sessions;
mod socket;
mod task_agent;

use std::borrow::Cow;

use agent_core::{Event, graph::GraphDescription};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

pub(super) use self::{
    chats::{
        ChatError, ChatEvent, ChatRequest, Completion, CompletionChunk, CompletionRequest, ModelInfo,
        ModelList, OpenAiError, Ready, TalkEvent, TalkRequest, TalkResponse,
    },
    sessions::{Agents, Diff, Fork, ForkRequest, GraphOutline, JournalPage, SessionPage, SessionState},
    socket::{
        ClientInput, ClientPing, ClientResume, ClientStop, Complete, Failure, HitlRequest, Pong, SocketEvent,
        SocketStatus, TodoMessage,
    },
    task_agent::{
        AnswerRequest, Error, Health, ResumeResponse, RunRequest, RunResponse, StartResponse, StatusResponse,
    },
};

/// Reference to the schema of events, which `agent-core` generates.
pub(super) struct EventRef;

impl utoipa::PartialSchema for EventRef {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::Ref::from_schema_name("Event").into()
    }
}

impl ToSchema for EventRef {
    fn name() -> Cow<'static, str> {
        "Event".into()
    }
}

/// Returns every schema by name.
pub(super) fn all() -> Map<String, Value> {
    let mut found = Vec::new();
    take::<RunRequest>(&mut found);
    take::<AnswerRequest>(&mut found);
    take::<RunResponse>(&mut found);
    take::<StartResponse>(&mut found);
    take::<ResumeResponse>(&mut found);
    take::<StatusResponse>(&mut found);
    take::<Health>(&mut found);
    take::<Error>(&mut found);
    take::<Agents>(&mut found);
    take::<ChatRequest>(&mut found);
    take::<ChatEvent>(&mut found);
    take::<TalkRequest>(&mut found);
    take::<TalkEvent>(&mut found);
    take::<TalkResponse>(&mut found);
    take::<ChatError>(&mut found);
    take::<CompletionRequest>(&mut found);
    take::<Completion>(&mut found);
    take::<CompletionChunk>(&mut found);
    take::<ModelList>(&mut found);
    take::<ModelInfo>(&mut found);
    take::<OpenAiError>(&mut found);
    take::<Ready>(&mut found);
    take::<SessionPage>(&mut found);
    take::<JournalPage>(&mut found);
    take::<SessionState>(&mut found);
    take::<Diff>(&mut found);
    take::<Fork>(&mut found);
    take::<ForkRequest>(&mut found);
    take::<TodoMessage>(&mut found);
    take::<Complete>(&mut found);
    take::<Failure>(&mut found);
    take::<HitlRequest>(&mut found);
    take::<Pong>(&mut found);
    take::<SocketStatus>(&mut found);
    take::<SocketEvent>(&mut found);
    take::<ClientPing>(&mut found);
    take::<ClientStop>(&mut found);
    take::<ClientResume>(&mut found);
    take::<ClientInput>(&mut found);
    let mut all: Map<String, Value> = found.into_iter().map(|(name, schema)| (name, json!(schema))).collect();
    hoist(&mut all, "Event", Event::schema());
    hoist(&mut all, GraphOutline::NAME, schemars::schema_for!(GraphDescription).to_value());
    GraphOutline::complete(&mut all);
    all
}

fn take<T: ToSchema>(all: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>) {
    all.push((T::name().into_owned(), T::schema()));
    T::schemas(all);
}

/// Adds a schema, and moves its definitions to the top level under prefixed names.
fn hoist(all: &mut Map<String, Value>, name: &str, mut schema: Value) {
    point(&mut schema, name);
    let Some(fields) = schema.as_object_mut() else { return };
    fields.remove("$schema");
    if let Some(Value::Object(inner)) = fields.remove("$defs") {
        all.extend(inner.into_iter().map(|(inner, schema)| (format!("{name}.{inner}"), schema)));
    }
    all.insert(name.to_owned(), schema);
}

/// Adapts references to the prefixed names of definitions.
fn point(schema: &mut Value, name: &str) {
    match schema {
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                let inner = value.as_str().and_then(|at| at.strip_prefix("#/$defs/"));
                match inner.filter(|_| key == "$ref") {
                    Some(inner) => *value = json!(format!("#/components/schemas/{name}.{inner}")),
                    None => point(value, name),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| point(item, name)),
        _ => {}
    }
}
