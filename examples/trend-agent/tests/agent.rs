//! The agent as it runs: questions to the user, follow-ups, a model that reads and writes, and the todos of it all.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{sync::Arc, time::Duration};

use agent_core::{
    Answers, Runtime, Session,
    model::{
        FinishReason, Model, ModelError, ModelErrorKind, TimeoutPhase,
        testing::{Scripted, Turn},
    },
    todo::TodoStatus,
};
use serde_json::{Map, Value, json};
use trend_agent::{
    Desk,
    graph::{Trend, trend_graph},
};

const READING: &str = r#"{"request": {"brands": ["laneige"]}, "steps": [
    {"id": "a", "title": "Collect the Laneige reviews"}, {"id": "b", "title": "Find topics"},
    {"id": "c", "title": "Call the brand"}, {"id": "d", "title": "Write"}]}"#;
const HONEST: &str =
    "# Laneige\n\nOf 40 reviews, \"The berry scent is lovely and not overpowering.\" (LN-002) is typical.";
const INVENTED: &str =
    "# Laneige\n\n97% of 1,200 reviewers love it. \"It changed my whole life forever\" (LN-999).";

fn session(model: Option<Model>) -> Session {
    session_with(model, Desk::default().answer_timeout)
}

fn session_with(model: Option<Model>, answer_timeout: Duration) -> Session {
    let desk = Desk { model: model.is_some(), answer_timeout, ..Desk::default() };
    let runtime = Runtime::builder().graph(&trend_graph().unwrap()).provide(desk);
    let runtime = model.into_iter().fold(runtime, |runtime, model| runtime.model(model));
    runtime.build().session("s").unwrap()
}

/// Sends a message; gives the report, or the prompts and options of the open question.
async fn say(session: &Session, message: &str) -> Result<Arc<Trend>, Value> {
    let outcome =
        session.run(&trend_graph().unwrap(), Trend::begin(message.to_owned(), Map::new())).await.unwrap();
    if let Some(open) = outcome.questions().first() {
        return Err(json!({"prompt": open.question.prompt, "options": open.question.options}));
    }
    Ok(outcome.completed().unwrap().state)
}

async fn answer(session: &Session, value: &str) -> Result<Arc<Trend>, Value> {
    let run = session.answer(Answers::only(value)).await.unwrap();
    let outcome = run.outcome::<Trend>().await.unwrap();
    if let Some(open) = outcome.questions().first() {
        return Err(json!({"prompt": open.question.prompt, "options": open.question.options}));
    }
    Ok(outcome.completed().unwrap().state)
}

fn report(trend: Arc<Trend>) -> String {
    trend.response.clone().unwrap()
}

#[tokio::test]
async fn a_message_without_a_subject_is_asked_which_one_in_its_language() {
    for (message, prompt, option, reply) in [
        (
            "안녕하세요, 부정적인 리뷰를 소비자용으로",
            "어느 브랜드나 제품의 리뷰를 볼까요?",
            "라네즈",
            "아누아",
        ),
        ("the negative reviews for buyers, please", "Which brand or product do you mean?", "Laneige", "6"),
    ] {
        let session = session(None);
        let open = say(&session, message).await.unwrap_err();
        assert_eq!((&open["prompt"], &open["options"][0]), (&json!(prompt), &json!(option)), "{open}");
        // An answer that names nothing is asked again.
        let again = answer(&session, "?").await.unwrap_err();
        assert_eq!(again["prompt"], prompt);
        let trend = answer(&session, reply).await.unwrap();
        let request = trend.request.clone().unwrap();
        assert_eq!((request.brands, request.sentiment.is_some()), (vec![trend_agent::Brand::Anua], true));
        assert!(trend.response.clone().unwrap().starts_with("# "), "{message}");
    }
}

