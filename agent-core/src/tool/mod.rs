//! Tools: functions that a model can call, with schemas, policies and errors.
//!
//! Read in this order: [`Tool`] the trait, [`ToolPolicy`] timeouts, retries and approvals, [`ToolRegistry`] the tools of a
//! model, [`PreparedCall`] a validated call, [`ToolReply`] what the model reads.
//!
//! The engine records each call and asks people; nothing here does either.

mod approval;
mod context;
mod error;
mod guardrail;
mod kept_result;
mod output;
mod policy;
mod invocation;
mod registry;
mod call_permit;
pub mod schema;

use std::{borrow::Cow, fmt, sync::Arc};

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

pub use self::{
    approval::{Approval, ApprovalRequest, ApprovalScope, Decision, DecisionOutcome, StandingApprovals},
    context::{CallListener, ToolContext},
    error::{ToolError, ToolFault},
    guardrail::{AnyGuardrail, Guardrail, Verdict},
    invocation::PreparedCall,
    kept_result::{ReadResult, ReadResultArgs},
    output::{ToolOutput, ToolReply, Truncation},
    policy::{Concurrency, Effect, InterruptedCallPolicy, ToolPolicy},
    registry::{RegistryError, RegistryFault, ToolRegistry, ToolRegistryBuilder},
};
pub(crate) use self::{call_permit::ReleasedPermit, context::ToolHost, kept_result::keep_result};
pub use crate::model::{ToolCall, ToolSpec};

/// A function that a model can call.
///
/// Usually written as an async function under [`#[tool]`](macro@crate::tool); implement the trait for a tool that
/// carries data (a pool, a root directory), or a schema that is known only at run time (`type Args = Value` and
/// [`parameters`](Tool::parameters)).
///
/// # Examples
///
/// ```
/// use agent_core::tool::{Tool, ToolContext, ToolError};
/// use schemars::JsonSchema;
/// use serde::Deserialize;
///
/// struct Prices { currency: &'static str }
///
/// #[derive(Deserialize, JsonSchema)]
/// struct Product {
///     /// The article number.
///     sku: String,
/// }
///
/// impl Tool for Prices {
///     type Args = Product;
///     type Output = String;
///     fn name(&self) -> &str { "price" }
///     fn description(&self) -> &str { "The price of a product." }
///     async fn call(&self, args: Product, _: &ToolContext) -> Result<String, ToolError> {
///         match args.sku.as_str() {
///             "A1" => Ok(format!("12 {}", self.currency)),
///             _ => Err(ToolError::failed("no product has this article number")),
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tool",
    note = "write `#[tool]` on an async fn and pass its name, or implement `Tool`"
)]
pub trait Tool: Send + Sync + 'static {
    /// Arguments of a call. The model gets their JSON Schema.
    type Args: DeserializeOwned + JsonSchema + Send;
    /// Result of a call. The model gets a string as text and other values as JSON; a [`ToolOutput`] is used unchanged.
    type Output: Serialize + Send + 'static;

    /// Returns the name, which is unique in a registry: `[A-Za-z0-9_-]{1,64}`.
    fn name(&self) -> &str;

    /// Returns the description for the model: when and why to use the tool.
    fn description(&self) -> &str;

    /// Returns the JSON Schema of the arguments. Default: generated from [`Args`](Tool::Args).
    fn parameters(&self) -> Value {
        schema::of::<Self::Args>()
    }

    /// JSON Schema of the result, for programs that call the tool (MCP). Models do not see it. A tool with a schema returns
    /// JSON that matches it. Default: none.
    fn output_schema(&self) -> Option<Value> {
        None
    }

    /// Returns how the schema is sent if it must reach the model exactly as it was written. Default: `None`, which converts the
    /// schema to the strict subset where that is possible.
    fn exact_schema(&self) -> Option<ExactSchema> {
        None
    }

    /// Returns the policy that applies unless the registry sets another. Default: [`ToolPolicy::default`].
    fn policy(&self) -> ToolPolicy {
        ToolPolicy::default()
    }

    /// Executes the call. The arguments have been validated against [`parameters`](Tool::parameters).
    ///
    /// # Errors
    ///
    /// [`ToolError`], which the model reads.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped on a stop and on a timeout. Use `Drop` for cleanup.
    fn call(
        &self,
        args: Self::Args,
        cx: &ToolContext,
    ) -> impl Future<Output = Result<Self::Output, ToolError>> + Send;
}

