//! [`RecordedModel`]: model calls as recorded steps, streamed to subscribers.

use futures::StreamExt;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::{Context, step::author_key};
use crate::{
    event::{EventBody, payload},
    graph::{NodeError, Result},
    model::{
        Assembler, Delta, Extraction, Extractor, Message, Micros, Model, ModelCapabilities, ModelError,
        ModelReply, ModelRequest, Usage,
        tokens::{CountTokens, Estimate},
    },
    run::BudgetUsage,
    telemetry,
};

/// Name of the event with the request of a model call; see [`journal_requests`](crate::telemetry::journal_requests).
const MODEL_REQUEST: &str = "model_request";

/// One call.
const ONE: BudgetUsage =
    BudgetUsage { model_calls: 1, tool_calls: 0, input_tokens: 0, output_tokens: 0, cost_micros: 0 };

/// Result of [`RecordedModel::complete_or_stop`].
#[derive(Debug)]
pub enum Completion {
    /// The answer is complete.
    Whole(ModelReply),
    /// The run is being stopped. Contains the text generated so far, without tool calls; `None` if there is none.
    Stopped(Option<Message>),
}

/// The runtime's model, with recorded calls; see [`Context::model`].
#[derive(Debug)]
pub struct RecordedModel {
    cx: Context,
    model: Model,
}

impl RecordedModel {
    pub(super) const fn new(cx: Context, model: Model) -> Self {
        Self { cx, model }
    }

