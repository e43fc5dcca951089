//! Stored bytes and model texts of any kind are read or refused by name, and never panic.

use agent_core::{
    ids::{RunId, Seq, SessionId},
    journal::{
        Append, Epoch, InMemoryJournal, JournalStore, Record, StoreError, StoredSnapshot, Summary, verify,
    },
    memory::Namespace,
    model::TextCalls,
};
use tests::Mutations;

/// Names in entries and snapshots.
const WORDS: [&str; 30] = [
    "at",
    "run",
    "fact",
    "run_accepted",
    "task_finished",
    "superstep_committed",
    "question_asked",
    "question_answered",
    "step_recorded",
    "todo_updated",
    "run_paused",
    "run_completed",
    "graph",
    "hash",
    "state",
    "plan",
    "due",
    "task",
    "update",
    "key",
    "value",
    "first#1",
    "id",
    "question",
    "prompt",
    "options",
    "format",
    "version",
    "status",
    "paused",
];

#[test]
fn stored_entries_and_snapshots_are_read_or_refused_by_name() {
    let lines = include_str!("../fixtures/overwrite.jsonl").lines();
    let session: SessionId = "s".parse().unwrap();
    let mut turn = 0;
    let executor = tokio::runtime::Builder::new_current_thread().build().unwrap();
    Mutations::of(1, lines, WORDS).try_all(|input| {
        turn += 1;
        let store = InMemoryJournal::new();
        let good = include_str!("../fixtures/overwrite.jsonl").lines().next().unwrap().as_bytes();
        // Alone, behind a good entry, or as a snapshot.
        let bodies = if turn % 3 == 1 { vec![input] } else { vec![good, input] };
        let records =
            bodies.iter().zip(1..).map(|(body, seq)| Record::new(Seq(seq), body.to_vec())).collect();
        let append = Append::new(session.clone(), Epoch(0), Seq::ZERO, records);
        executor
            .block_on(store.append(append.with_summary(Some(Summary::new("golden", "running", RunId(1), 0)))))
            .unwrap();
        if turn % 3 == 0 {
            executor
                .block_on(store.put_snapshot(&session, StoredSnapshot::new(Seq(1), input.to_vec())))
                .unwrap();
        }
        match executor.block_on(verify(&store, &session)) {
            Ok(_) | Err(StoreError::Corrupt { .. } | StoreError::FormatTooNew { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    });
}

#[test]
fn tool_calls_in_text_are_read_however_they_are_cut() {
    let examples = [
        "볼게요.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"서울\"}}\n</tool_call> 끝",
        "[TOOL_CALLS][{\"name\": \"weather\", \"arguments\": {}}]",
        "{\"name\": \"weather\", \"parameters\": {\"city\": \"Seoul\"}}",
        "```json\n{\"name\": \"weather\", \"arguments\": {}}\n```",
        "<|python_tag|>{\"type\": \"function\", \"name\": \"weather\", \"parameters\": {}}",
    ];
    let words = [
        "<tool_call>",
        "</tool_call>",
        "[TOOL_CALLS]",
        "```json",
        "```",
        "name",
        "arguments",
        "weather",
        "검색",
    ];
    Mutations::of(2, examples, words).try_all(|input| {
        let read = |parts: &mut dyn Iterator<Item = &[u8]>| {
            let mut parser = TextCalls::new(["weather", "검색"]);
            let pieces = parts.flat_map(|part| parser.push(part)).collect::<Vec<_>>();
            (pieces, parser.finish())
        };
        let whole = read(&mut std::iter::once(input));
        let bytes = read(&mut input.chunks(1));
        let calls = |(pieces, rest): &(Vec<_>, Vec<_>)| {
            let calls = pieces
                .iter()
                .chain(rest)
                .filter(|piece| matches!(piece, agent_core::model::TextPiece::Call { .. }));
            calls.cloned().collect::<Vec<_>>()
        };
        assert_eq!(calls(&whole), calls(&bytes), "byte by byte");
    });
}

#[test]
fn names_of_any_bytes_are_read_or_refused() {
    Mutations::of(3, ["users/42", "s-1"], ["..", "/", ":"]).try_all(|input| {
        drop(Namespace::decoded(input));
        let text = String::from_utf8_lossy(input);
        let legal = text.len() <= 128
            && !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte));
        assert_eq!(text.parse::<SessionId>().is_ok(), legal, "{text}");
    });
}
