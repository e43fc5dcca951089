//! Embeddings against a server with valid and invalid answers, and through the stores that search by meaning.

use std::sync::Arc;
use std::time::Duration;

use agent_core::memory::{InMemoryStore, MemoryStore, Namespace, Put, Search};
use agent_core::model::openai::{OpenAiEmbeddings, OpenAiEmbeddingsBuilder};
use agent_core::model::{EmbedError, Embedder, ModelError, ModelErrorKind};
use agent_core::retry::RetryPolicy;
use agent_core::sqlite::Sqlite;
use serde_json::json;

use crate::server::{Answer, Server};

const KEY: &str = "sk-test-abcdefghijklmnop";

fn at(server: &Server) -> OpenAiEmbeddingsBuilder {
    let once = RetryPolicy::attempts(1);
    OpenAiEmbeddings::builder().base_url(&server.url).key(KEY).model("tiny").length(2).retry(once)
}

fn vectors<const N: usize>(vectors: [(usize, [f32; 2]); N]) -> Answer {
    let data: Vec<_> =
        vectors.into_iter().map(|(index, vector)| json!({ "index": index, "embedding": vector })).collect();
    Answer::status(200, &json!({ "object": "list", "data": data, "model": "tiny" }).to_string())
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.into_iter().map(str::to_owned).collect()
}

async fn fault(answer: Answer) -> ModelError {
    let server = Server::start([answer]).await;
    let EmbedError::Model(error) = at(&server).build().unwrap().embed(&texts(["립"])).await.unwrap_err()
    else {
        panic!("an error of the model")
    };
    assert!(!format!("{error} {error:?}").contains(KEY));
    assert_eq!(error.model(), Some("tiny"));
    error
}

#[tokio::test]
async fn texts_go_out_in_batches_and_their_vectors_come_back_in_order() {
    let server =
        Server::start([vectors([(1, [0.0, 1.0]), (0, [1.0, 0.0])]), vectors([(0, [0.5, 0.5])])]).await;
    let embedder = at(&server).batch(2).build().unwrap();
    let found = embedder.embed(&texts(["립", " ", "쿠션", "세럼"])).await.unwrap();
    assert_eq!(found, [[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.5, 0.5]]);
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!((seen[0].path.as_str(), &seen[0].body["input"]), ("/v1/embeddings", &json!(["립", "쿠션"])));
    assert_eq!(seen[0].header("authorization"), Some("Bearer sk-test-abcdefghijklmnop"));
    assert!(seen[0].body.get("dimensions").is_none());
}

#[tokio::test]
async fn vectors_are_shortened_by_the_endpoint_when_that_is_asked() {
    let server = Server::start([vectors([(0, [1.0, 0.0])])]).await;
    let embedder = at(&server).shorten(2).build().unwrap();
    embedder.embed(&texts(["립"])).await.unwrap();
    assert_eq!(server.seen()[0].body["dimensions"], 2);
}

