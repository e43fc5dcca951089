//! `ToolContext`: the interface of a tool to the run of its call.

use std::{
    any::{Any, TypeId},
    fmt,
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    ToolError,
    call_permit::{CallPermit, ReleasedPermit},
};
use crate::{
    ids::SessionId,
    interrupt::Question,
    memory::MemoryStore,
    run::{ContextError, ContextValue},
    todo::Todos,
};

/// Interface of a tool to its call: progress, questions, dependencies, todos, memory. Cheap to clone.
///
/// # Examples
///
/// ```
/// use agent_core::{tool, tool::{ToolContext, ToolError}};
///
/// /// Counts the words of a text.
/// #[tool]
/// async fn count_words(text: String, cx: &ToolContext) -> Result<u64, ToolError> {
///     cx.progress("counting");
///     Ok(text.split_whitespace().count() as u64)
/// }
/// # let _ = count_words;
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct ToolContext {
    /// Id of the call, chosen by the model.
    pub call_id: String,
    /// Idempotency key of the call: the same in every attempt, also after a crash. Pass it to services that support such
    /// keys.
    pub idempotency_key: String,
    /// Cancelled when the run stops. The future is dropped soon after.
    pub cancelled: CancellationToken,
    /// Number of this attempt, counted from 1.
    pub attempt: u32,
    host: Option<Arc<dyn ToolHost>>,
    listener: Option<Arc<dyn CallListener>>,
    /// Its place among the calls of its tool, where they are capped.
    permit: Option<Arc<CallPermit>>,
}

/// Receiver of progress and questions of a call outside a run: a protocol server or a test.
///
/// # Examples
///
/// ```
/// use agent_core::tool::CallListener;
/// use serde_json::Value;
///
/// /// Prints the progress of calls; questions are refused.
/// struct Print;
///
/// impl CallListener for Print {
///     fn progress(&self, value: Value) {
///         println!("{value}");
///     }
/// }
/// ```
pub trait CallListener: Send + Sync + 'static {
    /// The call shows progress.
    fn progress(&self, value: Value);

    /// Handles a question of the call. Default: refuses it.
    ///
    /// # Errors
    ///
    /// There is no answer.
    fn ask(&self, question: Question) -> BoxFuture<'static, Result<Value, ToolError>> {
        drop(question);
        Box::pin(async { Err(nobody()) })
    }
}

fn nobody() -> ToolError {
    ToolError::refused("the tool needs an answer from a person, and there is no way to ask one here")
}

/// Interface of a run to its tools.
pub(crate) trait ToolHost: Send + Sync {
    fn typed(&self, of: TypeId) -> Option<Arc<dyn Any + Send + Sync>>;
    fn context(&self) -> Option<Arc<ContextValue>>;
    fn value(&self, name: &str) -> Option<Value>;
    fn set_value(&self, name: String, value: Value);
    fn progress(&self, name: String, value: Value);
    fn todos(&self) -> Todos;
    fn memory(&self) -> Option<Arc<dyn MemoryStore>>;
    fn session(&self) -> &SessionId;
    /// `released`: the call's place, to take again before it continues.
    fn ask(
        self: Arc<Self>,
        question: Question,
        released: Option<ReleasedPermit>,
    ) -> BoxFuture<'static, Result<Value, ToolError>>;
    /// Returns whether a person is being asked, and for how long people were asked in all.
    fn waited(&self) -> (bool, Duration);
}

impl ToolContext {
    /// Creates the context of a call.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::ToolContext;
    /// let cx = ToolContext::new("call-1", "order-7/charge", Default::default());
    /// assert_eq!((cx.call_id.as_str(), cx.attempt), ("call-1", 1));
    /// ```
    #[must_use]
    pub fn new(
        call_id: impl Into<String>,
        idempotency_key: impl Into<String>,
        cancelled: CancellationToken,
    ) -> Self {
        let (call_id, idempotency_key) = (call_id.into(), idempotency_key.into());
        Self { call_id, idempotency_key, cancelled, attempt: 1, host: None, listener: None, permit: None }
    }

