//! Tool calls in plain text: every form, every split, and texts that only look like calls.

use agent_core::model::testing::{Chunking, Scripted, Turn};
use agent_core::model::{
    FinishReason, Message, Model, ModelRequest, TextCalls, TextPiece, TextTools, ToolCall, ToolSpec,
};
use proptest::prelude::*;
use serde_json::json;

const TOOLS: [&str; 2] = ["weather", "검색"];

/// Texts joined, so that only the content counts.
fn parse<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<TextPiece> {
    let mut parser = TextCalls::new(TOOLS);
    let mut pieces: Vec<TextPiece> = parts.into_iter().flat_map(|part| parser.push(part)).collect();
    pieces.extend(parser.finish());
    let mut joined: Vec<TextPiece> = Vec::new();
    for piece in pieces {
        match (joined.last_mut(), piece) {
            (Some(TextPiece::Text(last)), TextPiece::Text(more)) => last.push_str(&more),
            (_, piece) => joined.push(piece),
        }
    }
    joined
}

fn text(text: &str) -> TextPiece {
    TextPiece::Text(text.to_owned())
}

fn call(name: &str, arguments: &str) -> TextPiece {
    TextPiece::Call { name: name.to_owned(), arguments: arguments.to_owned() }
}

/// In one piece, byte by byte, and cut in two at every byte.
fn check(input: &str, expected: &[TextPiece]) {
    let bytes = input.as_bytes();
    assert_eq!(parse([bytes]), expected, "whole: {input}");
    assert_eq!(parse(bytes.chunks(1)), expected, "byte by byte: {input}");
    for at in 0..bytes.len() {
        assert_eq!(parse([&bytes[..at], &bytes[at..]]), expected, "cut at {at}: {input}");
    }
}

