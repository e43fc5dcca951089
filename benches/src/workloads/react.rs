//! `react_N` and `react_new_N`: the tool loop, N rounds, every model and tool call recorded as in a real run.

use std::sync::Arc;

use agent_core::{
    Context, END, Graph, NodeError, START,
    graph::BuildError,
    model::{
        Message, Model, ModelRequest, ToolSpec,
        testing::{Scripted, Turn},
    },
};
use serde_json::{Value, json};

use super::{
    Result, Times,
    case::Case,
    conversation::just,
    measure::Report,
    sequential::{Chat, runs},
};

fn tools() -> Arc<[ToolSpec]> {
    let parameters = json!({
        "type": "object",
        "properties": { "query": { "type": "string" } },
        "required": ["query"],
    });
    Arc::from([ToolSpec {
        name: "search".into(),
        description: "Searches for a text.".into(),
        parameters,
        strict: false,
    }])
}

/// agent ⇄ tools, like the tool loop: the model receives the whole conversation, and each call is recorded.
fn graph() -> Result<Graph<Chat>, BuildError> {
    let tools = tools();
    Graph::builder("react")
        .node("agent", async move |chat: &Chat, cx: &Context| {
            let request = ModelRequest::new(chat.messages.clone()).tools(Arc::clone(&tools));
            let reply = cx.model()?.complete(request).await?;
            Ok(Chat::update().messages(just(reply.message)))
        })
        .node("tools", async |chat: &Chat, cx: &Context| {
            let calls = chat.messages.last().map_or(&[][..], |last| &last.tool_calls);
            let mut results = Vec::with_capacity(calls.len());
            for call in calls {
                let text: String = cx.step(call.id.as_str(), search(&call.arguments)).await?;
                results.push(Message::tool_result(call.id.as_str(), text).with_name(call.name.as_str()));
            }
            Ok(Chat::update().messages(results))
        })
        .edge(START, "agent")
        .branch(
            "agent",
            |chat: &Chat| {
                if chat.messages.last().is_some_and(|last| !last.tool_calls.is_empty()) {
                    "tools"
                } else {
                    END
                }
            },
            ["tools", END],
        )
        .edge("tools", "agent")
        .build()
}

async fn search(arguments: &str) -> Result<String, NodeError> {
    let arguments: Value = serde_json::from_str(arguments)?;
    let query = arguments["query"].as_str().ok_or_else(|| NodeError::permanent("`query` is missing"))?;
    Ok(format!("result for query: {query}").repeat(10))
}

/// The text of a random UUID, 36 characters.
fn uuid() -> String {
    let digits = format!("{:032x}", fastrand::u128(..));
    format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}

pub(crate) fn run(case: &Case, times: Times) -> Option<Result<Report>> {
    // One loop corresponds to both loops of the other project.
    let rounds = case.number("react_").or_else(|| case.number("react_new_"))?;
    let model = Model::new(Scripted::rule(move |_, request| {
        if request.messages.len() / 2 < rounds {
            Turn::call("search", json!({ "query": uuid().repeat(100) }))
        } else {
            Turn::text("answer".repeat(100))
        }
    }));
    let steps = 2 * rounds as u64 + 1;
    let right = move |chat: &Chat| {
        chat.messages.len() == 2 * rounds + 2
            && chat.messages.last().is_some_and(|last| last.text() == "answer".repeat(100))
            && chat.messages[2].text().len() == 10 * (18 + 3_600)
    };
    let input = || Chat::update().messages(just(Message::user("hi?")));
    Some(
        graph()
            .map_err(Into::into)
            .and_then(|graph| runs(case, times, Some(model), graph, [steps; 3], input, right)),
    )
}