#[tokio::test]
async fn a_follow_up_changes_the_request_before_it_and_asks_for_no_reader_again() {
    let session = session(None);
    assert!(
        say(&session, "Analyse the Anua reviews").await.unwrap_err()["prompt"]
            .as_str()
            .unwrap()
            .contains("Who")
    );
    assert!(report(answer(&session, "makers").await.unwrap()).contains("Recommendations for makers"));
    let negative = report(say(&session, "and only the negative ones").await.unwrap());
    assert!(
        negative.contains("negative reviews") && negative.contains("Recommendations for makers"),
        "{negative}"
    );
    let korean = report(say(&session, "translate that report").await.unwrap());
    assert!(korean.starts_with("# 아누아") && korean.contains("부정 리뷰"), "{korean}");
    let marketers = report(say(&session, "이번엔 마케터용으로 다시 써줘").await.unwrap());
    assert!(marketers.contains("마케터를 위한 제안") || marketers.contains("마케터를 위한"), "{marketers}");
    // A request of its own begins anew.
    assert!(say(&session, "Analyse Etude").await.is_err());
}

#[tokio::test]
async fn a_question_for_a_number_is_answered_without_asking_for_a_reader() {
    let session = session(None);
    let report = report(say(&session, "How many negative reviews does Anua have?").await.unwrap());
    let (head, answer) = report.split_once("## Answer\n\n").unwrap();
    assert!(head.contains("**Understood:** Anua · negative reviews"), "{report}");
    assert!(answer.starts_with("**9** negative reviews, of 39."), "{report}");
    assert!(!report.contains("Recommendations"));
}

#[tokio::test]
async fn a_checked_report_is_shown_under_the_head_and_only_work_that_is_done_is_progress() {
    let model = Scripted::new([Turn::text(READING), Turn::text(HONEST)]);
    let session = session(Some(Model::new(model)));
    let graph = trend_graph().unwrap();
    let input = Trend::begin("Analyse the Laneige reviews for buyers".to_owned(), Map::new());
    let outcome = session.run(&graph, input).await.unwrap();
    let done = outcome.completed().unwrap();
    let report = done.state.response.clone().unwrap();
    assert!(report.contains("**Understood:** Laneige") && report.ends_with(HONEST), "{report}");
    let todos = session.status().await.unwrap().todos;
    assert!(todos.iter().all(|todo| todo.status == TodoStatus::Completed), "{todos:?}");
    assert!(todos.iter().any(|todo| todo.title == "Find topics"), "{todos:?}");
    assert!(!todos.iter().any(|todo| todo.title == "Call the brand"), "no work belongs to it: {todos:?}");
}

#[tokio::test]
async fn an_invented_figure_is_asked_again_once_and_then_replaced() {
    let model = Scripted::new([Turn::text(READING), Turn::text(INVENTED), Turn::text(HONEST)]);
    let repaired = session(Some(Model::new(model.clone())));
    let shown = report(say(&repaired, "Analyse the Laneige reviews for buyers").await.unwrap());
    assert!(shown.ends_with(HONEST), "{shown}");
    let complaint = model.requests()[2].messages.last().unwrap().text().into_owned();
    for fault in ["97%", "1200", "LN-999"] {
        assert!(complaint.contains(fault), "{complaint}");
    }

    let model = Scripted::new([Turn::text(READING), Turn::text(INVENTED), Turn::text(INVENTED)]);
    let replaced = session(Some(Model::new(model)));
    let shown = report(say(&replaced, "Analyse the Laneige reviews for buyers").await.unwrap());
    assert!(shown.contains("is not shown: it had figures or quotes that the data does not have"), "{shown}");
    assert!(!shown.contains("1,200") && shown.contains("Recommendations for buyers"), "{shown}");
}

#[tokio::test]
async fn a_report_that_is_cut_filtered_or_empty_is_never_shown() {
    for (turn, why) in [
        (Turn::text("# Laneige\n\nOf 40 rev").finish(FinishReason::Length), "cut off"),
        (Turn::text("# Laneige").finish(FinishReason::Filtered), "content filter"),
        (Turn::text(" "), "empty"),
    ] {
        let model = Scripted::new([Turn::text(READING), turn.clone(), turn]);
        let session = session(Some(Model::new(model)));
        let shown = report(say(&session, "Analyse the Laneige reviews for buyers").await.unwrap());
        assert!(shown.contains(why) && shown.contains("Recommendations for buyers"), "{shown}");
    }
}

