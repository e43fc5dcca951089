//! The model layer against a mocked endpoint with faults: what is wrong has a name, is tried again, and nothing that was
//! shown is shown twice without a word.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use agent_core::{
    Agent, Runtime,
    event::EventBody,
    model::{
        ChatModel, Delta, Model, ModelCapabilities, ModelError, ModelErrorKind, ModelRequest, ModelStream,
        RetryModel,
        openai::{OpenAi, Protocol},
    },
    tool::{DynamicTool, ToolOutput, ToolRegistry},
};
use futures::StreamExt;
use serde_json::json;

use super::reported;

const BOTH: [Protocol; 2] = [Protocol::Chat, Protocol::Responses];

fn endpoint(protocol: Protocol) -> OpenAi {
    let made =
        OpenAi::builder().base_url(format!("{}/v1", reported("REAL_AIMOCK_URL"))).key("mock").model("gpt-4o");
    made.protocol(protocol).build().unwrap()
}

/// The endpoint with a fault: always, or for the first request only.
struct Faulty {
    model: Model,
    header: &'static str,
    once: bool,
    used: AtomicBool,
}

impl Faulty {
    fn new(protocol: Protocol, header: &'static str, once: bool) -> Self {
        Self { model: Model::new(endpoint(protocol)), header, once, used: AtomicBool::new(false) }
    }
}

impl ChatModel for Faulty {
    fn name(&self) -> &str {
        self.model.name()
    }

    fn capabilities(&self) -> ModelCapabilities {
        self.model.capabilities()
    }

    async fn stream(&self, request: ModelRequest) -> Result<ModelStream, ModelError> {
        let used = self.used.swap(true, Ordering::SeqCst);
        let request = if used && self.once { request } else { request.header(self.header, "1") };
        self.model.stream(request).await
    }
}

#[tokio::test]
#[ignore = "needs npm's aimock; run by .ci/real"]
async fn an_answer_is_read_in_both_protocols() {
    for protocol in BOTH {
        let reply = Model::new(endpoint(protocol)).complete("hello").await.unwrap();
        assert_eq!(reply.message.text(), "Hello! 안녕하세요, how can I help?", "{protocol:?}");
    }
}

#[tokio::test]
#[ignore = "needs npm's aimock; run by .ci/real"]
async fn each_fault_has_its_name() {
    for protocol in BOTH {
        for (header, wanted) in [
            ("x-aimock-chaos-ratelimit", "model_rate_limited"),
            ("x-aimock-chaos-malformed", "model_malformed"),
            ("x-aimock-chaos-drop", "model_overloaded"),
            ("x-aimock-chaos-disconnect", "model_transport"),
        ] {
            let error = Model::new(Faulty::new(protocol, header, false)).complete("hello").await.unwrap_err();
            assert_eq!(error.code(), wanted, "{protocol:?} {header}: {error:?}");
            assert!(error.is_retryable());
            if let ModelErrorKind::RateLimited { .. } = error.kind() {
                assert_eq!(error.retry_after().unwrap().as_secs(), 1, "as RetryModel-After says");
            }
        }
    }
}

#[tokio::test]
#[ignore = "needs npm's aimock; run by .ci/real"]
async fn a_fault_that_passes_is_tried_again() {
    for protocol in BOTH {
        for header in ["x-aimock-chaos-ratelimit", "x-aimock-chaos-malformed", "x-aimock-chaos-disconnect"] {
            let began = std::time::Instant::now();
            let model = Model::new(RetryModel::new(Faulty::new(protocol, header, true)));
            let reply = model.complete("hello").await.unwrap();
            assert_eq!(reply.message.text(), "Hello! 안녕하세요, how can I help?", "{protocol:?} {header}");
            if header.ends_with("ratelimit") {
                assert!(began.elapsed().as_millis() >= 1_000, "the wait it asked for is kept");
            }
        }
    }
}

/// What a subscriber has on the screen, and how often it was told to begin anew.
async fn shown(model: &Model, prompt: &str) -> (String, u32, Option<ModelError>) {
    let (mut text, mut restarts) = (String::new(), 0);
    let mut stream = model.stream(prompt).await.unwrap();
    while let Some(delta) = stream.next().await {
        match delta {
            Ok(Delta::Text { text: piece }) => text.push_str(&piece),
            Ok(Delta::Restarted { .. }) => {
                text.clear();
                restarts += 1;
            }
            Ok(_) => {}
            Err(error) => return (text, restarts, Some(error)),
        }
    }
    (text, restarts, None)
}

#[tokio::test]
#[ignore = "needs npm's aimock; run by .ci/real"]
async fn an_answer_cut_in_the_middle_is_an_error_and_a_repetition_is_told() {
    for protocol in BOTH {
        let (text, _, error) = shown(&Model::new(endpoint(protocol)), "cut").await;
        let code = error.unwrap().code();
        assert!(!text.is_empty() && text.len() < 60, "{protocol:?}: {text}");
        assert!(matches!(code, "model_cut" | "model_transport"), "{protocol:?}: {code}");
        let policy = agent_core::retry::RetryPolicy::attempts(3);
        let (text, restarts, error) =
            shown(&Model::new(RetryModel::new(endpoint(protocol)).policy(policy)), "cut").await;
        assert_eq!((restarts, error.unwrap().attempts()), (2, 3));
        assert_eq!(text.matches("One two").count(), 1, "never on the screen twice: {text}");
    }
}

#[tokio::test]
#[ignore = "needs npm's aimock; run by .ci/real"]
async fn an_agent_calls_its_tool_and_answers_in_both_protocols_and_through_a_fault() {
    for protocol in BOTH {
        let seen = Arc::new(AtomicBool::new(false));
        let called = Arc::clone(&seen);
        let schema =
            json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
        let weather = DynamicTool::new("weather", "The weather.", schema, move |args, _| {
            assert!(!called.swap(true, Ordering::SeqCst), "called once");
            async move { Ok(ToolOutput::text(format!("{} 맑음", args["city"]))) }
        });
        let tools = ToolRegistry::builder().tool(weather).build().unwrap();
        let agent = Agent::builder("a").tools(tools).build().unwrap();
        let model = Model::new(RetryModel::new(Faulty::new(protocol, "x-aimock-chaos-disconnect", true)));
        let session = Runtime::builder().model(model).build().session("s").unwrap();
        let mut stream = session.run(&agent, "weather").stream().await.unwrap();
        let mut calls = 0;
        while let Some(event) = stream.next().await {
            calls += u32::from(matches!(event.unwrap().body, EventBody::ToolCalled(_)));
        }
        let outcome = stream.outcome::<agent_core::AgentState>().await.unwrap();
        assert_eq!(outcome.state().unwrap().answer(), "맑아요.", "{protocol:?}");
        assert!(seen.load(Ordering::SeqCst) && calls >= 1, "{calls}");
    }
}
