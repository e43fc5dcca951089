//! Answers of all backends as deltas of a model. Sessions of agents last for one request: dropping the stream stops the
//! run and deletes the session.

use std::{collections::VecDeque, sync::Arc};

use agent_core::{
    AgentState, SessionError,
    agent::AgentError,
    ids::SessionId,
    interrupt::OpenQuestion,
    model::{Delta, FinishReason, Model, Role, TextTools, Usage},
    telemetry,
};
use futures::{StreamExt, TryFutureExt, TryStreamExt, stream, stream::BoxStream};
use serde_json::Value;

use super::{Backend, agent_events, caller_tools::CallerTools, format::AnswerFormat};
use crate::{
    api::{
        openai::{ParsedCompletion, task_of},
        tool_chat::{TalkAnswer, is_korean, parse_answer, render_question},
    },
    app::{AppState, RequestContext},
    conversation::{ConversationEvent, ConversationStream, ModelText},
    ephemeral_session::EphemeralSession,
    error::{ApiError, Contract, Rejection},
    limits::Permit,
    raw_calls::without_raw_calls,
};

/// Last line of a question. It identifies the question when the conversation returns with an answer, so that it must not
/// change.
const ANSWER_HINT: &str =
    "(Answer with your next message, and I go on. / 다음 메시지로 답해 주시면 이어서 진행합니다.)";

/// A part of an answer.
#[derive(Debug)]
pub(super) enum Piece {
    /// Of a model.
    Model(Delta),
    /// A step, a tool call or a question of an agent: as a line of text, and as data.
    Event(String, Value),
}

/// Deltas of an answer.
pub(super) type Deltas = BoxStream<'static, Result<Piece, ApiError>>;

/// Starts an answer.
///
/// # Errors
///
/// Errors before the answer begins.
pub(super) async fn open_deltas(
    context: &RequestContext,
    backend: &Backend<'_>,
    request: &ParsedCompletion,
) -> Result<Deltas, ApiError> {
    let app = &context.app;
    let refusal = match backend {
        Backend::Plain(chat) => chat.refusal(),
        Backend::Assistant(assistant) => assistant.refusal(),
        Backend::Task(_) => None,
    };
    if let Some(reason) = refusal {
        return Err(ApiError::new(Rejection::OwnEndpoint, reason));
    }
    match backend {
        Backend::Plain(chat) => {
            let permit = app.limits.run(context.key()).await?;
            let model = match request.tools().is_empty() {
                true => chat.model().clone(),
                // Calls that the model writes as text are calls too.
                false => Model::new(TextTools::new(chat.model().clone())),
            };
            let opening = telemetry::chat(&model, chat.with_prompt(request.for_model()), None);
            // An answer in a format may be an object like that of a call.
            let is_filtered = request.format().is_none();
            let opening =
                opening.map_ok(move |answer| if is_filtered { without_raw_calls(answer) } else { answer });
            let deltas = stream::once(opening).try_flatten().map_err(move |error| {
                // Held until the answer ends.
                let _: &Option<Permit> = &permit;
                ApiError::of_model(Contract::OpenAi, &error)
            });
            Ok(deltas.map_ok(Piece::Model).boxed())
        }
        Backend::Assistant(assistant) => {
            let format = format(app, request)?;
            let tools = CallerTools::new(request.tools_for_agent())?;
            let graph = assistant
                .with_settings(|own| request.apply_settings(own), tools.registry())
                .map_err(rebuild_error)?;
            let permit = app.limits.run(context.key()).await?;
            let session = app.ephemeral_runtime.session_of(SessionId::random());
            let ephemeral = EphemeralSession::new(session.clone(), &app.tasks);
            let events = session.subscribe(None);
            let instruction = format.as_ref().map(AnswerFormat::instruction);
            let input = AgentState::says(instruction.into_iter().chain(request.messages.iter().cloned()));
            let run =
                session.run(&graph, input).options(context.run_options()).start().await.map_err(map_error)?;
            let conversation = ConversationStream::new(run, events, Contract::OpenAi, ModelText::Forward);
            let mut deltas = AgentDeltas::new(app, conversation, (ephemeral, permit));
            (deltas.tools, deltas.format) = (tools, format);
            deltas.is_korean = request.messages.last().is_some_and(|message| is_korean(&message.text()));
            Ok(deltas.into_stream())
        }
        Backend::Task(agent) => {
            let format = format(app, request)?;
            let texts: Vec<(Role, String)> =
                request.messages.iter().map(|message| (message.role, message.text().into_owned())).collect();
            let turn = task_of(&texts, ANSWER_HINT)?;
            let answers = turn.answers.iter();
            let answers =
                answers.map(|(question, answer)| (question.trim().to_owned(), (*answer).to_owned()));
            let (answers, task) = (answers.collect(), turn.task.to_owned());
            let permit = app.limits.run(context.key()).await?;
            let session = app.ephemeral_runtime.session_of(SessionId::random());
            let ephemeral = EphemeralSession::new(session.clone(), &app.tasks);
            let events = session.subscribe(None);
            let input = agent.conversation(task, &request.messages, serde_json::Map::new());
            let run = session
                .run_json(agent.graph(), input)
                .options(context.run_options())
                .start()
                .await
                .map_err(map_error)?;
            let conversation = ConversationStream::new(run, events, Contract::OpenAi, ModelText::Ignore);
            let mut deltas = AgentDeltas::new(app, conversation, (ephemeral, permit));
            (deltas.answers, deltas.format) = (answers, format);
            deltas.graph = Some(agent.graph().to_owned());
            Ok(deltas.into_stream())
        }
    }
}