trait DynTool: Send + Sync {
    fn name(&self) -> &str;
    fn description(&self) -> &str;
    fn parameters(&self) -> Value;
    fn output_schema(&self) -> Option<Value>;
    fn exact_schema(&self) -> Option<ExactSchema>;
    fn policy(&self) -> ToolPolicy;
    fn call<'a>(&'a self, args: Value, cx: &'a ToolContext) -> BoxFuture<'a, Result<ToolOutput, ToolError>>;
}

impl<T: Tool> DynTool for T {
    fn name(&self) -> &str {
        Tool::name(self)
    }

    fn description(&self) -> &str {
        Tool::description(self)
    }

    fn parameters(&self) -> Value {
        Tool::parameters(self)
    }

    fn output_schema(&self) -> Option<Value> {
        Tool::output_schema(self)
    }

    fn exact_schema(&self) -> Option<ExactSchema> {
        Tool::exact_schema(self)
    }

    fn policy(&self) -> ToolPolicy {
        Tool::policy(self)
    }

    fn call<'a>(&'a self, args: Value, cx: &'a ToolContext) -> BoxFuture<'a, Result<ToolOutput, ToolError>> {
        Box::pin(async move {
            let args: T::Args = serde_json::from_value(args)
                .map_err(|error| ToolError::bad_arguments(Tool::name(self), &[error.to_string()]))?;
            ToolOutput::of(Tool::call(self, args, cx).await?)
        })
    }
}

/// A tool with its concrete type erased; cheap to clone.
///
/// # Examples
///
/// ```
/// # use agent_core::{tool, tool::ToolError};
/// # /// The weather of a city.
/// # #[tool]
/// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
/// use agent_core::tool::AnyTool;
///
/// let tool = AnyTool::new(weather);
/// assert_eq!(format!("{tool:?}"), r#"AnyTool("weather")"#);
/// ```
#[derive(Clone)]
pub struct AnyTool(Arc<dyn DynTool>);

impl AnyTool {
    /// Erases the type of `tool`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # /// The time in a city.
    /// # #[tool]
    /// # async fn time(city: String) -> Result<String, ToolError> { Ok(format!("{city}: noon")) }
    /// use agent_core::tool::AnyTool;
    ///
    /// let tools = [AnyTool::new(weather), AnyTool::new(time)];
    /// assert_eq!(tools.map(|tool| tool.name().to_owned()), ["weather", "time"]);
    /// ```
    pub fn new(tool: impl Tool) -> Self {
        Self(Arc::new(tool))
    }

    /// Returns the name.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{AnyTool, ToolError}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// assert_eq!(AnyTool::new(weather).name(), "weather");
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Returns the description for the model.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{AnyTool, ToolError}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// assert_eq!(AnyTool::new(weather).description(), "The weather of a city.");
    /// ```
    #[must_use]
    pub fn description(&self) -> &str {
        self.0.description()
    }

    /// Returns the JSON Schema of the arguments, as declared by the tool.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{AnyTool, ToolError}};
    /// # use serde_json::json;
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// assert_eq!(AnyTool::new(weather).parameters()["required"], json!(["city"]));
    /// ```
    #[must_use]
    pub fn parameters(&self) -> Value {
        self.0.parameters()
    }

    /// JSON Schema of the result, if its author wrote one.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{AnyTool, ToolError}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// assert_eq!(AnyTool::new(weather).output_schema(), None);
    /// ```
    #[must_use]
    pub fn output_schema(&self) -> Option<Value> {
        self.0.output_schema()
    }
}

impl fmt::Debug for AnyTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyTool").field(&self.0.name()).finish()
    }
}

/// How a schema is sent that must reach the model exactly as it was written; see [`DynamicTool::with_exact_schema`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExactSchema {
    /// The endpoint is asked to enforce it.
    Strict,
    /// The endpoint is not asked to enforce it.
    Loose,
}

/// A tool that is defined at run time, such as a tool of an MCP server.
pub struct DynamicTool {
    name: Cow<'static, str>,
    description: Cow<'static, str>,
    parameters: Value,
    output: Option<Value>,
    exact: Option<ExactSchema>,
    policy: ToolPolicy,
    call: Arc<DynamicCall>,
}

type DynamicCall =
    dyn Fn(Value, ToolContext) -> BoxFuture<'static, Result<ToolOutput, ToolError>> + Send + Sync;

