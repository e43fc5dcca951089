//! Retrieval by an agent whose process dies at any append of the journal, and documents whose addition ends at any write of
//! the memory: what is stored is neither embedded nor searched again.
#![cfg(feature = "retrieval")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use agent_core::{
    Agent, AgentState, Graph, Runtime, Session,
    event::EventBody,
    ids::Seq,
    journal::{InMemoryJournal, StoreError},
    memory::{InMemoryStore, Item, MemoryError, MemoryStore, Namespace, Put, Search, SearchHit},
    model::{
        EmbedError, Embedder, Messages, Model, WordEmbeddings,
        testing::{Scripted, Turn},
    },
    testing::{HookedStore, StoreCall, StoreHook},
    tool::{DynamicTool, ToolContext, ToolError},
};
use agent_tools::retrieval::{Documents, load::Format};
use futures::future::BoxFuture;
use serde_json::{Value, json};

/// The store of a process that dies at one of its appends.
#[derive(Debug)]
struct DiesAt(AtomicI64);

impl StoreHook for DiesAt {
    async fn before(&self, call: StoreCall) -> Result<(), StoreError> {
        let dead = match call {
            StoreCall::Append => self.0.fetch_sub(1, Ordering::SeqCst) <= 0,
            StoreCall::Acquire | StoreCall::PutSnapshot => self.0.load(Ordering::SeqCst) <= 0,
            _ => false,
        };
        if dead { Err(StoreError::Damaged { reason: "the process is dead".into() }) } else { Ok(()) }
    }

    fn lease(&self, _ttl: Duration) -> Duration {
        Duration::ZERO
    }
}

/// What is paid for: embedded texts, by text.
#[derive(Debug, Default)]
struct Paid(std::sync::Mutex<BTreeMap<String, usize>>);

impl Paid {
    fn times(&self, text: &str) -> usize {
        self.0.lock().unwrap().get(text).copied().unwrap_or(0)
    }

    /// Passages of `words`, and how often one of them was embedded at most.
    fn of(&self, words: &str) -> (usize, usize) {
        let paid = self.0.lock().unwrap();
        let found = paid.iter().filter(|(text, _)| text.starts_with(words)).map(|(_, times)| *times);
        found.fold((0, 0), |(count, most), times| (count + 1, most.max(times)))
    }
}

impl Embedder for Paid {
    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
        for text in texts.iter().filter(|text| !text.is_empty()) {
            *self.0.lock().unwrap().entry(text.clone()).or_default() += 1;
        }
        WordEmbeddings.embed(texts)
    }

    fn dimensions(&self) -> usize {
        WordEmbeddings.dimensions()
    }
}

/// A memory that counts searches, and writes nothing after a number of calls.
struct Memory {
    inner: Arc<InMemoryStore>,
    searches: AtomicUsize,
    writes: AtomicI64,
}

impl Memory {
    fn new(inner: &Arc<InMemoryStore>, writes: i64) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::clone(inner),
            searches: AtomicUsize::new(0),
            writes: AtomicI64::new(writes),
        })
    }

    fn check(&self) -> Result<(), MemoryError> {
        if self.writes.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Err(StoreError::Damaged { reason: "the process is dead".into() }.into());
        }
        Ok(())
    }
}

impl MemoryStore for Memory {
    fn put(&self, put: Put) -> BoxFuture<'_, Result<(), MemoryError>> {
        self.put_many(vec![put])
    }

    fn put_many(&self, puts: Vec<Put>) -> BoxFuture<'_, Result<(), MemoryError>> {
        Box::pin(async move {
            self.check()?;
            self.inner.put_many(puts).await
        })
    }

    fn get(&self, namespace: &Namespace, key: &str) -> BoxFuture<'_, Result<Option<Item>, MemoryError>> {
        self.inner.get(namespace, key)
    }

    fn delete(&self, namespace: &Namespace, key: &str) -> BoxFuture<'_, Result<bool, MemoryError>> {
        let (namespace, key) = (namespace.clone(), key.to_owned());
        Box::pin(async move {
            self.check()?;
            self.inner.delete(&namespace, &key).await
        })
    }

    fn search(&self, search: Search) -> BoxFuture<'_, Result<Vec<SearchHit>, MemoryError>> {
        self.searches.fetch_add(1, Ordering::SeqCst);
        self.inner.search(search)
    }
}

fn document(word: &str, passages: usize) -> String {
    (0..passages).map(|n| format!("{word} {n} {}", "filler ".repeat(20))).collect::<Vec<_>>().join("\n\n")
}

