//! What is said of one way in: enough to write its operation, its refusals taken from the table of errors.

use std::collections::BTreeMap;

use agent_core::Code;
use hyper::Method;
use serde_json::{Value, json};

use crate::{
    app::AppState,
    docs::errors,
    error::{Contract, Rejection, status},
    http::router::{AuthPolicy, Route},
};

/// One way in. At several places when it has aliases.
pub(super) struct Entry {
    pub(super) method: Method,
    /// Where it is; the first is the one that is meant, the others are the same.
    pub(super) places: Vec<String>,
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    text: &'static str,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: BTreeMap<u16, Value>,
    codes: Vec<Code>,
    refusals: Vec<Rejection>,
}

impl Entry {
    pub(super) fn new(
        method: Method,
        path: &str,
        id: &'static str,
        tag: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            method,
            places: vec![path.to_owned()],
            id,
            tag,
            summary,
            text: "",
            parameters: Vec::new(),
            body: None,
            answers: BTreeMap::new(),
            codes: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// It is under `/api/agent` too.
    pub(super) fn aliased(mut self) -> Self {
        let alias = format!("/api/agent{}", self.places[0]);
        self.places.push(alias);
        self
    }

    pub(super) const fn text(mut self, text: &'static str) -> Self {
        self.text = text;
        self
    }

    /// The session in its path, which must exist.
    pub(super) fn of_session(self) -> Self {
        let found = self.names_session();
        found.codes(&[Code::SessionNotFound, Code::StoredState]).of_store()
    }

    /// The session in its path, which need not exist.
    pub(super) fn names_session(self) -> Self {
        let schema = json!({"type": "string", "pattern": SESSION});
        self.parameter("path", "session_id", true, &schema, "The session.").codes(&[Code::InvalidSessionId])
    }

    /// It reads or writes the store.
    pub(super) fn of_store(self) -> Self {
        self.codes(&[Code::StoreUnavailable, Code::StoreCorrupt])
    }

    /// A number in the query.
    pub(super) fn number(self, name: &'static str, needed: bool, text: &'static str) -> Self {
        let schema = json!({"type": "integer", "minimum": 0});
        self.parameter("query", name, needed, &schema, text).refusals(&[Rejection::InvalidRequest])
    }

    pub(super) fn parameter(
        mut self,
        place: &str,
        name: &str,
        needed: bool,
        schema: &Value,
        text: &str,
    ) -> Self {
        self.parameters.push(
            json!({"name": name, "in": place, "required": needed, "description": text, "schema": schema}),
        );
        self
    }

    /// A parameter that is written in full.
    pub(super) fn raw_parameter(mut self, parameter: Value) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// A JSON body; examples by name, each with a line of text.
    pub(super) fn takes(mut self, schema: &str, needed: bool, examples: &[(&str, &str, Value)]) -> Self {
        let told: BTreeMap<&str, Value> = examples
            .iter()
            .map(|(name, summary, value)| (*name, json!({"summary": summary, "value": value})))
            .collect();
        let content = json!({"schema": {"$ref": reference(schema)}, "examples": told});
        self.body = Some(json!({"required": needed, "content": {"application/json": content}}));
        let (parse, size) = ([Rejection::InvalidJson, Rejection::InvalidRequest], [Rejection::TooDeep]);
        self.refusals(&parse).refusals(&size).refusals(&[
            Rejection::BodyTooLarge,
            Rejection::BodyTimedOut,
            Rejection::Overloaded,
        ])
    }

    /// A JSON answer.
    pub(super) fn gives(self, status: u16, schema: &str, text: &str) -> Self {
        let content = json!({"application/json": {"schema": {"$ref": reference(schema)}}});
        self.answers(status, json!({"description": text, "content": content}))
    }

    /// Any other answer.
    pub(super) fn answers(mut self, status: u16, response: Value) -> Self {
        self.answers.insert(status, response);
        self
    }

    /// Failures that `agent-core` names.
    pub(super) fn codes(mut self, codes: &[Code]) -> Self {
        self.codes.extend(codes);
        self
    }

    /// What the server refuses by itself.
    pub(super) fn refusals(mut self, refusals: &[Rejection]) -> Self {
        self.refusals.extend(refusals);
        self
    }

    /// The operation at one of its places.
    pub(super) fn operation(&self, route: &Route<AppState>) -> Value {
        let main = &self.places[0];
        let alias = route.path != *main;
        let text = match alias {
            true => format!("The same as `{} {main}`.\n\n{}", self.method, self.text),
            false => self.text.to_owned(),
        };
        let mut operation = json!({
            "operationId": if alias { format!("{}_alias", self.id) } else { self.id.to_owned() },
            "tags": [self.tag],
            "summary": self.summary,
            "parameters": self.parameters,
            "responses": self.responses(route),
        });
        if !text.is_empty() {
            operation["description"] = json!(text);
        }
        if let Some(body) = &self.body {
            operation["requestBody"] = body.clone();
        }
        operation["security"] = match route.auth {
            AuthPolicy::Public => json!([]),
            AuthPolicy::Authenticated | AuthPolicy::AuthenticatedSameOrigin => json!([{}, {"bearer": []}]),
        };
        operation
    }

    fn responses(&self, route: &Route<AppState>) -> Value {
        let mut refused: BTreeMap<u16, Vec<&'static str>> = BTreeMap::new();
        let mut add = |status: u16, code| {
            let codes = refused.entry(status).or_default();
            if !codes.contains(&code) {
                codes.push(code);
            }
        };
        for code in &self.codes {
            add(status(route.contract, *code).as_u16(), code.name());
        }
        let mut always = vec![Rejection::Internal];
        if route.auth == AuthPolicy::AuthenticatedSameOrigin || route.method != Method::GET {
            always.push(Rejection::OriginNotAllowed);
        }
        if route.auth != AuthPolicy::Public {
            always.extend([Rejection::Unauthorized, Rejection::InvalidToken, Rejection::RateLimited]);
        }
        for refusal in self.refusals.iter().chain(&always) {
            add(refusal.status().as_u16(), refusal.name());
        }
        let mut responses: BTreeMap<String, Value> =
            self.answers.iter().map(|(status, response)| (status.to_string(), response.clone())).collect();
        for (status, codes) in refused {
            responses.insert(status.to_string(), refusal(route.contract, &codes));
        }
        json!(responses)
    }
}

/// A response that refuses, with one of these codes.
fn refusal(contract: Contract, codes: &[&'static str]) -> Value {
    let told: Vec<String> = codes
        .iter()
        .map(|code| {
            format!("- [`{code}`](/docs/errors/{code}): {}", errors::summary(code).unwrap_or_default())
        })
        .collect();
    let of = |schema| json!({"$ref": reference(schema)});
    let schema = match contract {
        Contract::TaskAgent => json!({"allOf": [of("Error"), {"properties": {"code": {"enum": codes}}}]}),
        // A model's own faults have codes besides those of the list.
        Contract::Chat | Contract::ToolChat => of("ChatError"),
        Contract::OpenAi => of("OpenAiError"),
    };
    json!({"description": told.join("\n"), "content": {"application/json": {"schema": schema}}})
}

/// What a session id looks like.
pub(super) const SESSION: &str = "^[A-Za-z0-9._:-]{1,128}$";

pub(super) fn reference(schema: &str) -> String {
    format!("#/components/schemas/{schema}")
}