#[tokio::test]
async fn a_models_reading_is_repaired_once_and_otherwise_the_built_in_one_counts() {
    // It leaves out the brand, then it adds a limit that the message has in other words.
    let wrong = r#"{"request": {"brands": ["anua"]}, "steps": []}"#;
    let right = r#"{"request": {"brands": ["laneige"], "max_rating": 2}, "steps": []}"#;
    let say_grumpy = "Laneige reviews for buyers, of the grumpiest ones";
    let model = Scripted::new([Turn::text(wrong), Turn::text(right), Turn::text(HONEST), Turn::text(HONEST)]);
    let repaired = session(Some(Model::new(model.clone())));
    let trend = say(&repaired, say_grumpy).await.unwrap();
    let ratings = trend.request.clone().unwrap().ratings.unwrap();
    assert_eq!((ratings.min, ratings.max), (1, 2));
    assert!(model.requests()[1].messages.last().unwrap().text().contains("the message names laneige"));

    let model = Scripted::new([Turn::text(wrong), Turn::text("no idea"), Turn::text(HONEST)]);
    let offline = session(Some(Model::new(model)));
    let request = say(&offline, say_grumpy).await.unwrap().request.clone().unwrap();
    assert_eq!((request.ratings, request.ignored.as_slice()), (None, &["grumpiest".to_owned()][..]));
}

#[tokio::test]
async fn a_model_extracts_what_the_built_in_reader_cannot_and_the_figures_stay_counted() {
    let reading = r#"{"request": {"brands": ["laneige"], "excluded": {"sentiment": "positive"}, "topics": ["scent"],
        "claim": "negative", "question": "count", "also": ["mean_rating"], "not_understood": ["quux"]}, "steps": []}"#;
    let session = session(Some(Model::new(Scripted::new([Turn::text(reading)]))));
    let trend = say(&session, "Laneige: quux grumblings of noses").await.unwrap();
    let request = trend.request.clone().unwrap();
    assert_eq!((request.topics.len(), request.claim.is_some(), request.also.len()), (1, true, 1));
    assert_eq!(request.ignored, ["quux"]);
    let report = trend.response.clone().unwrap();
    assert!(report.contains("**2** reviews that complain of scent") && report.contains("“quux”"), "{report}");
}

#[tokio::test]
async fn a_model_that_does_not_answer_in_time_or_readably_leaves_the_work_to_the_built_in_analyst() {
    let fails = |kind| Turn::error(ModelError::new(kind));
    let late = ModelErrorKind::TimedOut { waited: TimeoutPhase::FirstToken };
    for (turns, reading, writing) in [
        (vec![fails(late), fails(late)], "it did not answer in time", "it did not come in time"),
        (
            vec![fails(ModelErrorKind::Malformed), fails(ModelErrorKind::Cut)],
            "its answer could not be used",
            "it was cut off before its end",
        ),
        (
            vec![Turn::text("blah"), Turn::text("blah"), fails(ModelErrorKind::ContextTooLong)],
            "its answer could not be used",
            "the facts exceed the context length",
        ),
    ] {
        let session = session(Some(Model::new(Scripted::new(turns))));
        let shown = report(say(&session, "Analyse the Laneige reviews for buyers").await.unwrap());
        assert!(shown.contains(reading) && shown.contains(writing), "{shown}");
        assert!(shown.contains("Recommendations for buyers"), "{shown}");
    }
}

/// The time of the test is virtual, so nothing waits.
#[tokio::test(start_paused = true)]
async fn a_slow_models_report_is_shown_if_the_timeout_allows_for_it() {
    let slow =
        || Scripted::new([READING, HONEST].map(|text| Turn::text(text).after(Duration::from_secs(400))));
    for (timeout, shown) in [(300, false), (900, true)] {
        let session = session_with(Some(Model::new(slow())), Duration::from_secs(timeout));
        let text = report(say(&session, "Analyse the Laneige reviews for buyers").await.unwrap());
        assert_eq!(text.contains("Written by a language model"), shown, "{timeout} s: {text}");
        assert_eq!(text.contains("it did not come in time"), !shown, "{timeout} s: {text}");
    }
}

#[tokio::test]
async fn an_endpoint_that_refuses_the_key_is_an_error_and_no_report() {
    let model = Scripted::new([Turn::error(ModelError::new(ModelErrorKind::Auth))]);
    let session = session(Some(Model::new(model)));
    let input = Trend::begin("Analyse the Laneige reviews for buyers".to_owned(), Map::new());
    assert!(session.run(&trend_graph().unwrap(), input).await.is_err());
}
