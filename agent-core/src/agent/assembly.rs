//! Graph of an agent: its nodes and edges, and the mapping of state to and from sub-agents.

use std::sync::Arc;

use serde_json::Value;

use super::{
    AgentError, AgentState, AgentStateUpdate,
    close::close_turn,
    nodes::{Core, Failed, FinishNode, ModelNode, OutputNode, ReviewNode, SubInput, ToolsNode},
};
use crate::{
    graph::{AnyNode, END, Graph, IntoNode, START},
    model::{Message, Role},
};

/// Builds the graph. A failure of a `contained` agent is its result rather than the end of the run.
pub(super) fn assemble(
    name: &str,
    core: Arc<Core>,
    subs: Vec<(String, Graph<AgentState>)>,
    contained: bool,
) -> Result<Graph<AgentState>, AgentError> {
    let end = if contained { "finish" } else { END };
    let handled = |node: AnyNode<AgentState>| if contained { node.on_error("failed") } else { node };
    // Two supersteps a turn, three with sub-agents or a review, and some around.
    let supersteps = u64::from(core.max_turns) * 3 + 16;
    let mut graph = Graph::<AgentState>::builder(name)
        .max_supersteps(supersteps)
        .on_stop({
            let core = Arc::clone(&core);
            move |state, tasks| close_turn(&core, state, tasks)
        })
        .node("model", handled(ModelNode(Arc::clone(&core)).into_node()))
        .node("tools", handled(ToolsNode(Arc::clone(&core)).into_node()))
        .edge(START, "model");
    let mut targets = vec!["tools", "model"];
    let mut after_review = vec!["model"];
    if core.reviewer.is_some() {
        graph = graph.node("review", handled(ReviewNode(Arc::clone(&core)).into_node()));
        targets.push("review");
    }
    if core.output.is_some() {
        graph = graph.node("output", handled(OutputNode(Arc::clone(&core)).into_node())).edge("output", end);
        after_review.push("output");
    } else {
        after_review.push(end);
    }
    if core.reviewer.is_none() {
        targets.extend(&after_review[1..]);
    }
    let last = after_review[1];
    let reviewed = core.reviewer.is_some();
    graph = graph.branch(
        "model",
        move |state: &AgentState| match state.messages.last() {
            _ if state.interrupted.is_some() => "model",
            Some(message) if message.role == Role::Assistant && !message.tool_calls.is_empty() => "tools",
            // It was steered at its end.
            Some(message) if message.role == Role::User => "model",
            _ if reviewed => "review",
            _ => last,
        },
        targets,
    );
    if reviewed {
        graph = graph.branch(
            "review",
            move |state: &AgentState| match state.messages.last() {
                Some(message) if message.role == Role::User => "model",
                _ => last,
            },
            after_review,
        );
    }
    if subs.is_empty() {
        graph = graph.edge("tools", "model");
    } else {
        let targets = subs.iter().map(|(name, _)| name.clone()).chain(["model".to_owned()]);
        graph = graph.declare_targets("tools", targets.collect::<Vec<_>>());
        for (node, sub) in &subs {
            graph = graph.node(node, sub.as_node_with_input(begin_sub, end_sub)).edge(node, "model");
        }
    }
    if contained {
        graph =
            graph.node("finish", FinishNode).edge("finish", END).node("failed", Failed).edge("failed", END);
    }
    Ok(graph.build()?)
}

fn begin_sub(state: &AgentState, input: SubInput) -> AgentState {
    AgentState {
        messages: Message::user(input.task).into(),
        context: state.context.clone(),
        approvals: state.approvals.clone(),
        call: Some(input.call),
        todo: Some(input.todo),
        ..AgentState::default()
    }
}

fn end_sub(state: AgentState) -> AgentStateUpdate {
    let text = match (&state.failure, &state.structured) {
        (Some(failure), _) => format!("Error: the agent gave up: {failure}"),
        (None, Some(value)) => value.to_string(),
        (None, None) => state.answer(),
    };
    let call = state.call.unwrap_or_else(|| crate::model::ToolCall::new("", &Value::Null));
    let update = AgentState::update().messages(Message::tool_result(call.id, text).with_name(call.name));
    if state.approvals == Default::default() { update } else { update.approvals(state.approvals) }
}
