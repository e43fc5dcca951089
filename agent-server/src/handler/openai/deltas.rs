//! Answers of all backends as deltas of a model. Sessions of agents last for one request: dropping the stream stops the
//! run and deletes the session.

use std::{collections::VecDeque, sync::Arc};

use agent_core::{
    AgentState, SessionError,
    ids::SessionId,
    interrupt::OpenQuestion,
    model::{Delta, FinishReason, Role, Usage},
    telemetry,
};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};

use super::Backend;
use crate::{
    TaskAgent,
    api::{
        openai::{ParsedCompletion, task_of},
        tool_chat::{parse_answer, render_question},
    },
    app::{AppState, RequestContext},
    conversation::{ConversationEvent, ConversationStream, ModelText},
    ephemeral_session::EphemeralSession,
    error::{ApiError, Contract},
    limits::Permit,
};

/// Last line of a question. It identifies the question when the conversation returns with an answer, so that it must not
/// change.
const ANSWER_HINT: &str =
    "(Answer with your next message, and I go on. / 다음 메시지로 답해 주시면 이어서 진행합니다.)";

/// Deltas of an answer.
pub(super) type Deltas = BoxStream<'static, Result<Delta, ApiError>>;

/// Starts an answer.
///
/// # Errors
///
/// Errors before the answer begins.
pub(super) async fn open_deltas(
    context: &RequestContext,
    backend: Backend<'_>,
    request: &ParsedCompletion,
) -> Result<Deltas, ApiError> {
    let app = &context.app;
    match backend {
        Backend::Plain(chat) => {
            let permit = app.limits.run(context.key())?;
            let opening = telemetry::chat(chat.model(), chat.with_prompt(request.for_model()), None);
            let deltas = stream::once(opening).try_flatten().map_err(move |error| {
                // Held until the answer ends.
                let _: &Option<Permit> = &permit;
                ApiError::of_model(Contract::OpenAi, &error)
            });
            Ok(deltas.boxed())
        }
        Backend::Assistant(assistant) => {
            request.check_for_agent()?;
            let graph = match request.has_settings() {
                true => assistant.with_settings(|own| request.apply_settings(own)).map_err(|error| {
                    tracing::error!(%error, "an agent could not be rebuilt with other settings");
                    ApiError::internal()
                })?,
                false => assistant.agent().clone(),
            };
            let permit = app.limits.run(context.key())?;
            let session = app.ephemeral_runtime.session_of(SessionId::random());
            let ephemeral = EphemeralSession::new(session.clone(), &app.tasks);
            let events = session.subscribe(None);
            let input = AgentState::says(request.messages.iter().cloned());
            let run = session.start(&graph, input, context.run_options()).await.map_err(map_error)?;
            let conversation = ConversationStream::new(run, events, Contract::OpenAi, ModelText::Forward);
            Ok(AgentDeltas::new(app, conversation, (ephemeral, permit), Vec::new(), None).into_stream())
        }
        Backend::Task(agent) => {
            request.check_for_agent()?;
            let texts: Vec<(Role, String)> =
                request.messages.iter().map(|message| (message.role, message.text().into_owned())).collect();
            let turn = task_of(&texts, ANSWER_HINT)?;
            let answers = turn.answers.iter();
            let answers =
                answers.map(|(question, answer)| (question.trim().to_owned(), (*answer).to_owned()));
            let (answers, task) = (answers.collect(), turn.task.to_owned());
            let permit = app.limits.run(context.key())?;
            let session = app.ephemeral_runtime.session_of(SessionId::random());
            let ephemeral = EphemeralSession::new(session.clone(), &app.tasks);
            let events = session.subscribe(None);
            let input = agent.input(task, serde_json::Map::new());
            let run =
                session.start_json(agent.graph(), input, context.run_options()).await.map_err(map_error)?;
            let conversation = ConversationStream::new(run, events, Contract::OpenAi, ModelText::Ignore);
            Ok(AgentDeltas::new(app, conversation, (ephemeral, permit), answers, Some(agent)).into_stream())
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
    ready: VecDeque<Result<Delta, ApiError>>,
    ended: bool,
    _guards: (EphemeralSession, Option<Permit>),
}

impl AgentDeltas {
    fn new(
        app: &Arc<AppState>,
        conversation: ConversationStream,
        guards: (EphemeralSession, Option<Permit>),
        answers: Vec<(String, String)>,
        task: Option<&dyn TaskAgent>,
    ) -> Self {
        Self {
            app: Arc::clone(app),
            conversation,
            answers,
            graph: task.map(|agent| agent.graph().to_owned()),
            ready: VecDeque::new(),
            ended: false,
            _guards: guards,
        }
    }

    fn into_stream(self) -> Deltas {
        stream::unfold(self, |mut deltas| async move { deltas.next().await.map(|delta| (delta, deltas)) })
            .boxed()
    }

    async fn next(&mut self) -> Option<Result<Delta, ApiError>> {
        loop {
            if let Some(delta) = self.ready.pop_front() {
                return Some(delta);
            }
            if self.ended {
                return None;
            }
            match self.conversation.next().await? {
                ConversationEvent::Text(text) => return Some(Ok(Delta::text(text))),
                ConversationEvent::Retracted => {
                    return Some(Ok(Delta::Restarted { attempt: 2, reason: "model_cut".to_owned() }));
                }
                ConversationEvent::ToolCall(_) | ConversationEvent::ToolResult(_) => {}
                ConversationEvent::Question(questions) => {
                    if let Err(error) = self.answer_or_ask(&questions).await {
                        return Some(self.fail(error));
                    }
                }
                ConversationEvent::Failed(error) => return Some(self.fail(error)),
                ConversationEvent::Done => {
                    let text = match &self.graph {
                        None => String::new(),
                        Some(graph) => match self.conversation.session().state_json().await {
                            Ok(state) => self.app.response(graph, &state),
                            Err(error) => return Some(self.fail(map_error(error))),
                        },
                    };
                    self.end(text);
                }
            }
        }
    }

    fn fail(&mut self, error: ApiError) -> Result<Delta, ApiError> {
        self.ended = true;
        Err(error)
    }

    /// Ends the answer, with `text` as its last part.
    fn end(&mut self, text: String) {
        self.ended = true;
        let reason = match self.conversation.finish() {
            Some(reason @ (FinishReason::Length | FinishReason::Filtered)) => reason.clone(),
            _ => FinishReason::Stop,
        };
        let usage = self.conversation.usage();
        self.ready.extend((!text.is_empty()).then(|| Ok(Delta::text(text))));
        self.ready.extend((usage != Usage::default()).then_some(Ok(Delta::Usage { usage })));
        self.ready.push_back(Ok(Delta::Finished { reason }));
    }

    /// Answers a question if the conversation contains its answer. Otherwise the question is the text.
    async fn answer_or_ask(&mut self, questions: &[OpenQuestion]) -> Result<(), ApiError> {
        for open in questions {
            let text = question_text(open);
            let Some(at) = self.answers.iter().position(|(question, _)| *question == text) else { continue };
            let (_, answer) = self.answers.remove(at);
            let answers = parse_answer(open, &answer);
            match self.conversation.session().answer_as(answers, "an API client").await {
                Ok(run) => {
                    self.conversation.resume(run);
                    return Ok(());
                }
                // The answer is invalid: the question is asked again.
                Err(SessionError::Answer(error)) => tracing::debug!(%error, "an answer was rejected"),
                Err(error) => return Err(map_error(error)),
            }
        }
        let text = questions.first().map(question_text).unwrap_or_default();
        self.end(text);
        Ok(())
    }
}

/// Returns the text of a question, by which it is also recognized.
fn question_text(open: &OpenQuestion) -> String {
    format!("{}\n\n{ANSWER_HINT}", render_question(open)).trim().to_owned()
}