/// Returns the format that the answer of an agent must have.
fn format(app: &AppState, request: &ParsedCompletion) -> Result<Option<AnswerFormat>, ApiError> {
    let Some(format) = request.format() else { return Ok(None) };
    let Some(chat) = &app.chat else {
        let message = "`response_format` for an agent needs a model, and none is configured";
        return Err(ApiError::new(Rejection::Unsupported, message).at("response_format"));
    };
    AnswerFormat::new(format, chat.model()).map(Some)
}

/// Maps the error of an agent that cannot be rebuilt. Only the tools of the caller can be the cause.
#[expect(clippy::needless_pass_by_value, reason = "the signature that `map_err` needs")]
fn rebuild_error(error: AgentError) -> ApiError {
    match &error {
        AgentError::Tools(error) => {
            ApiError::new(Rejection::InvalidRequest, format!("`tools` cannot be used: {error}")).at("tools")
        }
        _ => {
            tracing::error!(%error, "an agent could not be rebuilt with other settings");
            ApiError::internal()
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that `map_err` needs")]
fn map_error(error: SessionError) -> ApiError {
    ApiError::of(Contract::OpenAi, &error)
}

/// The run of an agent as deltas.
struct AgentDeltas {
    app: Arc<AppState>,
    conversation: ConversationStream,
    /// Questions earlier in the conversation, with their answers.
    answers: Vec<(String, String)>,
    /// Graph with the answer in its final state; `None` if the text of the model is the answer.
    graph: Option<String>,
    /// Tools that the caller executes.
    tools: CallerTools,
    /// Form of the answer, and its text so far: it is shown when it has the form.
    format: Option<AnswerFormat>,
    text: String,
    /// Language of notices.
    is_korean: bool,
    /// Usage of calls for the form.
    usage: Usage,
    ready: VecDeque<Result<Piece, ApiError>>,
    ended: bool,
    _guards: (EphemeralSession, Option<Permit>),
}

impl AgentDeltas {
    fn new(
        app: &Arc<AppState>,
        conversation: ConversationStream,
        guards: (EphemeralSession, Option<Permit>),
    ) -> Self {
        Self {
            app: Arc::clone(app),
            conversation,
            answers: Vec::new(),
            graph: None,
            tools: CallerTools::default(),
            format: None,
            text: String::new(),
            is_korean: false,
            usage: Usage::default(),
            ready: VecDeque::new(),
            ended: false,
            _guards: guards,
        }
    }

    fn into_stream(self) -> Deltas {
        stream::unfold(self, |mut deltas| async move { deltas.next().await.map(|delta| (delta, deltas)) })
            .boxed()
    }

    async fn next(&mut self) -> Option<Result<Piece, ApiError>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(piece);
            }
            if self.ended {
                return None;
            }
            match self.conversation.next().await? {
                ConversationEvent::Text(text) if self.format.is_some() => self.text.push_str(&text),
                ConversationEvent::Text(text) => return Some(model(Delta::text(text))),
                ConversationEvent::Reasoning(text) => return Some(model(Delta::Reasoning { text })),
                ConversationEvent::Retracted if self.format.is_some() => self.text.clear(),
                ConversationEvent::Retracted => {
                    return Some(model(Delta::Restarted { attempt: 2, reason: "model_cut".to_owned() }));
                }
                ConversationEvent::ToolCall(index) => {
                    // Text before a call is not part of the answer.
                    self.text.clear();
                    let call = &self.conversation.calls()[index];
                    if self.tools.registry().tool(&call.name).is_none() {
                        return Some(Ok(agent_events::tool_call(call)));
                    }
                }
                ConversationEvent::ToolResult(index) => {
                    return Some(Ok(agent_events::tool_result(&self.conversation.calls()[index])));
                }
                ConversationEvent::Todo(todo) => return Some(Ok(agent_events::todo(&todo))),
                ConversationEvent::Question(questions) => {
                    if let Err(error) = self.answer_or_ask(&questions).await {
                        return Some(self.fail(error));
                    }
                }
                ConversationEvent::Failed(error) => return Some(self.fail(error)),
                ConversationEvent::Done => {
                    if let Err(error) = self.finish().await {
                        return Some(self.fail(error));
                    }
                }
            }
        }
    }

    fn fail(&mut self, error: ApiError) -> Result<Piece, ApiError> {
        self.ended = true;
        Err(error)
    }

    /// Ends the answer of a completed run.
    async fn finish(&mut self) -> Result<(), ApiError> {
        let mut text = match &self.graph {
            // An answer without text says why.
            None => match TalkAnswer::of(&self.conversation, self.is_korean).unsent() {
                Some(notice) => {
                    self.end(notice, None);
                    return Ok(());
                }
                None => std::mem::take(&mut self.text),
            },
            Some(graph) => {
                let state = self.conversation.session().state_json().await.map_err(map_error)?;
                self.app.response(graph, &state)
            }
        };
        let cut = matches!(self.conversation.finish(), Some(FinishReason::Length | FinishReason::Filtered));
        if let Some(format) = self.format.as_ref().filter(|_| !cut) {
            let (formatted, usage) = format.apply(&text).await?;
            (text, self.usage) = (formatted, usage);
        }
        self.end(text, None);
        Ok(())
    }

    /// Ends the answer, with `text` as its last part.
    fn end(&mut self, text: String, reason: Option<FinishReason>) {
        self.ended = true;
        let reason = reason.unwrap_or_else(|| match self.conversation.finish() {
            Some(reason @ (FinishReason::Length | FinishReason::Filtered)) => reason.clone(),
            _ => FinishReason::Stop,
        });
        let mut usage = self.conversation.usage();
        usage += self.usage;
        self.ready.extend((!text.is_empty()).then(|| model(Delta::text(text))));
        self.ready.extend((usage != Usage::default()).then(|| model(Delta::Usage { usage })));
        self.ready.push_back(model(Delta::Finished { reason }));
    }

    /// Answers a question if the conversation contains its answer. Otherwise the question is the text.
    async fn answer_or_ask(&mut self, questions: &[OpenQuestion]) -> Result<(), ApiError> {
        let calls = self.tools.deltas(self.conversation.open_calls());
        if !calls.is_empty() {
            self.ready.extend(calls.into_iter().map(model));
            self.end(String::new(), Some(FinishReason::ToolCalls));
            return Ok(());
        }
        for open in questions {
            let text = question_text(open);
            let Some(at) = self.answers.iter().position(|(question, _)| *question == text) else { continue };
            let (_, answer) = self.answers.remove(at);
            let answers = parse_answer(open, &answer);
            match self.conversation.session().answer(answers).by("an API client").await {
                Ok(run) => {
                    self.conversation.resume(run);
                    return Ok(());
                }
                // The answer is invalid: the question is asked again.
                Err(SessionError::Answer(error)) => tracing::debug!(%error, "an answer was rejected"),
                Err(error) => return Err(map_error(error)),
            }
        }
        if let Some(open) = questions.first() {
            self.ready.push_back(Ok(agent_events::question(open)));
        }
        let text = questions.first().map(question_text).unwrap_or_default();
        self.end(text, None);
        Ok(())
    }
}

fn model(delta: Delta) -> Result<Piece, ApiError> {
    Ok(Piece::Model(delta))
}

/// Returns the text of a question, by which it is also recognized.
fn question_text(open: &OpenQuestion) -> String {
    format!("{}\n\n{ANSWER_HINT}", render_question(open)).trim().to_owned()
}
