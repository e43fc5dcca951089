//! Any speaker as the deltas of a model, so that one writer serves them all. Sessions made here last as long as their
//! request: dropped, the run is stopped and the session removed.

use std::{collections::VecDeque, sync::Arc};

use agent_core::{
    AgentState, SessionError,
    ids::SessionId,
    interrupt::OpenQuestion,
    model::{Delta, FinishReason, Role, Usage},
    telemetry,
};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};

use super::Speaker;
use crate::{
    TaskAgent,
    error::{ApiError, Contract, Refusal},
    http::call::Call,
    limit::Held,
    server::Inner,
    talk::{Passing, Piece, Reading},
    wire::{
        openai::{Completion, task_of},
        tool_chat::{as_answer, in_words},
    },
};

/// The end of a question, by which it is known again when the conversation comes back with an answer.
const HINT: &str =
    "(Answer with your next message, and I go on. / 다음 메시지로 답해 주시면 이어서 진행합니다.)";

/// What is heard.
pub(super) type Deltas = BoxStream<'static, Result<Delta, ApiError>>;

/// Asks a speaker.
///
/// # Errors
///
/// What is refused before the speaker begins.
pub(super) async fn hear(call: &Call, speaker: Speaker<'_>, asked: &Completion) -> Result<Deltas, ApiError> {
    let inner = &call.inner;
    match speaker {
        Speaker::Plain(chat) => {
            let held = inner.limits.run(call.key())?;
            let asking = telemetry::chat(chat.model(), chat.prompted(asked.for_model()), None);
            let answer = stream::once(asking).try_flatten();
            let told = answer.map_err(move |error| {
                // Counted for as long as the answer is under way.
                let _: &Option<Held> = &held;
                ApiError::of_model(Contract::OpenAi, &error)
            });
            Ok(told.boxed())
        }
        Speaker::Assistant(assistant) => {
            asked.for_an_agent()?;
            let graph = match asked.tunes() {
                true => assistant.tuned(|request| asked.tune(request)).map_err(|error| {
                    tracing::error!(%error, "an agent's recipe fails now and did not before");
                    ApiError::new(Refusal::Internal, "the server made a mistake")
                })?,
                false => assistant.agent().clone(),
            };
            let held = inner.limits.run(call.key())?;
            let session = inner.passing.session_of(SessionId::random());
            let passing = Passing::new(session.clone(), &inner.sockets);
            let events = session.subscribe(None);
            let input = AgentState::says(asked.messages.iter().cloned());
            let run = session.start(&graph, input, call.run_options()).await.map_err(refused)?;
            let reading = Reading::new(run, events, Contract::OpenAi, true);
            Ok(Heard::new(inner, reading, (passing, held), Vec::new(), None).deltas())
        }
        Speaker::Task(agent) => {
            asked.for_an_agent()?;
            let texts: Vec<(Role, String)> =
                asked.messages.iter().map(|message| (message.role, message.text().into_owned())).collect();
            let turn = task_of(&texts, HINT)?;
            let answers =
                turn.answers.iter().map(|(asked, said)| (asked.trim().to_owned(), (*said).to_owned()));
            let (answers, task) = (answers.collect(), turn.task.to_owned());
            let held = inner.limits.run(call.key())?;
            let session = inner.passing.session_of(SessionId::random());
            let passing = Passing::new(session.clone(), &inner.sockets);
            let events = session.subscribe(None);
            let input = agent.input(task, serde_json::Map::new());
            let run = session.start_json(agent.graph(), input, call.run_options()).await.map_err(refused)?;
            let reading = Reading::new(run, events, Contract::OpenAi, false);
            Ok(Heard::new(inner, reading, (passing, held), answers, Some(agent)).deltas())
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
fn refused(error: SessionError) -> ApiError {
    ApiError::of(Contract::OpenAi, &error)
}

/// A run that is listened to for one answer.
struct Heard {
    inner: Arc<Inner>,
    reading: Reading,
    /// Questions of earlier calls, and what was said to them.
    answers: Vec<(String, String)>,
    /// The graph whose state holds the answer; none when the model's words are the answer.
    graph: Option<String>,
    ready: VecDeque<Result<Delta, ApiError>>,
    ended: bool,
    /// The session, and its place among the caller's runs.
    _passing: (Passing, Option<Held>),
}

impl Heard {
    fn new(
        inner: &Arc<Inner>,
        reading: Reading,
        passing: (Passing, Option<Held>),
        answers: Vec<(String, String)>,
        task: Option<&dyn TaskAgent>,
    ) -> Self {
        Self {
            inner: Arc::clone(inner),
            reading,
            answers,
            graph: task.map(|agent| agent.graph().to_owned()),
            ready: VecDeque::new(),
            ended: false,
            _passing: passing,
        }
    }

    fn deltas(self) -> Deltas {
        stream::unfold(self, |mut heard| async move { heard.next().await.map(|delta| (delta, heard)) })
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
            match self.reading.next().await? {
                Piece::Text(text) => return Some(Ok(Delta::text(text))),
                Piece::Voided => {
                    return Some(Ok(Delta::Restarted { attempt: 2, reason: "model_cut".to_owned() }));
                }
                Piece::Called(_) | Piece::Returned(_) => {}
                Piece::Asked(questions) => {
                    if let Err(error) = self.asked(&questions).await {
                        return Some(self.fail(error));
                    }
                }
                Piece::Failed(error) => return Some(self.fail(error)),
                Piece::Ended => {
                    let text = match &self.graph {
                        None => String::new(),
                        Some(graph) => match self.reading.session().state_json().await {
                            Ok(state) => self.inner.response(graph, &state),
                            Err(error) => return Some(self.fail(refused(error))),
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

    /// The last deltas of an answer, `text` before them.
    fn end(&mut self, text: String) {
        self.ended = true;
        let reason = match self.reading.finish() {
            Some(reason @ (FinishReason::Length | FinishReason::Filtered)) => reason.clone(),
            _ => FinishReason::Stop,
        };
        let usage = self.reading.usage();
        self.ready.extend((!text.is_empty()).then(|| Ok(Delta::text(text))));
        self.ready.extend((usage != Usage::default()).then_some(Ok(Delta::Usage { usage })));
        self.ready.push_back(Ok(Delta::Finished { reason }));
    }

    /// A question that was answered in this conversation gets its answer; another one is what is said.
    async fn asked(&mut self, questions: &[OpenQuestion]) -> Result<(), ApiError> {
        for open in questions {
            let words = worded(open);
            let Some(at) = self.answers.iter().position(|(asked, _)| *asked == words) else { continue };
            let (_, said) = self.answers.remove(at);
            match self.reading.session().answer_as(as_answer(open, &said), "an API client").await {
                Ok(run) => {
                    self.reading.go_on(run);
                    return Ok(());
                }
                // It does not fit: the question is asked again.
                Err(SessionError::Answer(error)) => tracing::debug!(%error, "an answer was refused"),
                Err(error) => return Err(refused(error)),
            }
        }
        let text = questions.first().map(worded).unwrap_or_default();
        self.end(text);
        Ok(())
    }
}

/// A question as it is said, and found again.
fn worded(open: &OpenQuestion) -> String {
    format!("{}\n\n{HINT}", in_words(open)).trim().to_owned()
}
