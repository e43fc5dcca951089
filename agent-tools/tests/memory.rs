//! The memory tools: notes outlast sessions, and a model cannot read the notes of another.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use agent_core::{
    Agent, AgentState, Runtime,
    memory::{InMemoryStore, MemoryStore, Namespace, Put, Search},
    model::{
        EmbedError, Embedder, Model, Role,
        testing::{Scripted, Turn},
    },
    tool::ToolContext,
};
use agent_tools::MemoryTools;
use futures::future::{BoxFuture, join_all};
use serde_json::{Value, json};
use tokio::sync::Notify;

fn ns<const N: usize>(segments: [&str; N]) -> Namespace {
    Namespace::new(segments).unwrap()
}

/// Makes these calls in a session and gives what came back.
async fn calls(
    memory: &Arc<dyn MemoryStore>,
    tools: &MemoryTools,
    session: &str,
    calls: &[(&str, Value)],
) -> Vec<String> {
    let turn = calls.iter().fold(Turn::default(), |turn, (name, args)| turn.and_call(*name, args.clone()));
    let model = Scripted::new([turn, Turn::text("done")]);
    let agent = Agent::builder("a").tools(tools.registry().unwrap()).build().unwrap();
    let runtime = Runtime::builder().model(Model::new(model)).memory(Arc::clone(memory)).build();
    let outcome = runtime.session(session).unwrap().run(&agent, "go").await.unwrap();
    let state: &AgentState = outcome.state().unwrap();
    let results = state.messages.iter().filter(|message| message.role == Role::Tool);
    results.map(|message| message.text().into_owned()).collect()
}

#[tokio::test]
async fn a_note_is_found_in_another_session_and_can_be_forgotten() {
    let memory: Arc<dyn MemoryStore> = Arc::new(InMemoryStore::new());
    let tools = MemoryTools::new(ns(["users", "1"]));
    let note = json!({ "key": "skin", "text": "피부가 건성이라 수분 크림을 좋아한다" });
    assert_eq!(calls(&memory, &tools, "s1", &[("save_memory", note)]).await, ["saved"]);
    let found = calls(&memory, &tools, "s2", &[("search_memory", json!({ "query": "수분 세럼" }))]).await;
    assert!(found[0].contains("건성") && found[0].contains("skin"), "{found:?}");
    let both = [("forget_memory", json!({ "key": "skin" })), ("forget_memory", json!({ "key": "never" }))];
    let forgotten = calls(&memory, &tools, "s3", &both).await;
    assert_eq!(forgotten, ["forgotten", "there is no note with this name"]);
    let left = calls(&memory, &tools, "s4", &[("search_memory", json!({ "query": "" }))]).await;
    assert_eq!(left, ["[]"]);
}

#[tokio::test]
async fn a_model_reads_and_writes_in_its_own_namespace_only() {
    let memory: Arc<dyn MemoryStore> = Arc::new(InMemoryStore::new());
    memory.put(Put::new(ns(["users", "2"]), "secret", json!({ "text": "theirs" }))).await.unwrap();
    let tools = MemoryTools::new(ns(["users", "1"]));
    let tries = [
        ("search_memory", json!({ "query": "theirs" })),
        ("search_memory", json!({ "query": "", "namespace": ["users", "2"] })),
        ("forget_memory", json!({ "key": "secret" })),
        ("save_memory", json!({ "key": "../2/secret", "text": "mine" })),
    ];
    let results = calls(&memory, &tools, "s", &tries).await;
    assert!(results.iter().all(|text| !text.contains("theirs")), "{results:?}");
    assert!(results[1].contains("not valid"), "{results:?}");
    let kept = memory.get(&ns(["users", "2"]), "secret").await.unwrap().unwrap();
    assert_eq!(kept.value["text"], "theirs");
    assert!(memory.get(&ns(["users", "1"]), "../2/secret").await.unwrap().is_some());
}

#[tokio::test]
async fn sessions_can_have_notes_of_their_own() {
    let memory: Arc<dyn MemoryStore> = Arc::new(InMemoryStore::new());
    let tools = MemoryTools::new(ns(["notes"])).by_session().keep_for(Duration::from_secs(60));
    calls(&memory, &tools, "s1", &[("save_memory", json!({ "key": "k", "text": "one" }))]).await;
    let other = calls(&memory, &tools, "s2", &[("search_memory", json!({ "query": "one" }))]).await;
    let own = calls(&memory, &tools, "s1", &[("search_memory", json!({ "query": "one" }))]).await;
    assert_eq!(other, ["[]"]);
    assert!(own[0].contains("one"), "{own:?}");
    let item = memory.get(&ns(["notes", "s1"]), "k").await.unwrap().unwrap();
    assert!(item.expires_at.is_some());
}

