//! An agent that does what the message requests: echo, wait, fail, panic, ask, flood.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use agent_core::{
    Context, END, Graph, NodeError, Question, Result, Runtime, START, State, session::RuntimeBuilder,
};
use agent_server::TaskAgent;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, Semaphore};

#[derive(State, Default, Serialize, Deserialize)]
struct Puppet {
    message: String,
    response: Option<String>,
}

/// Controls that a test uses.
pub(crate) struct Strings {
    /// Lets waiting nodes continue, one per permit.
    pub(crate) gate: Semaphore,
    /// Notified when a node waits.
    pub(crate) waiting: Notify,
    pub(crate) broken: AtomicBool,
}

pub(crate) struct Puppeteer;

impl TaskAgent for Puppeteer {
    fn graph(&self) -> &str {
        "puppet"
    }

    fn input(&self, message: String, _: Map<String, Value>) -> Value {
        assert_ne!(message, "panic in the handler");
        json!({"message": message, "response": null})
    }

    fn response(&self, state: &Value) -> String {
        state["response"].as_str().unwrap_or_default().to_owned()
    }
}

pub(crate) fn puppet() -> (RuntimeBuilder, Arc<Strings>) {
    let strings =
        Arc::new(Strings { gate: Semaphore::new(0), waiting: Notify::new(), broken: AtomicBool::new(true) });
    let graph = Graph::<Puppet>::builder("puppet")
        .node("act", act)
        .edge(START, "act")
        .edge("act", END)
        .build()
        .unwrap();
    (Runtime::builder().graph(&graph).provide(Arc::clone(&strings)), strings)
}

async fn act(puppet: &Puppet, cx: &Context) -> Result<PuppetUpdate> {
    let strings = cx.get::<Arc<Strings>>()?;
    let todo = cx.todos().start("act", "Act")?;
    let response = match puppet.message.as_str() {
        "wait" => {
            strings.waiting.notify_one();
            strings.gate.acquire().await.map_err(NodeError::permanent)?.forget();
            "waited".to_owned()
        }
        // Until the grace of a stop has passed.
        "linger" => {
            strings.waiting.notify_one();
            cx.cancelled().await;
            std::future::pending().await
        }
        "fail" if strings.broken.load(Ordering::SeqCst) => return Err(NodeError::msg("the oven is cold")),
        "panic" if strings.broken.load(Ordering::SeqCst) => panic!("dropped a plate"),
        "ask two" => {
            let (left, right): (Result<Value>, Result<Value>) = tokio::join!(
                cx.ask(Question::new("left?").key("left")),
                cx.ask(Question::new("right?").key("right")),
            );
            format!("{} {}", left?, right?)
        }
        "flood" => {
            for number in 0..1_500 {
                cx.emit("plate", json!({"number": number, "text": "접시".repeat(2_000)}))?;
                if number % 50 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            "flooded".to_owned()
        }
        other => other.to_owned(),
    };
    todo.done();
    Ok(Puppet::update().response(response))
}