impl DynamicTool {
    /// Creates a tool that runs `call` with arguments that match `parameters`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::tool::{DynamicTool, ToolOutput, ToolRegistry};
    /// use serde_json::json;
    ///
    /// let parameters = json!({ "type": "object", "properties": { "text": { "type": "string" } }, "required": ["text"] });
    /// let upper = DynamicTool::new("upper", "Returns a text in upper case.", parameters, async |args, _| {
    ///     Ok(ToolOutput::text(args["text"].as_str().unwrap_or_default().to_uppercase()))
    /// });
    /// let tools = ToolRegistry::builder().tool(upper).build()?;
    /// assert_eq!(tools.names().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new<F, Fut>(
        name: impl Into<Cow<'static, str>>,
        description: impl Into<Cow<'static, str>>,
        parameters: Value,
        call: F,
    ) -> Self
    where
        F: Fn(Value, ToolContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<ToolOutput, ToolError>> + Send + 'static,
    {
        Self {
            name: name.into(),
            description: description.into(),
            parameters,
            output: None,
            exact: None,
            policy: ToolPolicy::default(),
            call: Arc::new(move |args, cx| Box::pin(call(args, cx))),
        }
    }

    /// Sets the JSON Schema of the result. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::tool::{AnyTool, DynamicTool, ToolOutput};
    /// use serde_json::json;
    ///
    /// let parameters = json!({ "type": "object", "properties": {} });
    /// let output = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
    /// let dice = DynamicTool::new("dice", "Rolls a dice.", parameters, async |_, _| Ok(ToolOutput::from(json!({ "n": 4 }))));
    /// assert_eq!(AnyTool::new(dice.with_output_schema(output.clone())).output_schema(), Some(output));
    /// ```
    #[must_use]
    pub fn with_output_schema(mut self, schema: Value) -> Self {
        self.output = Some(schema);
        self
    }

    /// Sends the schema of the arguments to the model exactly as it was written. Default: converted to the strict subset where
    /// that is possible.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::tool::{DynamicTool, ExactSchema, ToolOutput, ToolRegistry};
    /// use serde_json::json;
    ///
    /// let parameters = json!({ "type": "object", "properties": { "note": { "type": "string" } } });
    /// let note = DynamicTool::new("note", "Takes a note.", parameters.clone(), async |_, _| Ok(ToolOutput::text("done")));
    /// let tools = ToolRegistry::builder().tool(note.with_exact_schema(ExactSchema::Loose)).build()?;
    /// let specs = tools.specs();
    /// assert_eq!((&specs[0].parameters, specs[0].strict), (&parameters, false));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_exact_schema(mut self, exact: ExactSchema) -> Self {
        self.exact = Some(exact);
        self
    }

    /// Sets the policy. Default: [`ToolPolicy::default`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::{DynamicTool, ToolOutput, ToolPolicy, ToolRegistry};
    /// # use serde_json::json;
    /// let echo = DynamicTool::new("echo", "Returns its input.", json!({ "type": "object" }), async |args, _| {
    ///     Ok(ToolOutput::Json(args))
    /// })
    /// .with_policy(ToolPolicy::read_only());
    /// # assert!(ToolRegistry::builder().tool(echo).build().is_ok());
    /// ```
    #[must_use]
    pub fn with_policy(mut self, policy: ToolPolicy) -> Self {
        self.policy = policy;
        self
    }
}

impl fmt::Debug for DynamicTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamicTool").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tool for DynamicTool {
    type Args = Value;
    type Output = ToolOutput;

    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> &str {
        &self.description
    }

    fn parameters(&self) -> Value {
        self.parameters.clone()
    }

    fn output_schema(&self) -> Option<Value> {
        self.output.clone()
    }

    fn exact_schema(&self) -> Option<ExactSchema> {
        self.exact
    }

    fn policy(&self) -> ToolPolicy {
        self.policy.clone()
    }

    async fn call(&self, args: Value, cx: &ToolContext) -> Result<ToolOutput, ToolError> {
        (self.call)(args, cx.clone()).await
    }
}

/// Items that the code generated by `#[tool]` uses.
#[doc(hidden)]
pub mod expansion {
    pub use schemars;
    pub use serde;

    /// The return type of a tool's function.
    #[diagnostic::on_unimplemented(
        message = "a tool cannot return `{Self}`",
        note = "it returns `Result<T, ToolError>` or a `Result` with an error that converts into a `ToolError`"
    )]
    pub trait Outcome {
        /// Type of the result without an error.
        type Value;
    }

    impl<T, E> Outcome for Result<T, E> {
        type Value = T;
    }
}

const _: () = {
    const fn send_sync<T: Send + Sync + 'static>() {}
    send_sync::<AnyTool>();
    send_sync::<PreparedCall>();
    send_sync::<ToolError>();
};
