//! Tool `update_plan`: changes single items of the todo list. Journals and prompts contain its name, so it stays.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    todo::{Todo, TodoStatus, Todos},
    tool::{Effect, Tool, ToolContext, ToolError, ToolPolicy},
};

/// Most operations of one call.
const MAX_OPERATIONS: usize = 100;

/// Tool `update_plan`: adds, starts, updates and completes todos.
///
/// # Examples
///
/// ```
/// use agent_core::{agent::todo_tool::UpdateTodos, tool::ToolRegistry};
///
/// let tools = ToolRegistry::builder().tool(UpdateTodos).build()?;
/// assert_eq!(tools.names().collect::<Vec<_>>(), ["update_plan"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct UpdateTodos;

/// Changes of the plan, carried out in order.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct UpdateTodosArgs {
    /// The changes.
    #[schemars(length(min = 1, max = MAX_OPERATIONS))]
    pub operations: Vec<TodoUpdate>,
}

/// One change of the plan.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct TodoUpdate {
    /// What to do.
    pub op: TodoOp,
    /// A short id of the item, such as `1` or `collect-reviews`.
    pub id: String,
    /// For `add`: what is to be done, in one line.
    #[serde(default)]
    pub title: Option<String>,
    /// For `progress`: 0 to 100.
    #[serde(default)]
    #[schemars(range(max = 100))]
    pub percent: Option<u8>,
    /// A remark for people.
    #[serde(default)]
    pub message: Option<String>,
}

/// What to do with an item.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TodoOp {
    /// Add it, or give it another title.
    Add,
    /// Begin it.
    Start,
    /// Say how far it is.
    Progress,
    /// It is done.
    Done,
    /// It could not be done.
    Fail,
    /// It is no longer wanted.
    Cancel,
}

/// An item as the model reads it.
#[derive(Debug, Serialize)]
struct Item {
    id: String,
    title: String,
    status: TodoStatus,
    progress: u8,
}

impl Tool for UpdateTodos {
    type Args = UpdateTodosArgs;
    type Output = serde_json::Value;

    fn name(&self) -> &str {
        "update_plan"
    }

    fn description(&self) -> &str {
        "Keeps the plan that the user sees. Add the items first, then start each before you work on it and end it \
         when it is done. Changes only what you name. Returns the plan."
    }

    fn policy(&self) -> ToolPolicy {
        ToolPolicy::default().effect(Effect::Idempotent)
    }

    async fn call(&self, args: UpdateTodosArgs, cx: &ToolContext) -> Result<Self::Output, ToolError> {
        let todos = cx.todos().ok_or_else(|| ToolError::failed("there is no plan here"))?;
        for operation in args.operations {
            apply(&todos, operation)?;
        }
        let prefix = prefix(&todos);
        let items: Vec<Item> =
            todos.items().into_iter().filter_map(|todo| shown(todo, &todos, &prefix)).collect();
        Ok(serde_json::to_value(items)?)
    }
}

/// Ids of a sub-agent's items carry the id of the item they hang under, so that two sub-agents can both have a `1`.
fn prefix(todos: &Todos) -> String {
    todos.parent().map(|parent| format!("{parent}/")).unwrap_or_default()
}

fn shown(todo: Todo, todos: &Todos, prefix: &str) -> Option<Item> {
    if todos.parent().is_some() && !todo.id.starts_with(prefix) {
        return None;
    }
    let id = todo.id.strip_prefix(prefix).unwrap_or(&todo.id).to_owned();
    Some(Item { id, title: todo.title, status: todo.status, progress: todo.progress })
}

fn apply(todos: &Todos, operation: TodoUpdate) -> Result<(), ToolError> {
    let id = format!("{}{}", prefix(todos), operation.id);
    let to_tool_error = |error: crate::todo::TodoError| ToolError::failed(error.to_string());
    if let TodoOp::Add = operation.op {
        let title = operation.title.filter(|title| !title.trim().is_empty());
        let title =
            title.ok_or_else(|| ToolError::failed(format!("item `{}` needs a title", operation.id)))?;
        todos.add(id, title).map_err(to_tool_error)?;
        return Ok(());
    }
    let item = todos.get(&id).map_err(to_tool_error)?;
    let message = operation.message.unwrap_or_default();
    match operation.op {
        TodoOp::Start => item.start(),
        TodoOp::Progress => item.progress(operation.percent.unwrap_or(0), message),
        TodoOp::Done if message.is_empty() => item.done(),
        TodoOp::Done => item.done_with(message),
        TodoOp::Fail => item.fail(message),
        TodoOp::Cancel => item.cancel(message),
        TodoOp::Add => {}
    }
    Ok(())
}
