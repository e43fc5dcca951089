//! HTML pages from Markdown, with links to the other documents.

use pulldown_cmark::{Options, Parser, html};

/// Renders a page. The Markdown must not contain external input, because it is not sanitized.
pub(crate) fn page(title: &str, markdown: &str) -> String {
    let mut body = String::with_capacity(markdown.len() * 2);
    html::push_html(&mut body, Parser::new_ext(markdown, Options::ENABLE_TABLES));
    let ui = if cfg!(feature = "docs-ui") {
        r#"<a href="/docs">Swagger UI</a> <a href="/redoc">Redoc</a> "#
    } else {
        ""
    };
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="/docs/assets/empty.svg">
<link rel="stylesheet" href="/docs/assets/page.css">
</head>
<body>
<nav class="top"><a href="/">dashboard</a> {ui}<a href="/docs/websocket">WebSocket messages</a> <a href="/docs/errors">error codes</a> <a href="/openapi.json">openapi.json</a> <a href="/asyncapi.json">asyncapi.json</a></nav>
<main>
{body}</main>
</body>
</html>
"#
    )
}
