//! Middleware: its order, what it changes, and its calls after a crash.

use std::sync::Arc;

use agent_core::{
    Agent, AgentState, Context, Graph, Result,
    agent::{AgentStateUpdate, Middleware, NextModel, NextTool},
    ids::Seq,
    model::{
        Message, Model, ModelError, ModelErrorKind, ModelReply, ModelRequest, Role,
        testing::{Scripted, Turn},
    },
    tool::{DynamicTool, ToolCall, ToolPolicy, ToolRegistry},
};
use parking_lot::Mutex;
use serde_json::json;
use tests::{journal, on, soon};

type Log = Arc<Mutex<Vec<String>>>;

/// Notes what it sees.
struct Noted(&'static str, Log);

impl Noted {
    fn note(&self, what: &str) {
        self.1.lock().push(format!("{} {what}", self.0));
    }
}

impl Middleware for Noted {
    async fn before_agent(&self, state: &AgentState, _: &Context) -> Result<Option<AgentStateUpdate>> {
        self.note(&format!("begins with {}", state.messages.len()));
        Ok(None)
    }

    async fn after_agent(&self, answer: Message, _: &AgentState, _: &Context) -> Result<Message> {
        self.note("ends");
        Ok(answer)
    }

    async fn before_model(&self, request: ModelRequest, _: &Context) -> Result<ModelRequest> {
        self.note("asks");
        Ok(request)
    }

    async fn after_model(&self, reply: ModelReply, _: &Context) -> Result<ModelReply> {
        self.note("reads");
        Ok(reply)
    }

    async fn wrap_tool(&self, call: ToolCall, _: &Context, next: NextTool<'_>) -> Result<Message> {
        self.note(&format!("calls {}", call.name));
        next.call(call).await
    }
}

fn tools() -> ToolRegistry {
    let schema = json!({ "type": "object", "properties": {} });
    let card = DynamicTool::new("card", "The card.", schema, |_, _| async { Ok("card 4111".into()) });
    ToolRegistry::builder().tool(card.with_policy(ToolPolicy::read_only())).build().unwrap()
}

#[tokio::test]
async fn the_first_middleware_is_the_outermost_around_models_tools_and_the_agent() {
    let log = Log::default();
    let model = Scripted::new([Turn::call("card", json!({})), Turn::text("done")]);
    let agent = Agent::builder("a")
        .tools(tools())
        .middleware(Noted("outer", Arc::clone(&log)))
        .middleware(Noted("inner", Arc::clone(&log)))
        .model(Model::new(model))
        .build()
        .unwrap();
    let session = on(&journal()).build().session("s").unwrap();
    session.run(&agent, "go").await.unwrap();
    let wanted = [
        "outer begins with 1",
        "inner begins with 1",
        "outer asks",
        "inner asks",
        "inner reads",
        "outer reads",
        "outer calls card",
        "inner calls card",
        "outer asks",
        "inner asks",
        "inner reads",
        "outer reads",
        "inner ends",
        "outer ends",
    ];
    assert_eq!(*log.lock(), wanted);
}

/// Repeats a call that failed, removes card numbers from results, and signs answers.
struct House;

impl Middleware for House {
    async fn wrap_model(
        &self,
        request: ModelRequest,
        _: &Context,
        next: NextModel<'_>,
    ) -> Result<ModelReply> {
        match next.call(request.clone()).await {
            Err(error) if error.is_retryable() => next.call(request).await,
            reply => reply,
        }
    }

    async fn after_tool(&self, result: Message, _: &Context) -> Result<Message> {
        let text = result.text().replace("4111", "[number]");
        let (id, name) = (result.tool_call_id.clone().unwrap_or_default(), result.name.clone());
        Ok(Message::tool_result(id, text).with_name(name.unwrap_or_default()).with_id(result.id))
    }

    async fn after_agent(&self, answer: Message, _: &AgentState, _: &Context) -> Result<Message> {
        let text = format!("{} -- the house", answer.text());
        Ok(Message::assistant(text).with_id(answer.id))
    }
}

fn house(calls: &Arc<Mutex<Vec<usize>>>) -> (Graph<AgentState>, Model) {
    let calls = Arc::clone(calls);
    let model = Scripted::rule(move |_, request| {
        let mut calls = calls.lock();
        calls.push(request.messages.len());
        let last = request.messages.last().unwrap();
        // The first call for each conversation fails.
        match (last.role, calls.iter().filter(|len| **len == request.messages.len()).count()) {
            (_, 1) => Turn::error(ModelError::new(ModelErrorKind::Overloaded { retry_after: None })),
            (Role::User, _) => Turn::call("card", json!({})),
            _ => Turn::text(format!("read: {}", last.text())),
        }
    });
    let agent = Agent::builder("a").tools(tools()).middleware(House).build().unwrap();
    (agent, Model::new(model))
}

#[tokio::test]
async fn calls_of_a_middleware_are_recorded_one_by_one_wherever_the_process_dies() {
    let inner = journal();
    let calls = Arc::<Mutex<Vec<usize>>>::default();
    let (agent, model) = house(&calls);
    let session = on(&inner).model(model).build().session("s").unwrap();
    let outcome = session.run(&agent, "go").await.unwrap();
    let answer = "read: card [number] -- the house";
    assert_eq!(outcome.state().unwrap().answer(), answer);
    assert_eq!(*calls.lock(), [1, 1, 3, 3]);
    let events = session.events(Seq::ZERO, 1_000).await.unwrap();
    let recorded = |upto: Seq| {
        let before = events.iter().filter(|event| event.seq <= Some(upto));
        before.filter(|event| serde_json::to_value(event).unwrap()["data"]["kind"] == "model").count()
    };
    let last = events.last().unwrap().seq.unwrap();
    assert_eq!(recorded(last), 4, "each call, the failed ones included");
    for seq in (1..last.0).map(Seq) {
        // The model goes on as it was: a call that is recorded is not made again.
        calls.lock().clear();
        calls.lock().extend_from_slice(&[1, 1, 3, 3][..recorded(seq)]);
        let (agent, model) = house(&calls);
        let later = on(&inner).model(model).graph(&agent).build();
        let fork = later.session("s").unwrap().fork(seq, format!("f-{seq}").parse().unwrap()).await.unwrap();
        let outcome = soon(fork.resume().await.unwrap().outcome::<AgentState>()).await.unwrap();
        assert_eq!(outcome.state().unwrap().answer(), answer, "{seq}");
        assert_eq!(*calls.lock(), [1, 1, 3, 3], "{seq}");
    }
}
