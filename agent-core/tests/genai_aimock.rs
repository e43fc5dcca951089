//! Anthropic's and Gemini's own protocols against npm's aimock: an answer, a tool call and its result, faults by name.
//! Run by `.ci/real native`.
#![cfg(feature = "native")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use agent_core::{
    Agent, Runtime,
    model::{Model, ModelRequest, RetryModel, genai::Native},
    tool::{DynamicTool, ToolOutput, ToolRegistry},
};
use serde_json::json;

fn endpoints() -> Vec<(&'static str, Native)> {
    let url = std::env::var("REAL_AIMOCK_URL").unwrap();
    let claude = Native::anthropic("claude-sonnet-4-5").key("mock").base_url(format!("{url}/v1"));
    let gemini = Native::gemini("gemini-2.5-flash").key("mock").base_url(format!("{url}/v1beta"));
    vec![("anthropic", claude.build().unwrap()), ("gemini", gemini.build().unwrap())]
}

#[tokio::test]
#[ignore = "needs npm's aimock; run by .ci/real native"]
async fn an_answer_is_read_in_the_endpoints_own_protocol() {
    for (name, endpoint) in endpoints() {
        let reply = Model::new(endpoint).complete("hello").await.unwrap();
        assert_eq!(reply.message.text(), "Hello! 안녕하세요, how can I help?", "{name}");
    }
}

#[tokio::test]
#[ignore = "needs npm's aimock; run by .ci/real native"]
async fn each_fault_has_its_name_in_the_endpoints_own_protocol() {
    for (header, wanted) in [
        ("x-aimock-chaos-ratelimit", &["model_rate_limited"][..]),
        // genai passes over what it cannot read, so that the answer has no end.
        ("x-aimock-chaos-malformed", &["model_malformed", "model_cut"]),
        ("x-aimock-chaos-disconnect", &["model_transport", "model_cut"]),
    ] {
        for (name, endpoint) in endpoints() {
            let request = ModelRequest::new("hello").header(header, "1");
            let error = Model::new(endpoint).complete(request).await.unwrap_err();
            assert!(wanted.contains(&error.code()), "{name} {header}: {error:?}");
            assert!(error.is_retryable(), "{name} {header}: {error:?}");
        }
    }
}

#[tokio::test]
#[ignore = "needs npm's aimock; run by .ci/real native"]
async fn an_agent_calls_its_tool_and_answers_in_the_endpoints_own_protocol() {
    for (name, endpoint) in endpoints() {
        let schema =
            json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
        let weather = DynamicTool::new("weather", "The weather.", schema, |args, _| {
            assert_eq!(args["city"], "서울");
            async { Ok(ToolOutput::text("맑음")) }
        });
        let tools = ToolRegistry::builder().tool(weather).build().unwrap();
        let agent = Agent::builder("assistant").tools(tools).build().unwrap();
        let runtime = Runtime::builder().model(Model::new(RetryModel::new(endpoint))).build();
        let outcome = runtime.session("s").unwrap().run(&agent, "weather").await.unwrap();
        assert_eq!(outcome.state().map(|state| state.answer()).as_deref(), Some("맑아요."), "{name}");
    }
}