    /// Returns the name of the model.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, model::{Model, testing::Scripted}};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     println!("written by {}", cx.model()?.name());
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let model = Model::new(Scripted::new([]));
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().model(model).build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        self.model.name()
    }

    /// Calls the model, publishes the text as it is generated, and records the reply. The key of the call is its position
    /// among the calls of this task; use [`complete_as`](Self::complete_as) for parallel calls.
    ///
    /// # Errors
    ///
    /// [`ModelError`], or [`LimitError`](super::LimitError) when the budget does not allow the call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the call; a reply that is recorded stays recorded.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use agent_core::model::{Model, ModelRequest, testing::{Scripted, Turn}};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<DraftUpdate> {
    ///     let request = ModelRequest::new("Write a letter to Ana.").system("You write letters.");
    ///     let reply = cx.model()?.complete(request).await?;
    ///     Ok(Draft::update().text(reply.message.text()))
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let model = Model::new(Scripted::new([Turn::text("Dear Ana")]));
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().model(model).build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub async fn complete(&self, request: impl Into<ModelRequest>) -> Result<ModelReply> {
        self.complete_under(self.cx.attempt_handle().next_model_key(), request.into()).await
    }

    /// As [`complete`](Self::complete), with an explicit key.
    ///
    /// # Errors
    ///
    /// See [`complete`](Self::complete).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the call; a reply that is recorded stays recorded.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use agent_core::model::{Model, testing::{Scripted, Turn}};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<DraftUpdate> {
    ///     let model = cx.model()?;
    ///     let (english, german) = tokio::try_join!(
    ///         model.complete_as("english", "Greet Ana in English."),
    ///         model.complete_as("german", "Greet Ana in German."),
    ///     )?;
    ///     Ok(Draft::update().text(format!("{} {}", english.message.text(), german.message.text())))
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let model = Model::new(Scripted::rule(|_, _| Turn::text("Hello")));
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().model(model).build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub async fn complete_as(
        &self,
        key: impl Into<String>,
        request: impl Into<ModelRequest>,
    ) -> Result<ModelReply> {
        self.complete_under(author_key(key.into())?, request.into()).await
    }

    /// As [`complete_as`](Self::complete_as), with a key in its stored form.
    async fn complete_under(&self, key: String, request: ModelRequest) -> Result<ModelReply> {
        let message = key.clone();
        let wanted = self.wanted(&request)?;
        let work = async move {
            let mut reply = Assembler::new();
            let result = self.call(&message, request, &mut reply).await;
            self.settled(result.and_then(|()| reply.finish()), &wanted)
        };
        self.cx.step_as("model", key, Some(wanted), work).await
    }

    /// As [`complete_as`](Self::complete_as), but returns the text generated so far if the run is stopped during the call.
    /// Nothing is recorded in that case, and the next attempt calls the model again.
    ///
    /// # Errors
    ///
    /// See [`complete`](Self::complete).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the call; a reply that is recorded stays recorded.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use agent_core::{engine::Completion, model::{Model, testing::{Scripted, Turn}}};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<DraftUpdate> {
    ///     let text = match cx.model()?.complete_or_stop("letter", "Write a letter to Ana.").await? {
    ///         Completion::Whole(reply) => reply.message.text().into_owned(),
    ///         Completion::Stopped(Some(partial)) => partial.text().into_owned(),
    ///         Completion::Stopped(None) => String::new(),
    ///     };
    ///     Ok(Draft::update().text(text))
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let model = Model::new(Scripted::new([Turn::text("Dear Ana")]));
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().model(model).build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub async fn complete_or_stop(
        &self,
        key: impl Into<String>,
        request: impl Into<ModelRequest>,
    ) -> Result<Completion> {
        let (key, request) = (author_key(key.into())?, request.into());
        let message = key.clone();
        let mut said = None;
        let partial = &mut said;
        let wanted = self.wanted(&request)?;
        let work = async move {
            let mut reply = Assembler::new();
            let result = tokio::select! {
                biased; // an answer that is complete counts, stopped or not
                result = self.call(&message, request, &mut reply) => Some(result),
                () = self.cx.cancelled() => None,
            };
            match result {
                Some(result) => self.settled(result.and_then(|()| reply.finish()), &wanted),
                None => {
                    *partial = Some(reply.into_partial());
                    (Err(NodeError::permanent("the run was stopped")), Some(ONE))
                }
            }
        };
        let result = self.cx.step_as("model", key, Some(wanted), work).await;
        match (result, said) {
            (Ok(reply), _) => Ok(Completion::Whole(reply)),
            (Err(_), Some(partial)) => Ok(Completion::Stopped(partial)),
            (Err(error), None) => Err(error),
        }
    }

    /// Requests a value of a Rust type. The reply is validated against the JSON Schema of the type; an invalid reply is
    /// sent back with its faults, three calls in all. Each reply is recorded.
    ///
    /// # Errors
    ///
    /// As [`complete`](Self::complete), and those of [`Extractor::judge`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the call; a reply that is recorded stays recorded.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use agent_core::model::{Model, testing::{Scripted, Turn}};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// #[derive(schemars::JsonSchema, serde::Deserialize)]
    /// struct Person { name: String, age: u32 }
    ///
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let person: Person = cx.model()?.extract("Ana is 41 years old.").await?;
    ///     assert_eq!((person.name.as_str(), person.age), ("Ana", 41));
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let model = Model::new(Scripted::new([Turn::text(r#"{"name":"Ana","age":41}"#)]));
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().model(model).build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub async fn extract<T: JsonSchema + DeserializeOwned>(
        &self,
        request: impl Into<ModelRequest>,
    ) -> Result<T> {
        let mut extractor = Extractor::<T>::new(request.into(), self.model.capabilities())?;
        let mut request = extractor.request();
        loop {
            match extractor.judge(&self.complete(request).await?)? {
                Extraction::Done(value) => return Ok(value),
                Extraction::Again(again) => request = *again,
            }
        }
    }

    /// Returns the capabilities of the model's endpoint.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, NodeError, Runtime, START, State};
    /// # use agent_core::model::{Model, testing::Scripted};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     if !cx.model()?.capabilities().tools {
    ///         return Err(NodeError::permanent("the model cannot call tools"));
    ///     }
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let model = Model::new(Scripted::new([]));
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().model(model).build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn capabilities(&self) -> ModelCapabilities {
        self.model.capabilities()
    }

    async fn call(
        &self,
        message: &str,
        request: ModelRequest,
        reply: &mut Assembler,
    ) -> Result<(), ModelError> {
        if let Some(shown) = telemetry::journalled_request(&request)
            && let Err(error) = self.cx.emit(MODEL_REQUEST, shown)
        {
            // It is for people: a call does not fail because its request cannot be shown.
            tracing::debug!(%error, "a model request is not in the journal");
        }
        let mut stream = telemetry::chat(&self.model, request, Some(self.cx.session())).await?;
        // The call of each index, because the parts of its arguments do not repeat it.
        let mut calls: Vec<(u32, String, String)> = Vec::new();
        while let Some(delta) = stream.next().await {
            let delta = delta?;
            match &delta {
                Delta::Text { text } => self.cx.token(message, text),
                Delta::Reasoning { text } => {
                    self.cx.emit_ephemeral(EventBody::Reasoning(payload::Reasoning {
                        message: message.to_owned(),
                        text: text.clone(),
                    }))
                }
                Delta::ToolCallStarted { index, id, name } => {
                    calls.push((*index, id.clone(), name.clone()));
                    self.show_call(message, &calls, *index, "");
                }
                Delta::ToolCallArguments { index, text } => {
                    self.show_call(message, &calls, *index, text);
                }
                Delta::Restarted { reason, .. } => {
                    calls.clear();
                    self.cx.emit_ephemeral(EventBody::TokensVoided(payload::TokensVoided {
                        message: message.to_owned(),
                        reason: reason.clone(),
                    }));
                }
                _ => self.cx.heartbeat(),
            }
            reply.push(&delta)?;
        }
        Ok(())
    }

    fn show_call(&self, message: &str, calls: &[(u32, String, String)], index: u32, text: &str) {
        let Some((_, id, name)) = calls.iter().rfind(|(known, ..)| *known == index) else { return };
        self.cx.emit_ephemeral(EventBody::ToolArguments(payload::ToolArguments {
            message: message.to_owned(),
            index,
            call_id: id.clone(),
            name: name.clone(),
            text: text.to_owned(),
        }));
    }

    /// Returns the minimum usage of a call: one call, its input, and its output if that has a limit. Tokens are estimated only
    /// if a limit counts them.
    fn wanted(&self, request: &ModelRequest) -> Result<BudgetUsage> {
        let budget = &self.cx.scope.env.budget;
        if !budget.estimates() {
            return Ok(ONE);
        }
        let usage = Usage {
            input_tokens: Estimate.request(request),
            output_tokens: request.max_output_tokens.map_or(0, u64::from),
            ..Usage::default()
        };
        let name = request.model.as_deref().unwrap_or(self.model.name());
        let cost = self.cost([name, self.model.name()], &usage);
        if cost.is_none() && budget.counts_cost() {
            return Err(NodeError::permanent(format!(
                "the run's cost is limited and model `{}` has no price; add one with `Runtime::builder().prices(..)`",
                crate::util::shorten(name, 64)
            )));
        }
        Ok(used(&usage, cost))
    }

    /// Returns the result of a call and its usage.
    fn settled(
        &self,
        result: Result<ModelReply, ModelError>,
        wanted: &BudgetUsage,
    ) -> (Result<ModelReply>, Option<BudgetUsage>) {
        match result {
            Ok(reply) => {
                let usage = reply.usage.unwrap_or_else(|| {
                    let mut usage = Usage::default();
                    if self.cx.scope.env.budget.estimates() {
                        // If the endpoint reports no usage, an estimate is charged to the budget.
                        usage.input_tokens = wanted.input_tokens;
                        usage.output_tokens = Estimate.message(&reply.message);
                    }
                    usage
                });
                let cost = self.cost([&reply.model, self.model.name()], &usage);
                (Ok(reply), Some(used(&usage, cost)))
            }
            Err(error) => (Err(error.into()), Some(ONE)),
        }
    }

    /// By the price of the first of these models that has one.
    fn cost(&self, models: [&str; 2], usage: &Usage) -> Option<Micros> {
        let prices = self.cx.scope.env.deps.prices.as_ref()?;
        models.into_iter().find_map(|model| prices.cost(model, usage))
    }
}

fn used(usage: &Usage, cost: Option<Micros>) -> BudgetUsage {
    BudgetUsage {
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cost_micros: cost.unwrap_or_default().0,
        ..ONE
    }
}
