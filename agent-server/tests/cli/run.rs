//! `run`: questions at the prompt, a clean stop, results for people and programs.

use std::collections::HashSet;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::Command,
    time::timeout,
};

use crate::support::{ASK, Home, LONG, end};

#[tokio::test]
async fn a_question_is_asked_and_only_the_report_goes_to_stdout() {
    let home = Home::new();
    let said = home.say(&["run", ASK], "마케터\n").await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.starts_with("# 라네즈"), "{}", said.out);
    assert!(said.err.contains("? 보고서를") && said.err.contains("3) 마케터"), "{}", said.err);
    assert!(said.err.contains("✓ 라네즈 리뷰 수집"), "{}", said.err);
    assert!(!said.err.contains('\u{1b}'), "no bars without a terminal: {}", said.err);
}

#[tokio::test]
async fn a_model_that_is_silent_for_longer_than_a_configured_timeout_leaves_the_report_to_the_analyst() {
    // Connections wait in the queue of the listener and get no answer.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", silent.local_addr().unwrap());
    for setting in ["FIRST_TOKEN_SECONDS", "ANSWER_SECONDS"] {
        let home = Home::new();
        let variables = [("OPENAI_BASE_URL", url.as_str()), (setting, "0.1")];
        let said = home.with(&variables, &["run", ASK, "--context", r#"{"audience": "buyers"}"#]).await;
        assert_eq!(said.code, 0, "{setting}: {said:?}");
        assert!(said.out.contains("# 라네즈"), "{setting}: {said:?}");
        assert!(said.out.contains("> 언어 모델의 보고서는"), "{setting}: {said:?}");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_asked_again() {
    let home = Home::new();
    let said = home.say(&["run", ASK], b"9\n\xed\x95\n\n\xeb\xa7\x88\xec\xbc\x80\xed\x84\xb0\n").await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.err.matches("> ").count(), 4, "{}", said.err);
    assert!(said.err.contains("not UTF-8"), "{}", said.err);
}

#[tokio::test]
async fn a_run_without_an_answer_waits_and_the_next_command_goes_on_with_it() {
    let home = Home::new();
    let said = home.do_(&["run", ASK, "--session", "s"]).await;
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
    assert!(said.err.contains("`agent-server run --session s`"), "{}", said.err);
    let said = home.say(&["run", "--session", "s"], "2\n").await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("라네즈"), "{}", said.out);
    // And once more only prints what there is.
    let again = home.do_(&["run", "--session", "s"]).await;
    assert_eq!((again.code, again.out), (0, said.out));
}

#[tokio::test]
async fn a_context_answers_beforehand_and_the_result_is_json_for_programs() {
    let home = Home::new();
    home.write("context.json", r#"{"audience": "buyers"}"#);
    for context in [r#"{"audience": "buyers"}"#, "@context.json"] {
        let said = home.do_(&["run", ASK, "--context", context, "--json"]).await;
        assert_eq!(said.code, 0, "{said:?}");
        let result = said.json();
        assert_eq!(result["status"], "completed");
        assert!(result["response"].as_str().unwrap().contains("라네즈"));
        assert!(result["todos"].as_array().unwrap().iter().all(|todo| todo["status"] == "completed"));
    }
}

#[tokio::test]
async fn a_run_that_is_interrupted_stops_cleanly_and_does_nothing_twice_afterwards() {
    let home = Home::new();
    let mut command = home.command(&["run", ASK, "--session", "s"]);
    let mut child = command.env("TREND_PACE_MS", "100").spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    timeout(LONG, async {
        while !log.next_line().await.unwrap().unwrap().contains("✓ 라네즈 리뷰 수집") {}
    })
    .await
    .unwrap();
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().await.unwrap().success());
    let mut reported = String::new();
    while let Some(line) = timeout(LONG, log.next_line()).await.unwrap().unwrap() {
        reported.push_str(&line);
    }
    assert_eq!(end(child, b"").await.code, 1);
    assert!(reported.contains("session s is stopped; `agent-server run --session s`"), "{reported}");

    let said = home.say(&["run", "--session", "s"], "1\n").await;
    assert_eq!(said.code, 0, "{said:?}");
    let events = home.do_(&["replay", "s", "--json"]).await.out;
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().any(|event| event["type"] == "run_stopped"));
    let steps: Vec<String> = events
        .iter()
        .filter(|event| event["type"] == "step_recorded")
        .map(|event| json!([event["task"], event["data"]["key"]]).to_string())
        .collect();
    assert_eq!(steps.iter().collect::<HashSet<_>>().len(), steps.len(), "{steps:?}");
}

#[tokio::test]
async fn a_session_with_a_run_is_not_run_over() {
    let home = Home::new();
    home.do_(&["run", ASK, "--session", "s"]).await;
    let said = home.do_(&["run", ASK, "--session", "s"]).await;
    assert_eq!(said.code, 1);
    assert!(said.err.contains("--on-busy interrupt"), "{}", said.err);
    let said = home.say(&["run", ASK, "--session", "s", "--on-busy", "interrupt"], "1\n").await;
    assert_eq!(said.code, 0, "{said:?}");
}

#[tokio::test]
async fn wrong_words_are_told_in_a_line_with_code_2() {
    let home = Home::new();
    for (args, reported) in [
        (&["run"][..], "needs a message"),
        (&["run", " "], "empty"),
        (&["run", "x", "--context", "[1]"], "--context must be a JSON object"),
        (&["run", "x", "--agent", "nobody"], "known: trend"),
        (&["run", "x", "--session", "a b"], "session"),
        (&["rnu", "x"], "'rnu'"),
        (&["fork", "s"], "<SEQ>"),
        (&["replay", "s", "--speed", "0"], "--speed"),
        (&["replay", "s", "--speed=-1"], "--speed"),
    ] {
        let said = home.do_(args).await;
        assert_eq!(said.code, 2, "{args:?}: {said:?}");
        assert_eq!(said.err.lines().count(), 1, "{args:?}: {}", said.err);
        assert!(
            said.err.starts_with("agent-server: ") && said.err.contains(reported),
            "{args:?}: {}",
            said.err
        );
    }
}