    /// Creates a context outside a run, for tests and for direct calls of a tool.
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
    /// use agent_core::tool::{ToolCall, ToolContext};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), ToolError> {
    /// let tools = ToolRegistry::builder().tool(weather).build()?;
    /// let call = tools.prepare(ToolCall::new("weather", &serde_json::json!({ "city": "Seoul" })))?;
    /// assert_eq!(call.run(&ToolContext::detached()).await?.to_text(), "Seoul: sunny");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn detached() -> Self {
        Self::new("call_detached", "detached", CancellationToken::new())
    }

    pub(crate) fn hosted(mut self, host: Arc<dyn ToolHost>) -> Self {
        self.host = Some(host);
        self
    }

    pub(super) fn with_permit(mut self, permit: Option<Arc<CallPermit>>) -> Self {
        self.permit = permit;
        self
    }

    /// Sets the listener of a call outside a run. Inside a run, the run takes precedence.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::{CallListener, ToolContext};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Mutex;
    /// struct Log(Mutex<Vec<serde_json::Value>>);
    ///
    /// impl CallListener for Log {
    ///     fn progress(&self, value: serde_json::Value) {
    ///         self.0.lock().unwrap().push(value);
    ///     }
    /// }
    ///
    /// let cx = ToolContext::detached().with_listener(Log(Mutex::default()));
    /// cx.progress("half of the pages");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_listener(mut self, listener: impl CallListener) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Returns a dependency that was added with [`RuntimeBuilder::provide`](crate::session::RuntimeBuilder::provide).
    ///
    /// # Errors
    ///
    /// The runtime has no such dependency, or the call is outside a run. The model reads only that the tool failed.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{tool, tool::{ToolContext, ToolError}};
    ///
    /// struct Shop { name: &'static str }
    ///
    /// /// The name of the shop.
    /// #[tool]
    /// async fn shop(cx: &ToolContext) -> Result<String, ToolError> {
    ///     Ok(cx.get::<Shop>()?.name.to_owned())
    /// }
    /// # let _ = (shop, Shop { name: "" }.name);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get<T: Any + Send + Sync>(&self) -> Result<Arc<T>, ToolError> {
        let found = self.host.as_ref().and_then(|host| host.typed(TypeId::of::<T>()));
        found.and_then(|any| any.downcast().ok()).ok_or_else(|| {
            let cause = format!("no `{}` was provided to the runtime", std::any::type_name::<T>());
            ToolError::failed("the tool failed").with_cause(cause)
        })
    }

    /// Returns the context of the run, which was set with [`RunOptions::context`](crate::RunOptions::context).
    ///
    /// # Errors
    ///
    /// The run has no context, it cannot be read as a `T`, or the call is outside a run. The model reads only that the
    /// tool failed.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{tool, tool::{ToolContext, ToolError}};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct User { id: u64 }
    ///
    /// /// The orders of the user.
    /// #[tool]
    /// async fn orders(cx: &ToolContext) -> Result<String, ToolError> {
    ///     Ok(format!("orders of user {}", cx.context::<User>()?.id))
    /// }
    /// # let _ = orders;
    /// ```
    pub fn context<T: Serialize + DeserializeOwned + Any + Send + Sync>(&self) -> Result<Arc<T>, ToolError> {
        Self::given(self.run_context().and_then(|context| context.read()))
    }

    /// Returns the context of the run, which was set with
    /// [`RunOptions::transient_context`](crate::RunOptions::transient_context).
    ///
    /// # Errors
    ///
    /// As [`context`](Self::context); also when this process does not have it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::ToolContext;
    /// struct Printer;
    ///
    /// assert!(ToolContext::detached().transient_context::<Printer>().is_err());
    /// ```
    pub fn transient_context<T: Any + Send + Sync>(&self) -> Result<Arc<T>, ToolError> {
        Self::given(self.run_context().and_then(|context| context.live()))
    }

    /// Returns a value of the state of the graph. An agent's are [`AgentState::context`](crate::AgentState::context); a node of
    /// another graph chooses them ([`RecordedTools::with_values`](crate::engine::RecordedTools::with_values)). `None` outside a
    /// run.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{tool, tool::{ToolContext, ToolError}};
    ///
    /// /// Returns the articles in the basket.
    /// #[tool]
    /// async fn basket(cx: &ToolContext) -> Result<String, ToolError> {
    ///     Ok(cx.value("basket").unwrap_or_default().to_string())
    /// }
    /// # let _ = basket;
    /// ```
    #[must_use]
    pub fn value(&self, name: &str) -> Option<Value> {
        self.host.as_ref()?.value(name)
    }

    /// Sets a value of the state of the graph. It is recorded with the result of the call and becomes part of the state with
    /// the other results of the turn; calls of the same turn do not see it. Of two calls that set the same value, the later
    /// one counts, and a call that fails sets none.
    ///
    /// # Errors
    ///
    /// The value cannot be stored, or the call is outside a run.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent, AgentState, Runtime, tool, tool::{ToolContext, ToolError}};
    /// use agent_core::model::{Model, testing::{Scripted, Turn}};
    /// use serde_json::json;
    ///
    /// /// Puts an article into the basket.
    /// #[tool]
    /// async fn put(article: String, cx: &ToolContext) -> Result<String, ToolError> {
    ///     let mut basket = cx.value("basket").unwrap_or_else(|| json!([]));
    ///     basket.as_array_mut().into_iter().for_each(|list| list.push(json!(article)));
    ///     cx.set_value("basket", &basket)?;
    ///     Ok(basket.to_string())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let model = Scripted::new([Turn::call("put", json!({ "article": "pen" })), Turn::text("Done.")]);
    /// let agent = Agent::builder("shop").tool(put).model(Model::new(model)).build()?;
    /// let session = Runtime::builder().build().session("s1")?;
    /// session.chat(&agent, "A pen, please.").await?;
    /// assert_eq!(session.state::<AgentState>().await?.context["basket"], json!(["pen"]));
    /// # Ok(()) }
    /// ```
    pub fn set_value(&self, name: impl Into<String>, value: impl Serialize) -> Result<(), ToolError> {
        let Some(host) = &self.host else { return Err(ToolError::failed("there is no state here")) };
        let value = crate::json::to_value(&value).map_err(|error| {
            ToolError::failed("the tool failed").with_cause(error.of("a value of the state").to_string())
        })?;
        host.set_value(name.into(), value);
        Ok(())
    }

    pub(crate) fn run_context(&self) -> Result<Arc<ContextValue>, ContextError> {
        self.host.as_ref().and_then(|host| host.context()).ok_or(ContextError::Missing)
    }

    fn given<T>(context: Result<T, ContextError>) -> Result<T, ToolError> {
        context.map_err(|error| ToolError::failed("the tool failed").with_cause(error.to_string()))
    }

    /// Publishes progress of this call. A slow subscriber gets only the latest value. Does nothing outside a run, or if
    /// the value is not valid JSON.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{tool, tool::{ToolContext, ToolError}};
    ///
    /// /// Counts to ten.
    /// #[tool]
    /// async fn count(cx: &ToolContext) -> Result<u32, ToolError> {
    ///     for n in 1..=10 {
    ///         cx.progress(n);
    ///     }
    ///     Ok(10)
    /// }
    /// # let _ = count;
    /// ```
    pub fn progress(&self, value: impl Serialize) {
        if self.host.is_none() && self.listener.is_none() {
            return;
        }
        let Ok(value) = crate::json::to_value(&value) else { return };
        match (&self.host, &self.listener) {
            (Some(host), _) => host.progress(format!("tool:{}", self.call_id), value),
            (None, Some(listener)) => listener.progress(value),
            (None, None) => {}
        }
    }

    /// Asks a person and waits for the answer; in a run this is an interrupt: the run pauses when no other
    /// task can continue, and after a restart the call is made again and finds the answer. The id of the question names the
    /// call. The time until the answer does not count for the policy's time limit, nor does the call count for its
    /// [`Concurrency`](super::Concurrency): other calls of the tool may run, and this one waits for a
    /// permit before it continues. A repeated call that asks something else with the same key asks a new question.
    ///
    /// # Errors
    ///
    /// No person can be asked, or no answer arrived before the deadline of the question.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before the answer withdraws the question.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Question, tool, tool::{ToolContext, ToolError}};
    ///
    /// /// Orders a product.
    /// #[tool]
    /// async fn order(sku: String, cx: &ToolContext) -> Result<String, ToolError> {
    ///     let size = cx.ask(Question::choose("Which size?", ["S", "M", "L"])).await?;
    ///     Ok(format!("ordered {sku} in {size}"))
    /// }
    /// # let _ = order;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn ask(&self, question: impl Into<Question>) -> Result<Value, ToolError> {
        let released = || self.permit.as_ref().map(CallPermit::leave);
        match (&self.host, &self.listener) {
            (Some(host), _) => Arc::clone(host).ask(question.into(), released()).await,
            (None, Some(listener)) => {
                let released = released();
                let answer = listener.ask(question.into()).await;
                if let Some(released) = released {
                    released.end().await;
                }
                answer
            }
            (None, None) => Err(nobody()),
        }
    }

    pub(super) const fn permit(&self) -> Option<&Arc<CallPermit>> {
        self.permit.as_ref()
    }

    pub(super) fn waited(&self) -> (bool, Duration) {
        self.host.as_ref().map_or((false, Duration::ZERO), |host| host.waited())
    }

    /// Returns the todo list of the run. `None` outside a run.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::ToolContext;
    /// let cx = ToolContext::detached();
    /// if let Some(todos) = cx.todos() {
    ///     todos.start("fetch", "Fetch the page")?.done();
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn todos(&self) -> Option<Todos> {
        self.host.as_ref().map(|host| host.todos())
    }

    /// Returns the session of the call. `None` outside a run.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::ToolContext;
    /// assert!(ToolContext::detached().session().is_none());
    /// ```
    #[must_use]
    pub fn session(&self) -> Option<&SessionId> {
        self.host.as_ref().map(|host| host.session())
    }

    /// Returns the long-term memory. `None` if the runtime has none, and outside a run.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::ToolContext;
    /// assert!(ToolContext::detached().memory().is_none());
    /// ```
    #[must_use]
    pub fn memory(&self) -> Option<Arc<dyn MemoryStore>> {
        self.host.as_ref().and_then(|host| host.memory())
    }
}

impl fmt::Debug for ToolContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolContext")
            .field("call_id", &self.call_id)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
