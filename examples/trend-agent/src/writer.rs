//! A model's report: written from the facts, checked against the data, asked for once more, or replaced.

use agent_core::{
    Context, Result,
    model::{FinishReason, Message, ModelErrorKind},
};

use super::{
    audience::Audience,
    check::check_report,
    findings::Findings,
    prompt,
    report::{Unusable, frame, write_instead},
    understand::{Completion, complete, conversation},
};

/// How often a model is asked for a report: once, and once more with the faults.
const DRAFTS: u32 = 2;

/// The report that a model writes; the built-in one, which says why, if the model's second draft cannot be shown either.
pub(super) async fn models_report(
    message: &str,
    findings: &Findings,
    audience: Audience,
    cx: &Context,
) -> Result<String> {
    let first = conversation(prompt::report_messages(message, findings, audience));
    let mut messages = first.clone();
    let mut why = Unusable::Empty;
    for _ in 0..DRAFTS {
        let reply = match complete(messages, cx).await? {
            Completion::Reply(reply) => reply,
            Completion::TimedOut => return Ok(write_instead(findings, audience, Unusable::TimedOut)),
            Completion::Unusable(kind) => {
                let why = match kind {
                    ModelErrorKind::Filtered => Unusable::Filtered,
                    ModelErrorKind::ContextTooLong => Unusable::TooLong,
                    _ => Unusable::Cut,
                };
                return Ok(write_instead(findings, audience, why));
            }
        };
        let text = reply.message.text().into_owned();
        let faults = match reply.finish {
            FinishReason::Length => {
                why = Unusable::Cut;
                vec!["it was cut off at the token limit; write a shorter one".to_owned()]
            }
            FinishReason::Filtered => {
                why = Unusable::Filtered;
                vec!["a content filter ended it".to_owned()]
            }
            _ if text.trim().is_empty() => {
                why = Unusable::Empty;
                vec!["it is empty".to_owned()]
            }
            _ => {
                why = Unusable::Invented;
                check_report(&text, findings, message)
            }
        };
        if faults.is_empty() {
            return Ok(frame(findings, audience, text.trim_start()));
        }
        // Only the last draft is sent again, so that the conversation does not grow.
        messages = first.clone();
        if !text.is_empty() {
            messages.push(Message::assistant(text));
        }
        messages.push(Message::user(prompt::repair_message(&faults.join("; "))));
    }
    Ok(write_instead(findings, audience, why))
}
