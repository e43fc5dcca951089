//! Documentation of one route: its parameters, bodies, responses and errors. Errors come from the table of errors.

use std::collections::BTreeMap;

use agent_core::Code;
use hyper::Method;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    api::schema::{Schemas, reference},
    app::AppState,
    error::{Contract, Rejection, body, pages, status},
    http::router::{AuthPolicy, Route},
};

/// Pattern of session ids.
pub(crate) const SESSION_ID: &str = "^[A-Za-z0-9._:-]{1,128}$";

/// Documentation of a route.
pub(crate) struct RouteDoc {
    pub(super) method: Method,
    /// The path, and its aliases.
    pub(super) paths: Vec<String>,
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    text: &'static str,
    parameters: Vec<Value>,
    body: Option<Value>,
    responses: BTreeMap<u16, Value>,
    codes: Vec<Code>,
    rejections: Vec<Rejection>,
    pub(super) schemas: Schemas,
}

impl RouteDoc {
    pub(crate) fn new(
        method: Method,
        path: &str,
        id: &'static str,
        tag: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            method,
            paths: vec![path.to_owned()],
            id,
            tag,
            summary,
            text: "",
            parameters: Vec::new(),
            body: None,
            responses: BTreeMap::new(),
            codes: Vec::new(),
            rejections: Vec::new(),
            schemas: Schemas::default(),
        }
    }

    /// Adds the alias under `/api/agent`.
    pub(crate) fn aliased(mut self) -> Self {
        let alias = format!("/api/agent{}", self.paths[0]);
        self.paths.push(alias);
        self
    }

    pub(crate) const fn text(mut self, text: &'static str) -> Self {
        self.text = text;
        self
    }

    /// Adds the session in the path, which must exist.
    pub(crate) fn of_session(self) -> Self {
        self.names_session().codes(&[Code::SessionNotFound, Code::StoredState]).of_store()
    }

    /// Adds the session in the path, which need not exist.
    pub(crate) fn names_session(self) -> Self {
        let schema = json!({"type": "string", "pattern": SESSION_ID});
        let named = self.parameter("path", "session_id", true, &schema, "Id of the session.");
        named.codes(&[Code::InvalidSessionId])
    }

    /// Adds the errors of the store.
    pub(crate) fn of_store(self) -> Self {
        self.codes(&[Code::StoreUnavailable, Code::StoreCorrupt])
    }

    /// Adds a numeric query parameter.
    pub(crate) fn number(self, name: &'static str, required: bool, text: &'static str) -> Self {
        let schema = json!({"type": "integer", "minimum": 0});
        self.parameter("query", name, required, &schema, text).rejections(&[Rejection::InvalidRequest])
    }

    /// Adds a parameter.
    pub(crate) fn parameter(
        self,
        location: &str,
        name: &str,
        required: bool,
        schema: &Value,
        text: &str,
    ) -> Self {
        self.raw_parameter(json!({
            "name": name, "in": location, "required": required, "description": text, "schema": schema,
        }))
    }

    /// Adds a parameter object.
    pub(crate) fn raw_parameter(mut self, parameter: Value) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// Sets the request body, with examples of the form `(name, summary, value)`.
    pub(crate) fn request_body<T: ToSchema>(
        mut self,
        required: bool,
        examples: &[(&str, &str, Value)],
    ) -> Self {
        let examples: BTreeMap<&str, Value> = examples
            .iter()
            .map(|(name, summary, value)| (*name, json!({"summary": summary, "value": value})))
            .collect();
        let schema = reference(&self.schemas.add::<T>());
        let content = json!({"schema": {"$ref": schema}, "examples": examples});
        self.body = Some(json!({"required": required, "content": {"application/json": content}}));
        self.rejections(&[Rejection::InvalidJson, Rejection::InvalidRequest, Rejection::TooDeep])
            .rejections(&[Rejection::BodyTooLarge, Rejection::BodyTimedOut, Rejection::Overloaded])
    }

    /// Adds a JSON response.
    pub(crate) fn response<T: ToSchema>(mut self, status: u16, text: &str) -> Self {
        let schema = reference(&self.schemas.add::<T>());
        let content = json!({"application/json": {"schema": {"$ref": schema}}});
        self.responds(status, json!({"description": text, "content": content}))
    }

    /// Adds a stream of server-sent events with `T` as data. OpenAPI 3.2 has `itemSchema` for it; 3.1 has no keyword.
    pub(crate) fn streams<T: ToSchema>(mut self, example: &str) -> Self {
        let name = self.schemas.add::<T>();
        let item = json!({"$ref": reference(&name)});
        let content = json!({"text/event-stream": {"x-item-schema": item, "example": example}});
        self.responds(
            200,
            json!({"description": format!("The stream: each `data` is a `{name}`."), "content": content}),
        )
    }

    /// Adds a response.
    pub(crate) fn responds(mut self, status: u16, response: Value) -> Self {
        self.responses.insert(status, response);
        self
    }

    /// Adds links from a response to the operations on its session. The response must have been added.
    pub(crate) fn links(mut self, status: u16, operations: &[&str]) -> Self {
        let link = |operation: &&str| {
            let parameters = json!({"session_id": "$response.body#/session_id"});
            ((*operation).to_owned(), json!({"operationId": operation, "parameters": parameters}))
        };
        let links: serde_json::Map<String, Value> = operations.iter().map(link).collect();
        if let Some(response) = self.responses.get_mut(&status) {
            response["links"] = Value::Object(links);
        }
        self
    }

    /// Adds error codes of `agent-core`.
    pub(crate) fn codes(mut self, codes: &[Code]) -> Self {
        self.codes.extend(codes);
        self
    }

    /// Adds error codes of the server.
    pub(crate) fn rejections(mut self, rejections: &[Rejection]) -> Self {
        self.rejections.extend(rejections);
        self
    }

    /// Adds the schema of a type that `responds` refers to, and returns a reference to it.
    pub(crate) fn schema<T: ToSchema>(&mut self) -> Value {
        json!({"$ref": reference(&self.schemas.add::<T>())})
    }

    pub(crate) const fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the path and its aliases.
    pub(crate) fn paths(&self) -> &[String] {
        &self.paths
    }

    /// Returns the names of the query parameters.
    pub(crate) fn query_names(&self) -> Vec<String> {
        let query = self.parameters.iter().filter(|parameter| parameter["in"] == "query");
        query.filter_map(|parameter| parameter["name"].as_str().map(str::to_owned)).collect()
    }

    /// Returns the operation for one of the paths.
    pub(super) fn operation(&self, route: &Route<AppState>) -> Value {
        let main = &self.paths[0];
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
            "responses": self.all_responses(route),
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

    fn all_responses(&self, route: &Route<AppState>) -> Value {
        let mut errors: BTreeMap<u16, Vec<&'static str>> = BTreeMap::new();
        let mut add = |status: u16, code| {
            let codes = errors.entry(status).or_default();
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
        for rejection in self.rejections.iter().chain(&always) {
            add(rejection.status().as_u16(), rejection.name());
        }
        let mut responses: BTreeMap<String, Value> =
            self.responses.iter().map(|(status, response)| (status.to_string(), response.clone())).collect();
        for (status, codes) in errors {
            responses.insert(status.to_string(), error_response(route.contract, &codes));
        }
        json!(responses)
    }
}

/// Adds the schemas of errors.
pub(super) fn add_errors(schemas: &mut Schemas) {
    schemas.add::<body::TaskAgentError>();
    schemas.add::<body::ChatError>();
    schemas.add::<body::OpenAiError>();
}

/// Returns an error response with one of these codes.
fn error_response(contract: Contract, codes: &[&'static str]) -> Value {
    let text: Vec<String> = codes
        .iter()
        .map(|code| {
            format!("- [`{code}`](/docs/errors/{code}): {}", pages::summary(code).unwrap_or_default())
        })
        .collect();
    let of = |name: &str| json!({"$ref": reference(name)});
    let schema = match contract {
        Contract::TaskAgent => {
            let name = body::TaskAgentError::name();
            json!({"allOf": [of(&name), {"properties": {"code": {"enum": codes}}}]})
        }
        // Model errors have further codes.
        Contract::Chat | Contract::ToolChat => of(&body::ChatError::name()),
        Contract::OpenAi => of(&body::OpenAiError::name()),
    };
    json!({"description": text.join("\n"), "content": {"application/json": {"schema": schema}}})
}
