//! Operations of the dashboard and of the documents.

use hyper::Method;
use serde_json::{Value, json};

use super::entry::Entry;
use crate::error::Rejection;

pub(super) fn entries() -> Vec<Entry> {
    let page = |path: &str, id, summary| Entry::new(Method::GET, path, id, "pages", summary);
    let html = || of("text/html");
    let mut entries = vec![
        page("/", "dashboard", "The dashboard").answers(200, html()).answers(304, same()),
        page("/static/{file}", "dashboard_file", "Get a file of the dashboard")
            .parameter("path", "file", true, &json!({"type": "string"}), "Name of the file.")
            .refusals(&[Rejection::NotFound])
            .answers(200, file())
            .answers(304, same()),
        page("/openapi.json", "openapi", "This document").answers(200, of_json()).answers(304, same()),
        page("/asyncapi.json", "asyncapi", "Get the AsyncAPI 3 document of the WebSocket")
            .answers(200, of_json())
            .answers(304, same()),
        page("/docs/websocket", "docs_websocket", "Read the reference of the WebSocket messages")
            .answers(200, html())
            .answers(304, same()),
        page("/docs/errors", "docs_errors", "Read the list of error codes")
            .answers(200, html())
            .answers(304, same()),
        page("/docs/errors/{code}", "docs_error", "Read about an error code: its cause and what to do")
            .text("As Markdown for clients that accept `text/markdown` but not HTML.")
            .parameter("path", "code", true, &json!({"type": "string"}), "The code.")
            .refusals(&[Rejection::NotFound])
            .answers(
                200,
                json!({"description": "The page.", "content": {
                    "text/html": {"schema": {"type": "string"}},
                    "text/markdown": {"schema": {"type": "string"}},
                }}),
            )
            .answers(304, same()),
        page("/docs/assets/{file}", "docs_file", "Get a file of these documents")
            .parameter("path", "file", true, &json!({"type": "string"}), "Name of the file.")
            .refusals(&[Rejection::NotFound])
            .answers(200, file())
            .answers(304, same()),
    ];
    if cfg!(feature = "docs-ui") {
        entries.push(page("/docs", "docs", "Swagger UI").answers(200, html()).answers(304, same()));
        entries.push(page("/redoc", "redoc", "Redoc").answers(200, html()).answers(304, same()));
    }
    entries
}

fn of(kind: &str) -> Value {
    json!({"description": "The page.", "content": {kind: {"schema": {"type": "string"}}}})
}

fn of_json() -> Value {
    json!({"description": "The document.", "content": {"application/json": {"schema": {"type": "object"}}}})
}

fn file() -> Value {
    let text = json!({"schema": {"type": "string"}});
    let kinds = json!({"text/javascript": text, "text/css": text, "image/svg+xml": text});
    json!({"description": "The file.", "content": kinds})
}

fn same() -> Value {
    json!({"description": "Not modified since the version in `If-None-Match`."})
}
