//! The dashboard's files over HTTP: security headers, caching, and 404 for other paths.

use hyper::Method;

use crate::support::Here;

#[tokio::test]
async fn the_page_may_do_nothing_but_load_its_own_files_and_speak_to_its_own_server() {
    let here = Here::trend().await;
    let page = here.get("/").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    here.end().await;
}

#[tokio::test]
async fn a_file_that_a_browser_has_is_not_sent_again() {
    let here = Here::trend().await;
    let first = here.get("/static/app.js").await;
    assert_eq!(first.headers["content-type"], "text/javascript; charset=utf-8");
    let tag = first.headers["etag"].to_str().unwrap().to_owned();
    for sent in [tag.clone(), format!("\"other\", W/{tag}")] {
        let again = here.send(Method::GET, "/static/app.js", &[("if-none-match", &sent)], "").await;
        assert_eq!((again.status.as_u16(), again.text.len()), (304, 0), "{sent}");
        assert_eq!(again.headers["etag"], tag);
    }
    let other = here.send(Method::GET, "/static/app.css", &[("if-none-match", &tag)], "").await;
    assert_eq!(other.status, 200);
    here.end().await;
}

#[tokio::test]
async fn files_that_are_not_the_pages_are_not_there() {
    let here = Here::trend().await;
    for path in
        ["/static/mod.rs", "/static/index.html", "/static/..%2fmod.rs", "/static/%2e%2e%2fmod.rs", "/static/"]
    {
        let reply = here.get(path).await;
        assert_eq!(reply.refusal(), (404, "not_found"), "{path}");
    }
    here.end().await;
}
