//! The first part of the graph's work: what the message asks for, with a model's help if there is one, and with the user's
//! if no subject is recognised.

use agent_core::{
    Context, Question, Result,
    model::{Message, ModelError, ModelErrorKind, ModelReply, ModelRequest},
};
use serde_json::Value;

use super::{
    catalogue::Brand,
    extraction::read_answer,
    graph::{Desk, Trend},
    plan::PlannedTodo,
    prompt::{self, PromptMessage},
    request::{Request, Scope, Unread},
    review::Language,
};

/// How often the user is asked for a subject before the report says that there is none.
const SUBJECT_QUESTIONS: u32 = 3;

/// How often a model is asked to read a message: once, and once more to repair its answer.
const READINGS: u32 = 2;

/// Understands the message. The steps are a model's, and empty without one.
pub(super) async fn understand(
    trend: &Trend,
    use_model: bool,
    cx: &Context,
) -> Result<(Request, Vec<PlannedTodo>)> {
    let previous = trend.request.as_ref();
    let offline = Request::parse_after(&trend.message, previous);
    let (mut request, steps) = if use_model && offline.scope != Scope::Unknown {
        models_reading(&trend.message, offline, previous, cx).await?
    } else {
        (offline, Vec::new())
    };
    for attempt in 1..=SUBJECT_QUESTIONS {
        if request.scope != Scope::Open {
            break;
        }
        let answer: Value = cx.ask(subject_question(request.language, attempt)).await?;
        if let Some(named) = answered(&answer, request.language).and_then(|name| request.with_subject(&name))
        {
            request = named;
        }
    }
    if request.scope == Scope::Open {
        request.scope = Scope::Unknown;
    }
    Ok((request, steps))
}

/// Which brand or product is meant. Any text is an answer; the options are the brands, and all of them.
fn subject_question(language: Language, attempt: u32) -> Question {
    let (prompt, all) = match language {
        Language::Korean => ("어느 브랜드나 제품의 리뷰를 볼까요?", "모든 브랜드"),
        Language::English => ("Which brand or product do you mean?", "All brands"),
    };
    let options = Brand::ALL.iter().map(|brand| brand.name(language)).chain([all]);
    let key = if attempt == 1 { "subject".to_owned() } else { format!("subject:{attempt}") };
    Question::choose(prompt, options).or_anything().key(key)
}

/// The answer as text; a number is that of an option, from 1.
fn answered(answer: &Value, language: Language) -> Option<String> {
    let text = match answer {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let Ok(number) = text.parse::<usize>() else { return Some(text) };
    match number.checked_sub(1)? {
        at if at < Brand::ALL.len() => Some(Brand::ALL[at].name(language).to_owned()),
        at if at == Brand::ALL.len() => Some("all brands".to_owned()),
        _ => None,
    }
}

/// What a model reads, or what the built-in reader understood if the model's answer cannot be used.
async fn models_reading(
    message: &str,
    offline: Request,
    previous: Option<&Request>,
    cx: &Context,
) -> Result<(Request, Vec<PlannedTodo>)> {
    let mut messages = conversation(prompt::plan_messages(message, &offline, previous));
    let mut steps = Vec::new();
    let unread = |request: Request, why| Request { unread: Some(why), ..request };
    for _ in 0..READINGS {
        let reply = match complete(messages.clone(), cx).await? {
            Completion::Reply(reply) => reply,
            Completion::TimedOut => return Ok((unread(offline, Unread::TimedOut), steps)),
            Completion::Unusable(_) => break,
        };
        let reading = read_answer(&reply.message.text(), message, &offline);
        if steps.is_empty() {
            steps = reading.steps;
        }
        match reading.request {
            Ok(request) => return Ok((request, steps)),
            Err(faults) => {
                messages.push(Message::assistant(reply.message.text().into_owned()));
                messages.push(Message::user(prompt::repair_message(&faults)));
            }
        }
    }
    Ok((unread(offline, Unread::Unusable), steps))
}

/// A model's answer, or why there is none that can be read.
pub(super) enum Completion {
    Reply(Box<ModelReply>),
    /// It did not come within [`Desk::answer_timeout`], or within the timeouts of the model's client.
    TimedOut,
    /// It was cut, filtered or no valid answer, or the model cannot hold the prompt.
    Unusable(ModelErrorKind),
}

/// Asks the model. An answer that cannot be read is no error, because the built-in analyst can do without; an endpoint that
/// is unreachable or refuses the request is.
pub(super) async fn complete(messages: Vec<Message>, cx: &Context) -> Result<Completion> {
    let model = cx.model()?;
    let answer = model.complete(ModelRequest::new(messages));
    let Ok(answer) = tokio::time::timeout(cx.get::<Desk>()?.answer_timeout, answer).await else {
        return Ok(Completion::TimedOut);
    };
    let error = match answer {
        Ok(reply) => return Ok(Completion::Reply(Box::new(reply))),
        Err(error) => error,
    };
    match error.downcast_ref::<ModelError>().map(ModelError::kind) {
        Some(ModelErrorKind::TimedOut { .. }) => Ok(Completion::TimedOut),
        Some(
            kind @ (ModelErrorKind::Malformed
            | ModelErrorKind::Cut
            | ModelErrorKind::Filtered
            | ModelErrorKind::ContextTooLong),
        ) => Ok(Completion::Unusable(kind)),
        _ => Err(error),
    }
}

/// Prompts as messages to a model.
pub(super) fn conversation(prompts: Vec<PromptMessage>) -> Vec<Message> {
    prompts
        .into_iter()
        .map(|prompt| match prompt.role {
            prompt::Role::System => Message::system(prompt.content),
            prompt::Role::User => Message::user(prompt.content),
        })
        .collect()
}
