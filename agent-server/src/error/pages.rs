//! Pages of error codes: cause, and what to do. Every code has one, to which the field `help` of errors refers.

macro_rules! pages {
    ($($code:literal)*) => {
        /// Code and Markdown.
        pub(crate) const PAGES: &[(&str, &str)] =
            &[$(($code, include_str!(concat!("../../docs/errors/", $code, ".md"))),)*];
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
    "context_missing"
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
    "invalid_schedule"
    "schedule_not_found"
    "schedule_exists"
    "answer_needed"
    "too_many_errors"
    "internal"
    "model_auth"
    "model_quota"
    "model_rate_limited"
    "model_context_too_long"
    "model_filtered"
    "model_overloaded"
    "model_timed_out"
    "model_malformed"
    "model_cut"
    "model_transport"
    "model_bad_request"
    "model_unknown"
    "model_unsupported"
    "model_endpoint_is_this_server"
    "model_answer_empty"
    "run_stopped"
    "gap"
    "seq_ahead"
    "rate_limit_exceeded"
    "context_length_exceeded"
    "content_filter"
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
