//! A page for every error code: its cause, and what to do.

use std::fmt::Write as _;

use super::openapi::codes;

macro_rules! pages {
    ($($code:literal)*) => {
        /// Code and Markdown.
        const PAGES: &[(&str, &str)] =
            &[$(($code, include_str!(concat!("../../../docs/errors/", $code, ".md"))),)*];
    };
}

pages! {
    "invalid_session_id"
    "invalid_input"
    "value_too_deep"
    "value_too_large"
    "value_reserved_key"
    "value_not_finite"
    "invalid_answer"
    "ambiguous_answer"
    "session_not_found"
    "graph_not_found"
    "question_not_found"
    "checkpoint_not_found"
    "session_busy"
    "session_exists"
    "already_answered"
    "request_differs"
    "label_differs"
    "other_graph"
    "nothing_to_do"
    "stale_writer"
    "graph_changed"
    "node_failed"
    "panicked"
    "node_timed_out"
    "write_conflict"
    "update_refused"
    "undeclared_target"
    "no_way_taken"
    "send_refused"
    "join_never_filled"
    "replay_mismatch"
    "question_changed"
    "node_ended"
    "stored_state"
    "crash_loop"
    "superstep_limit"
    "budget_exceeded"
    "too_many_runs"
    "shutting_down"
    "model_failed"
    "tool_failed"
    "store_unavailable"
    "store_corrupt"
    "cannot_resume"
    "invalid_json"
    "invalid_request"
    "empty_message"
    "message_too_long"
    "too_deep"
    "body_too_large"
    "frame_too_large"
    "overloaded"
    "body_timed_out"
    "unknown_agent"
    "no_agent"
    "not_found"
    "method_not_allowed"
    "upgrade_required"
    "unauthorized"
    "invalid_token"
    "rate_limited"
    "quota_exceeded"
    "no_model"
    "model_not_found"
    "unsupported_parameter"
    "stopped"
    "origin_not_allowed"
    "answer_needed"
    "too_many_errors"
    "internal"
}

/// Returns the page of a code.
pub(crate) fn markdown(code: &str) -> Option<&'static str> {
    PAGES.iter().find(|(known, _)| *known == code).map(|(_, text)| *text)
}

/// Returns the cause of a code: the first paragraph of its page.
pub(crate) fn summary(code: &str) -> Option<&'static str> {
    let text = markdown(code)?;
    text.split("\n\n").find(|part| !part.starts_with('#')).map(str::trim)
}

/// Returns the list of all codes.
pub(crate) fn list() -> String {
    let mut text = "# Error codes\n\n\
        An error is `{code, message, session_id?, where?, data?}`: branch on `code`, show `message` to people.\n\n\
        | Code | Cause |\n|---|---|\n"
        .to_owned();
    for code in codes() {
        writeln!(text, "| [`{code}`](/docs/errors/{code}) | {} |", summary(code).unwrap_or_default())
            .expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_with_its_cause_and_what_to_do() {
        for code in codes() {
            let text = markdown(code).unwrap_or_else(|| panic!("docs/errors/{code}.md is missing"));
            assert!(text.starts_with(&format!("# {code}\n\n")), "{code} has no title");
            assert!(
                summary(code).is_some_and(|cause| !cause.contains('\n') && cause.ends_with('.')),
                "{code}"
            );
            let (_, to_do) =
                text.split_once("\n## What to do\n\n").unwrap_or_else(|| panic!("{code}: what to do?"));
            assert!(to_do.len() > 20, "{code}");
        }
    }

    #[test]
    fn every_page_has_a_code() {
        for (code, _) in PAGES {
            assert!(codes().contains(code), "{code} is not an error code");
        }
    }
}
