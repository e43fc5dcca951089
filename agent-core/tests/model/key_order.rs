//! Models generate the fields of a schema in its order, so every client sends the order of the author.

#[cfg(feature = "native")]
use agent_core::model::genai::Native;
use agent_core::model::{
    Message, Model, ModelRequest, ResponseFormat, ToolSpec,
    openai::{OpenAi, Protocol},
};
use agent_core::tool::schema;
use proptest::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::server::{Answer, Server};

/// A schema with property names in no particular order, at every depth.
fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(json!({"type": "string"})), Just(json!({"type": "integer"}))];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let named = prop::collection::vec(("[a-z가-힣]{1,6}", inner.clone()), 1..6);
        prop_oneof![named.prop_map(object), inner.prop_map(|items| json!({"type": "array", "items": items})),]
    })
    .prop_flat_map(|inner| {
        let names = Just(vec!["reasoning", "answer", "z", "a", "m"]).prop_shuffle();
        (names, Just(inner))
    })
    .prop_map(|(names, inner)| {
        object(names.into_iter().map(|name| (name.to_owned(), inner.clone())).collect())
    })
}

fn object(properties: Vec<(String, Value)>) -> Value {
    let properties: Map<String, Value> = properties.into_iter().collect();
    let required: Vec<&String> = properties.keys().collect();
    json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false})
}

/// The names of the properties of every object in a schema, or in a request that contains it, in their order.
fn orders(value: &Value, found: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                if let (true, Some(properties)) = (name == "properties", value.as_object()) {
                    found.push(properties.keys().cloned().collect());
                    properties.values().for_each(|value| orders(value, found));
                } else {
                    orders(value, found);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| orders(item, found)),
        _ => {}
    }
}

fn orders_of(value: &Value) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    orders(value, &mut found);
    found
}

fn tool(parameters: Value) -> ToolSpec {
    ToolSpec { name: "t".into(), description: "d".into(), parameters, strict: false }
}

/// Every client, with whether it sends response schemas.
fn clients(server: &Server) -> Vec<(&'static str, Model, bool)> {
    let openai = |protocol| {
        let builder =
            OpenAi::builder().base_url(&server.url).key("sk-abcdefgh").model("m").protocol(protocol);
        Model::new(builder.build().unwrap())
    };
    let clients =
        vec![("chat", openai(Protocol::Chat), true), ("responses", openai(Protocol::Responses), true)];
    #[cfg(feature = "native")]
    let clients = {
        let mut clients = clients;
        let anthropic =
            Native::anthropic("claude-test").key("sk-ant-abcdefgh").base_url(&server.url).build().unwrap();
        let gemini = Native::gemini("gemini-test").key("abcdefgh").base_url(&server.url).build().unwrap();
        clients.push(("anthropic", Model::new(anthropic), false));
        clients.push(("gemini", Model::new(gemini), true));
        clients
    };
    clients
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_order_of_a_schema_reaches_the_request_of_every_client(schema in any_schema()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::start([Answer::status(400, "{}")]).await;
            for (name, model, has_format) in clients(&server) {
                let request = ModelRequest::new([Message::user("hi")]);
                let mut requests = vec![request.clone().tools([tool(schema.clone())])];
                if has_format {
                    let format = ResponseFormat::JsonSchema { name: "r".into(), schema: schema.clone().into(), strict: true };
                    requests.push(request.response_format(format));
                }
                for request in requests {
                    model.complete(request).await.unwrap_err();
                    let body = server.seen().pop().unwrap().body;
                    assert_eq!(orders_of(&body), orders_of(&schema), "{name}: {body}");
                }
            }
        });
    }

    #[test]
    fn strict_forms_keep_the_order_of_the_author(schema in any_schema()) {
        prop_assert_eq!(orders_of(&schema::strict(&schema).unwrap()), orders_of(&schema));
        prop_assert_eq!(orders_of(&agent_core::model::schema::strict(&schema)), orders_of(&schema));
        prop_assert_eq!(orders_of(&schema::for_model(&schema).unwrap()), orders_of(&schema));
    }
}

/// The field order of a Rust type is the order of its schema.
#[derive(Debug, Deserialize, JsonSchema)]
struct Verdict {
    reasoning: String,
    confidence: Option<f64>,
    answer: Inner,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Inner {
    why: String,
    r#final: bool,
}

#[tokio::test]
async fn a_structured_answer_is_asked_for_in_the_field_order_of_the_type() {
    let text = r#"{"reasoning":"r","confidence":null,"answer":{"why":"w","final":true}}"#;
    let server = Server::start([Answer::says(&[text])]).await;
    for (name, model, has_format) in clients(&server).into_iter().take(1) {
        let verdict = model.extract::<Verdict>("really?").await.unwrap();
        assert_eq!(
            (
                verdict.reasoning.as_str(),
                verdict.confidence,
                verdict.answer.why.as_str(),
                verdict.answer.r#final
            ),
            ("r", None, "w", true)
        );
        let body = server.seen().pop().unwrap().body;
        assert!(has_format);
        let schema = &body["response_format"]["json_schema"]["schema"];
        let expected = [vec!["why", "final"], vec!["reasoning", "confidence", "answer"]];
        let mut found = orders_of(schema);
        found.sort();
        let mut expected =
            expected.map(|names| names.into_iter().map(str::to_owned).collect::<Vec<_>>()).to_vec();
        expected.sort();
        assert_eq!(found, expected, "{name}: {body}");
        assert_eq!(schema["required"], json!(["reasoning", "confidence", "answer"]));
    }
    let tool = schema::of::<Verdict>();
    assert_eq!(orders_of(&tool)[0], ["reasoning", "confidence", "answer"]);
    assert_eq!(orders_of(&schema::for_model(&tool).unwrap())[0], ["reasoning", "confidence", "answer"]);
}