#[tokio::test]
async fn a_bad_answer_is_a_typed_error() {
    let long = format!(r#"{{"data":[],"padding":"{}"}}"#, "x".repeat(400_000));
    let cases = [
        (Answer::status(401, r#"{"error":{"message":"no"}}"#), ModelErrorKind::Auth),
        (
            Answer::status(400, r#"{"error":{"code":"context_length_exceeded"}}"#),
            ModelErrorKind::ContextTooLong,
        ),
        (Answer::status(200, "[]"), ModelErrorKind::Malformed),
        (Answer::status(200, r#"{"data":[]}"#), ModelErrorKind::Malformed),
        (Answer::status(200, r#"{"data":[{"index":0,"embedding":[1]}]}"#), ModelErrorKind::Malformed),
        (vectors([(7, [1.0, 0.0])]), ModelErrorKind::Malformed),
        (vectors([(0, [1.0, 0.0]), (0, [1.0, 0.0])]), ModelErrorKind::Malformed),
        (Answer::status(200, &long), ModelErrorKind::Malformed),
    ];
    for (answer, expected) in cases {
        assert_eq!(fault(answer).await.kind(), expected);
    }
}

#[tokio::test]
async fn a_refusal_that_passes_is_tried_again() {
    let busy = Answer::status(429, "{}").header("retry-after-ms", "1");
    let server = Server::start([busy, vectors([(0, [1.0, 0.0])])]).await;
    let embedder = at(&server).retry(RetryPolicy::default()).build().unwrap();
    assert_eq!(embedder.embed(&texts(["립"])).await.unwrap(), [[1.0, 0.0]]);
    let silent = Server::start([Answer::raw(["{"]).then_silence()]).await;
    let embedder = at(&silent).timeout(Duration::from_millis(50)).build().unwrap();
    let error = embedder.embed(&texts(["립"])).await.unwrap_err();
    assert!(matches!(error, EmbedError::Model(ref error) if error.code() == "model_timed_out"), "{error:?}");
}

#[test]
fn an_address_or_a_length_that_cannot_be_is_refused_before_anything_is_sent() {
    assert!(OpenAiEmbeddings::builder().base_url("ftp://x").build().is_err());
    assert!(OpenAiEmbeddings::builder().length(0).build().is_err());
    assert!(!format!("{:?}", OpenAiEmbeddings::builder().key(KEY)).contains(KEY));
}

/// Puts a few things and looks for one by its meaning.
async fn nearest(store: &dyn MemoryStore, items: &[(&str, &str)], query: &str) -> Vec<String> {
    let namespace = Namespace::new(["reviews"]).unwrap();
    for (key, text) in items {
        store.put(Put::new(namespace.clone(), *key, json!({ "text": text }))).await.unwrap();
    }
    let found = store.search(Search::new(namespace).near(query)).await.unwrap();
    found.into_iter().map(|found| found.item.key).collect()
}

#[tokio::test]
async fn both_stores_search_by_what_an_endpoint_says_is_near() {
    for sqlite in [false, true] {
        let server = Server::start([
            vectors([(0, [1.0, 0.1])]),
            vectors([(0, [0.1, 1.0])]),
            vectors([(0, [0.0, 1.0])]),
        ])
        .await;
        let embedder: Arc<dyn Embedder> = at(&server).build().unwrap().into();
        let items = [("lip", "매트 립"), ("serum", "촉촉한 세럼")];
        let found = if sqlite {
            let file = Sqlite::builder().open(":memory:").unwrap();
            nearest(&file.memory().with_embedder(embedder), &items, "수분").await
        } else {
            nearest(&InMemoryStore::new().with_embedder(embedder), &items, "수분").await
        };
        assert_eq!(found, ["serum", "lip"], "sqlite: {sqlite}");
    }
}

#[cfg(feature = "static-embeddings")]
mod local {
    use agent_core::model::StaticEmbeddings;

    use super::*;

    /// A real model of seven words and two numbers: skin care to the right, make-up upwards.
    fn model(folder: &std::path::Path) {
        let words = ["[PAD]", "[UNK]", "serum", "moist", "cream", "lip", "matte", "tint"];
        let numbers: [[f32; 2]; 8] =
            [[0.0, 0.0], [0.0, 0.0], [1.0, 0.1], [0.9, 0.0], [1.0, 0.0], [0.0, 1.0], [0.1, 0.9], [0.0, 1.0]];
        let vocabulary: serde_json::Map<_, _> =
            words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
            "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                            "strip_accents": null, "lowercase": true },
            "pre_tokenizer": { "type": "BertPreTokenizer" }, "post_processor": null,
            "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
            "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                       "max_input_chars_per_word": 100, "vocab": vocabulary },
        });
        std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
        std::fs::write(folder.join("config.json"), r#"{"normalize":true}"#).unwrap();
        let header =
            json!({ "embeddings": { "dtype": "F32", "shape": [8, 2], "data_offsets": [0, 64] } }).to_string();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(numbers.iter().flatten().flat_map(|number| number.to_le_bytes()));
        std::fs::write(folder.join("model.safetensors"), file).unwrap();
    }

    #[tokio::test]
    async fn a_model_in_a_folder_finds_what_is_near_without_a_network() {
        let folder = tempfile::tempdir().unwrap();
        model(folder.path());
        let embedder = Arc::new(StaticEmbeddings::open(folder.path()).unwrap());
        assert_eq!(embedder.dimensions(), 2);
        let items = [("a", "Matte lip tint"), ("b", "Moist serum"), ("c", "unheard of")];
        let memory = InMemoryStore::new().with_embedder(embedder.clone());
        assert_eq!(nearest(&memory, &items, "cream").await[0], "b");
        let file = Sqlite::builder().open(":memory:").unwrap();
        let memory = file.memory().with_embedder(embedder);
        assert_eq!(nearest(&memory, &items, "tint").await[0], "a");
    }

    #[test]
    fn a_folder_without_a_model_is_refused_with_the_file_that_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let error = StaticEmbeddings::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json"), "{error}");
        model(folder.path());
        std::fs::write(folder.path().join("model.safetensors"), b"garbage").unwrap();
        assert!(StaticEmbeddings::open(folder.path()).is_err());
    }
}