#[tokio::test]
async fn without_a_memory_the_model_is_told_so() {
    let tools = MemoryTools::new(ns(["notes"])).registry().unwrap();
    let call = agent_core::tool::ToolCall::new("search_memory", &json!({ "query": "" }));
    let error = tools.prepare(call).unwrap().run(&ToolContext::detached()).await.unwrap_err();
    assert!(error.for_model().contains("no long-term memory"), "{error}");
}

// --- embeddings ----------------------------------------------------------------------------------------------------

/// Counts its calls; refuses texts that request it; hangs in its first call if `hangs` is set.
#[derive(Debug, Default)]
struct Counting {
    calls: AtomicUsize,
    hangs: AtomicBool,
    entered: Notify,
}

impl Embedder for Counting {
    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
        Box::pin(async move {
            self.calls.fetch_add(1, Ordering::SeqCst);
            if self.hangs.swap(false, Ordering::SeqCst) {
                self.entered.notify_one();
                std::future::pending::<()>().await;
            }
            if texts.iter().any(|text| text.contains("refused")) {
                return Err(EmbedError::failed("a text is not acceptable"));
            }
            Ok(texts.iter().map(|text| vec![text.len() as f32, 1.0]).collect())
        })
    }

    fn dimensions(&self) -> usize {
        2
    }
}

fn counted() -> (Arc<Counting>, Arc<dyn MemoryStore>) {
    let embedder = Arc::new(Counting::default());
    let memory = InMemoryStore::new().with_embedder(Arc::clone(&embedder) as Arc<dyn Embedder>);
    (embedder, Arc::new(memory))
}

fn notes(count: usize) -> Vec<Put> {
    (0..count)
        .map(|at| Put::new(ns(["notes"]), format!("k{at}"), json!({ "text": format!("note {at}") })))
        .collect()
}

#[tokio::test]
async fn a_hundred_notes_of_one_turn_are_embedded_together() {
    let (embedder, memory) = counted();
    let saves: Vec<(&str, Value)> = (0..100)
        .map(|at| ("save_memory", json!({ "key": format!("k{at}"), "text": format!("note {at}") })))
        .collect();
    let saved = calls(&memory, &MemoryTools::new(ns(["notes"])), "s", &saves).await;
    assert!(saved.len() == 100 && saved.iter().all(|text| text == "saved"), "{saved:?}");
    let used = embedder.calls.load(Ordering::SeqCst);
    assert!(used <= 2, "{used} calls of the embedder");
    assert_eq!(memory.search(Search::new(ns(["notes"])).near("note").limit(200)).await.unwrap().len(), 100);
}

#[tokio::test]
async fn items_that_are_put_together_are_embedded_together() {
    let (embedder, memory) = counted();
    memory.put_many(notes(100)).await.unwrap();
    assert_eq!(embedder.calls.load(Ordering::SeqCst), 1);
    let kept = memory.get(&ns(["notes"]), "k99").await.unwrap().unwrap();
    assert_eq!(kept.value["text"], "note 99");
    // All are checked before the first is put.
    let mut bad = notes(2);
    bad[0].key = "new".to_owned();
    bad[1].key = String::new();
    memory.put_many(bad).await.unwrap_err();
    assert!(memory.get(&ns(["notes"]), "new").await.unwrap().is_none());
    memory.put_many(notes(1_001)).await.unwrap_err();
}

#[tokio::test]
async fn a_put_that_is_dropped_while_it_embeds_for_others_leaves_them_to_the_next() {
    let (embedder, memory) = counted();
    embedder.hangs.store(true, Ordering::SeqCst);
    let mut puts = notes(3).into_iter().map(|put| memory.put(put)).collect::<Vec<_>>();
    let mut first = puts.remove(0);
    let rest = join_all(puts);
    tokio::pin!(rest);
    tokio::select! {
        biased; // the first put embeds for the others
        _ = &mut first => panic!("the embedder hangs"),
        _ = &mut rest => panic!("the embedder hangs"),
        () = embedder.entered.notified() => {}
    }
    drop(first);
    assert!(rest.await.iter().all(Result::is_ok));
    assert!(memory.get(&ns(["notes"]), "k0").await.unwrap().is_none());
    assert!(memory.get(&ns(["notes"]), "k2").await.unwrap().is_some());
}

#[tokio::test]
async fn a_text_that_the_embedder_refuses_fails_its_own_put_only() {
    let (_, memory) = counted();
    let mut puts = notes(3);
    puts[1].text = Some("refused".to_owned());
    let done = join_all(puts.into_iter().map(|put| memory.put(put))).await;
    assert_eq!(done.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
}