/// The model adds a document, searches twice at once, once more, and answers.
fn librarian(documents: &Documents) -> (Graph<AgentState>, Scripted) {
    let results =
        |messages: &Messages| messages.iter().filter(|message| message.text().contains('[')).count();
    let model = Scripted::rule(move |_, request| {
        let search = |query: &str| json!({ "query": query });
        match results(&request.messages) {
            0 => Turn::call("add", json!({})),
            1 => Turn::call("search_documents", search("refund one"))
                .and_call("search_documents", search("refund two")),
            3 => Turn::call("search_documents", search("refund three")),
            _ => Turn::text("Within 14 days."),
        }
    });
    let target = documents.clone();
    let add = DynamicTool::new(
        "add",
        "Adds the handbook.",
        json!({ "type": "object" }),
        move |_: Value, _: ToolContext| {
            let documents = target.clone();
            async move {
                let added = documents.add("handbook", &document("refund", 20), Format::Text).await;
                let added = added.map_err(|error| ToolError::failed(error.to_string()))?;
                Ok::<_, ToolError>(format!("[added {added}]").into())
            }
        },
    );
    let agent = Agent::builder("librarian").tool(add).tool(documents.tool()).build().unwrap();
    (agent, model)
}

/// Recorded searches of the session.
async fn recorded(session: &Session) -> usize {
    let events = session.events(Seq::ZERO, 1_000).await.unwrap_or_default();
    let tools = events.iter().filter(|event| match &event.body {
        EventBody::StepRecorded(step) => step.kind == "tool" && format!("{:?}", step.value).contains("score"),
        _ => false,
    });
    tools.count()
}

#[tokio::test]
async fn an_agent_embeds_and_searches_once_wherever_an_append_is_the_last_of_a_process() {
    for appends in 0.. {
        let paid = Arc::new(Paid::default());
        let store = Arc::new(InMemoryStore::new().with_embedder(Arc::clone(&paid) as _));
        let memory = Memory::new(&store, i64::MAX);
        let documents = Documents::new(Arc::clone(&memory), "d").unwrap().passage_chars(200);
        let (agent, model) = librarian(&documents);
        let journal = Arc::new(InMemoryJournal::new());
        let process = |lives: i64| {
            let hooked = HookedStore::new(journal.clone(), DiesAt(AtomicI64::new(lives)));
            Runtime::builder().journal(hooked).model(Model::new(model.clone())).graph(&agent).build()
        };
        let mut deaths = 0;
        for lives in [appends, appends / 2 + 1, i64::MAX] {
            let session = process(lives).session("s").unwrap();
            let (known, before) = (recorded(&session).await, memory.searches.load(Ordering::SeqCst));
            let outcome = session.run(&agent, "When?").or_resume().await;
            // What the journal has is not searched again: three searches in all.
            let searched = memory.searches.load(Ordering::SeqCst) - before;
            assert!(searched <= 3 - known, "{appends}: {searched} searches, {known} were recorded");
            match outcome {
                Ok(outcome) => {
                    assert_eq!(outcome.state().unwrap().answer(), "Within 14 days.", "{appends}");
                    break;
                }
                Err(_) => deaths += 1,
            }
        }
        assert_eq!(paid.of("refund 1"), (11, 1), "{appends}: a passage was embedded again");
        for query in ["refund one", "refund two", "refund three"] {
            assert!((1..=1 + deaths).contains(&paid.times(query)), "{appends}: {query}");
        }
        if deaths == 0 {
            assert_eq!(memory.searches.load(Ordering::SeqCst), 3);
            assert!(appends > 8, "{appends}");
            break;
        }
    }
}

#[tokio::test]
async fn an_addition_embeds_each_stored_passage_once_wherever_a_write_is_the_last_of_a_process() {
    for writes in 0.. {
        let paid = Arc::new(Paid::default());
        let store = Arc::new(InMemoryStore::new().with_embedder(Arc::clone(&paid) as _));
        let documents = |writes| Documents::new(Memory::new(&store, writes), "d").unwrap().passage_chars(200);
        let text = document("refund", 300);
        let died = documents(writes).add("a", &text, Format::Text).await.is_err();
        assert_eq!(documents(i64::MAX).add("a", &text, Format::Text).await.unwrap(), died, "{writes}");
        // A write that fails here is refused before its passages are embedded.
        assert_eq!(paid.of("refund"), (300, 1), "{writes}");
        let found =
            store.search(Search::new(Namespace::new(["documents", "d", "passages"]).unwrap()).limit(1_000));
        assert_eq!(found.await.unwrap().len(), 300, "{writes}");
        if !died {
            break;
        }
    }
}

#[tokio::test]
async fn of_a_document_that_changed_in_part_the_other_passages_are_not_embedded_again() {
    let paid = Arc::new(Paid::default());
    let store = Arc::new(InMemoryStore::new().with_embedder(Arc::clone(&paid) as _));
    let documents = Documents::new(Arc::clone(&store), "d").unwrap().passage_chars(200);
    documents.add("a", &document("refund", 40), Format::Text).await.unwrap();
    let changed = document("refund", 40).replace("refund 17", "shipping 17");
    assert!(documents.add("a", &changed, Format::Text).await.unwrap());
    assert_eq!((paid.of("refund"), paid.of("shipping")), ((40, 1), (1, 1)));
    let found = documents.search("shipping", 1).await.unwrap();
    assert!(found[0].text.starts_with("shipping 17"), "{found:?}");
}