#[test]
fn hermes_tags_are_calls() {
    check(
        "볼게요.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"서울 </tool_call>\"}}\n</tool_call>\n<tool_call>{\"name\":\"unknown\",\"arguments\":{}}</tool_call> 끝",
        &[
            text("볼게요.\n"),
            call("weather", r#"{"city": "서울 </tool_call>"}"#),
            call("unknown", "{}"),
            text(" 끝"),
        ],
    );
    // The end of the tag, or of the answer, may be missing.
    check(r#"<tool_call>{"name":"weather","arguments":"{\"a\": 1}"}"#, &[call("weather", r#"{"a": 1}"#)]);
    check(
        r#"<tool_call>{"name":"weather","arguments":{}}<tool_call>{"name":"weather","arguments":{}}"#,
        &[call("weather", "{}"), call("weather", "{}")],
    );
}

#[test]
fn mistral_lists_and_names_are_calls() {
    check(
        r#"[TOOL_CALLS] [{"name": "weather", "arguments": {"a": [1]}}, {"name": "검색", "arguments": {}, "id": "x"}]"#,
        &[call("weather", r#"{"a": [1]}"#), call("검색", "{}")],
    );
    check(
        r#"[TOOL_CALLS]weather[CALL_ID]abc1[ARGS]{"city": "부산"}[TOOL_CALLS]weather{"x":1}"#,
        &[call("weather", r#"{"city": "부산"}"#), call("weather", r#"{"x":1}"#)],
    );
}

#[test]
fn llama_objects_are_calls_when_they_name_a_tool() {
    check(
        r#" {"name": "weather", "parameters": {"city": "서울"}}"#,
        &[call("weather", r#"{"city": "서울"}"#)],
    );
    check(
        r#"{"type": "function", "name": "weather", "parameters": {}}; {"name": "검색", "parameters": {}}"#,
        &[call("weather", "{}"), call("검색", "{}")],
    );
    check(r#"<|python_tag|>{"name": "weather", "parameters": {}}"#, &[call("weather", "{}")]);
    check(
        "{\"function\": {\"name\": \"weather\", \"arguments\": {}}}\n\n설명",
        &[call("weather", "{}"), text("\n\n설명")],
    );
}

#[test]
fn fenced_objects_are_calls_when_they_name_a_tool() {
    check(
        "확인:\n```json\n{\"name\": \"weather\", \"arguments\": {\"city\": \"서울\"}}\n```\n",
        &[text("확인:\n"), call("weather", r#"{"city": "서울"}"#)],
    );
    check("```\n[{\"name\": \"검색\", \"parameters\": {}}]\n```", &[call("검색", "{}")]);
    check("```tool_call\n{\"name\": \"weather\", \"arguments\": {}}", &[call("weather", "{}")]);
}

#[test]
fn what_only_looks_like_a_call_stays_text() {
    for input in [
        "use the <tool_call> tag, like `<tool_call>`",
        "<tool_call>{\"name\": \"weather\"}</tool_call>",
        "<tool_call>{\"name\": \"weather\", \"arguments\": {}",
        "<tool_call>{\"name\": \"weather\", \"arguments\": {,}}</tool_call>",
        "<tool_call",
        "a < b, a[TOOL], ` and `` and [TOOL_CALLS] are fine",
        "[TOOL_CALLS] 서울",
        "{\"name\": \"Laneige\", \"parameters\": {}}",
        "{\"name\": \"weather\", \"parameters\": {}} is how you would call it",
        "{\"name\": \"weather\", \"parameters\": {}, \"note\": 1}",
        "{\"brand\": \"라네즈\", \"rating\": 4.5}",
        "{\"name\": \"weather\", \"parameters\": \"none\"}",
        "see {\"name\": \"weather\", \"parameters\": {}}",
        "```json\n{\"name\": \"Laneige\", \"arguments\": {}}\n```",
        "```json\n{\"name\": \"weather\", \"arguments\": {}} trailing\n```",
        "```xml\n<tool_call>{\"name\": \"weather\", \"arguments\": {}}</tool_call>\n```",
        "```python\nprint('{}')\n```\nand more",
        "}{][",
        "   \n ",
        "",
    ] {
        let expected = if input.is_empty() { vec![] } else { vec![text(input)] };
        check(input, &expected);
    }
}

#[test]
fn text_after_a_block_of_code_is_looked_at_again() {
    check(
        "```rust\nfn f() {}\n```\n<tool_call>{\"name\":\"weather\",\"arguments\":{}}</tool_call>",
        &[text("```rust\nfn f() {}\n```\n"), call("weather", "{}")],
    );
}

#[test]
fn plain_text_is_passed_on_at_once() {
    let mut parser = TextCalls::new(TOOLS);
    assert_eq!(parser.push("안녕하세요"), [text("안녕하세요")]);
    assert_eq!(parser.push(" a <"), [text(" a ")]);
    assert_eq!(parser.push("b"), [text("<b")]);
}

#[test]
fn a_call_without_an_end_is_given_up_at_a_bound() {
    let long = format!("<tool_call>{{\"name\": \"{}", "x".repeat(300_000));
    let mut parser = TextCalls::new(TOOLS);
    let out: usize = long
        .as_bytes()
        .chunks(1000)
        .flat_map(|part| parser.push(part))
        .map(|piece| match piece {
            TextPiece::Text(text) => text.len(),
            TextPiece::Call { .. } => 0,
        })
        .sum();
    assert_eq!(out, long.len());
}

fn fragment() -> impl Strategy<Value = String> {
    let known = [
        "<tool_call>",
        "</tool_call>",
        "[TOOL_CALLS]",
        "<|python_tag|>",
        "```",
        "```json\n",
        "```\n",
        "[ARGS]",
        "[CALL_ID]",
        "{\"name\": \"weather\", \"arguments\": {\"a\": \"}\\\"\"}}",
        "{\"name\":\"검색\",\"parameters\":{}}",
        "[{\"name\":\"weather\",\"arguments\":{}}]",
        "weather{\"x\":[1]}",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        ";",
        "\n",
        " ",
        "<",
        "`",
        "서울",
        "🌿",
        "name",
        "text",
    ];
    prop_oneof![8 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_split_gives_the_same_pieces(
        fragments in proptest::collection::vec(fragment(), 0..12),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
    ) {
        let input = fragments.concat();
        let bytes = input.as_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let whole = parse([bytes]);
        prop_assert_eq!(parse(cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]])), whole.clone());
        // Without a call nothing is lost.
        if let [TextPiece::Text(only)] = whole.as_slice() {
            prop_assert_eq!(only, &input);
        }
    }
}

fn tool() -> ToolSpec {
    ToolSpec {
        name: "weather".into(),
        description: "the weather".into(),
        parameters: json!({"type": "object"}),
        strict: false,
    }
}

#[tokio::test]
async fn a_model_that_writes_its_calls_is_one_that_makes_them() {
    let said = "볼게요 <tool_call>{\"name\":\"weather\",\"arguments\":{\"city\":\"서울\"}}</tool_call>";
    let script = Scripted::new([
        Turn::text(said).and_call("weather", json!({"n": 1})).chunked(Chunking::Chars(3)),
        Turn::text(said),
    ]);
    let model = Model::new(TextTools::new(script));
    let reply = model.complete(ModelRequest::new("날씨").tools([tool()])).await.unwrap();
    assert_eq!(reply.message.text(), "볼게요 ");
    let arguments: Vec<_> = reply.message.tool_calls.iter().map(|call| call.arguments.as_str()).collect();
    assert_eq!(arguments, [r#"{"city":"서울"}"#, r#"{"n":1}"#]);
    assert_eq!(reply.finish, FinishReason::ToolCalls);
    // Without tools, text is text.
    assert_eq!(model.complete("날씨").await.unwrap().message.text(), said);
}

#[tokio::test]
async fn a_model_without_tools_gets_them_in_its_prompt() {
    let script = Scripted::new([Turn::text("맑음")]);
    let model = Model::new(TextTools::new(script.clone()).prompted());
    let call = ToolCall { id: "c".into(), name: "weather".into(), arguments: "{}".into(), provider: None };
    let history = [
        Message::user("날씨"),
        Message::assistant("").with_tool_calls([call]),
        Message::tool_result("c", "맑음").with_name("weather"),
    ];
    model.complete(ModelRequest::new(history).system("친절하게").tools([tool()])).await.unwrap();
    let seen = &script.requests()[0];
    assert!(seen.tools.is_empty());
    assert!(seen.system.as_deref().unwrap().starts_with("친절하게\n\nYou may call"));
    let written = seen.messages[1].text();
    let call =
        written.strip_prefix("<tool_call>\n").and_then(|rest| rest.strip_suffix("\n</tool_call>")).unwrap();
    assert_eq!(call, r#"{"name":"weather","arguments":{}}"#);
    assert_eq!(seen.messages[2].text(), "<tool_response>\nweather: 맑음\n</tool_response>");
    assert!(seen.messages.iter().all(|message| message.tool_calls.is_empty()));
}
