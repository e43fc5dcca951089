//! `/mcp`: Model Context Protocol over streamable HTTP, for the tools and agents of this server.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Method, body::Frame, header};
use serde_json::json;

use crate::{
    app::RequestContext,
    docs::openapi::RouteDoc,
    error::{ApiError, Rejection},
    http::response::{HandlerResult, escape_separators_in},
};

/// Path of the endpoint.
pub(super) const PATH: &str = "/mcp";

pub(super) fn docs() -> Vec<RouteDoc> {
    let methods = [
        (Method::POST, "mcp", "Send a message of the Model Context Protocol"),
        (Method::GET, "mcp_stream", "Open the event stream of an MCP session"),
        (Method::DELETE, "mcp_end", "End an MCP session"),
    ];
    let text = "For clients of the Model Context Protocol (streamable HTTP), with the same credentials as other paths. Agents \
                are tools that report their progress and ask their questions as elicitations.";
    let doc = |(method, id, summary): (Method, &'static str, &'static str)| {
        let content = json!({"application/json": {"schema": {"type": "object"}}, "text/event-stream": {}});
        RouteDoc::new(method, PATH, id, "mcp", summary)
            .text(text)
            .rejections(&[Rejection::NotFound])
            .responds(200, json!({"description": "As the protocol says.", "content": content}))
    };
    methods.into_iter().map(doc).collect()
}

pub(in crate::handler) async fn handle(context: RequestContext) -> HandlerResult {
    let Some(service) = &context.app.mcp else {
        return Err(ApiError::new(Rejection::NotFound, "this server does not serve MCP"));
    };
    let mut response = service.handle(context.request).await;
    // Escaping changes the length.
    response.headers_mut().remove(header::CONTENT_LENGTH);
    let escape = |frame: Frame<Bytes>| frame.map_data(escape_separators_in);
    Ok(response.map(|body| body.map_frame(escape).boxed_unsync()))
}
