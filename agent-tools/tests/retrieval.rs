//! Documents: what is embedded, what a change replaces, and what a call that is cut short leaves behind.
#![cfg(feature = "retrieval")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use agent_core::{
    memory::{InMemoryStore, MemoryStore, Namespace, Search},
    model::{EmbedError, Embedder, WordEmbeddings},
    tool::{ToolCall, ToolContext, ToolRegistry},
};
use agent_tools::retrieval::{Documents, load::Format};
use futures::future::BoxFuture;
use serde_json::json;

/// Counts what it embeds, and fails once there are more texts than allowed.
#[derive(Debug, Default)]
struct Counted {
    texts: AtomicUsize,
    allowed: AtomicUsize,
}

impl Counted {
    fn new(allowed: usize) -> Arc<Self> {
        Arc::new(Self { texts: AtomicUsize::new(0), allowed: AtomicUsize::new(allowed) })
    }

    fn texts(&self) -> usize {
        self.texts.load(Ordering::SeqCst)
    }
}

impl Embedder for Counted {
    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
        let texts_with_meaning = texts.iter().filter(|text| !text.is_empty()).count();
        let all = self.texts.fetch_add(texts_with_meaning, Ordering::SeqCst) + texts_with_meaning;
        if all > self.allowed.load(Ordering::SeqCst) {
            return Box::pin(async { Err(EmbedError::failed("no more")) });
        }
        WordEmbeddings.embed(texts)
    }

    fn dimensions(&self) -> usize {
        WordEmbeddings.dimensions()
    }
}

fn text(paragraphs: usize, word: &str) -> String {
    (0..paragraphs).map(|n| format!("{word} {n} {}", "filler ".repeat(20))).collect::<Vec<_>>().join("\n\n")
}

async fn passages(memory: &Arc<InMemoryStore>) -> usize {
    let place = Namespace::new(["documents", "d", "passages"]).unwrap();
    memory.search(Search::new(place).limit(1_000)).await.unwrap().len()
}

#[tokio::test]
async fn a_document_that_did_not_change_is_not_embedded_again_and_a_shorter_one_leaves_nothing() {
    let embedder = Counted::new(usize::MAX);
    let memory = Arc::new(InMemoryStore::new().with_embedder(Arc::clone(&embedder) as _));
    let documents = Documents::new(Arc::clone(&memory), "d").unwrap().passage_chars(200);
    assert!(documents.add("a", &text(300, "alpha"), Format::Text).await.unwrap());
    assert_eq!((embedder.texts(), passages(&memory).await), (300, 300));
    assert!(!documents.add("a", &text(300, "alpha"), Format::Text).await.unwrap());
    assert_eq!(embedder.texts(), 300);
    assert!(documents.add("a", &text(3, "beta"), Format::Text).await.unwrap());
    assert_eq!((embedder.texts(), passages(&memory).await), (303, 3));
    // Another size of passages is another index.
    let larger = documents.clone().passage_chars(1_000);
    assert!(larger.add("a", &text(3, "beta"), Format::Text).await.unwrap());
    assert_eq!(passages(&memory).await, 1);
    assert!(documents.remove("a").await.unwrap() && !documents.remove("a").await.unwrap());
    assert_eq!(passages(&memory).await, 0);
}

#[tokio::test]
async fn an_addition_that_failed_in_the_middle_is_completed_by_the_next_one() {
    let embedder = Counted::new(256);
    let memory = Arc::new(InMemoryStore::new().with_embedder(Arc::clone(&embedder) as _));
    let documents = Documents::new(Arc::clone(&memory), "d").unwrap().passage_chars(200);
    documents.add("a", &text(300, "alpha"), Format::Text).await.unwrap_err();
    assert_eq!(passages(&memory).await, 256);
    embedder.allowed.store(usize::MAX, Ordering::SeqCst);
    // What comes instead is shorter: the passages of the first attempt are gone.
    assert!(documents.add("a", &text(2, "beta"), Format::Text).await.unwrap());
    assert_eq!(passages(&memory).await, 2);
}

#[tokio::test]
async fn a_folder_is_indexed_as_it_is_now() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir(folder.path().join("more")).unwrap();
    write("refunds.md", "# Refunds\n\nA refund is possible within 14 days.");
    write("more/shipping.html", "<h1>Shipping</h1><script>x</script><p>Shipping takes two days.</p>");
    write("old.txt", "An old price list.");
    write("photo.jpg", "no text");
    let memory = Arc::new(InMemoryStore::new().with_embedder(Arc::new(WordEmbeddings)));
    let documents = Documents::new(Arc::clone(&memory), "d").unwrap();
    let first = documents.add_folder(folder.path()).await.unwrap();
    assert_eq!(first.added, ["more/shipping.html", "old.txt", "refunds.md"]);
    let found = documents.search("how long does shipping take", 1).await.unwrap();
    assert_eq!(found[0].source, "more/shipping.html");
    assert_eq!(found[0].text, "# Shipping\n\nShipping takes two days.");

    std::fs::remove_file(folder.path().join("old.txt")).unwrap();
    write("refunds.md", "# Refunds\n\nA refund is possible within 30 days.");
    let second = documents.add_folder(folder.path()).await.unwrap();
    assert_eq!((second.added, second.unchanged), (vec!["refunds.md".to_owned()], 1));
    assert_eq!((second.removed, second.unreadable), (vec!["old.txt".to_owned()], Vec::new()));

    let tools = ToolRegistry::builder().tool(documents.tool()).build().unwrap();
    let call = ToolCall::new("search_documents", &json!({ "query": "refund days" }));
    let reply = tools.prepare(call).unwrap().run(&ToolContext::detached()).await.unwrap().to_text();
    assert!(
        reply.contains("30 days") && reply.contains("refunds.md") && !reply.contains("14 days"),
        "{reply}"
    );
}

#[tokio::test]
async fn a_folder_that_cannot_be_read_is_named() {
    let memory = InMemoryStore::new().with_embedder(Arc::new(WordEmbeddings));
    let documents = Documents::new(memory, "d").unwrap();
    let error = documents.add_folder("/no/such/folder").await.unwrap_err().to_string();
    assert!(error.starts_with("folder `/no/such/folder` cannot be read"), "{error}");
}
