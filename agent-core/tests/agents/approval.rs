//! Approvals, and questions that a tool asks.

use super::*;

#[tokio::test]
async fn two_calls_that_need_approval_are_both_asked_and_answered_apart() {
    let count = Arc::default();
    let policy = ToolPolicy::default().approval(Approval::Always);
    let model = Scripted::new([
        calls([raw("c1", "pay", r#"{"n":1}"#), raw("c2", "pay", r#"{"n":2}"#)]),
        Turn::text("done"),
    ]);
    let agent = agent(registry([counting("pay", policy, &count)]));
    let session = runtime(&store(), &model).session("s").unwrap();
    let outcome = session.run(&agent, "go").await.unwrap();
    let questions = outcome.questions();
    assert_eq!(questions.len(), 2);
    let (one, two) = (find(questions, "c1"), find(questions, "c2"));
    assert_eq!(two.question.details.as_ref().unwrap()["arguments"], json!({ "n": 2 }));
    let bare = session.answer(Answers::only("approve")).await.unwrap_err();
    assert!(matches!(bare, SessionError::Answer(AnswerError::Ambiguous { .. })), "{bare}");
    let refused = json!({ "decision": "reject", "reason": "비싸요" });
    let still = session.answer(Answers::to(two.id.clone(), refused)).await.unwrap();
    assert!(still.outcome::<AgentState>().await.unwrap().is_paused());
    let state = settled(&session, Answers::to(one.id.clone(), json!({ "decision": "approve" }))).await;
    let results = results(&state);
    assert_eq!(results[0], "n=1");
    assert!(results[1].contains("비싸요"), "{results:?}");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

/// A tool that asks how many, and counts how often it started.
fn asking(began: &Arc<AtomicU32>, limit: Duration) -> DynamicTool {
    let began = Arc::clone(began);
    tool("order", ToolPolicy::default().timeout(limit), move |_, cx| {
        let time = began.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            let schema = json!({ "type": "integer" });
            let many = cx.ask(Question::new("몇 개?").schema(schema)).await?;
            let sure = cx.ask(Question::choose("Sure?", ["yes", "no"])).await?;
            Ok(ToolOutput::text(format!("{many} {sure}, begun {time}")))
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_tool_asks_a_person_and_the_wait_does_not_count_for_its_time_limit() {
    let began = Arc::default();
    let model = Scripted::new([
        calls([raw("c1", "order", "{}"), raw("c2", "order", r#"{"n":2}"#)]),
        Turn::text("done"),
    ]);
    let agent = agent(registry([asking(&began, Duration::from_secs(2))]));
    let session = Runtime::builder().model(Model::new(model)).build().session("s").unwrap();
    let outcome = session.run(&agent, "go").await.unwrap();
    let (one, two) = (of_call(outcome.questions(), "c1"), of_call(outcome.questions(), "c2"));
    tokio::time::advance(Duration::from_secs(300)).await;
    let wrong = session.answer(Answers::to(one.id.clone(), "many")).await.unwrap_err();
    assert!(matches!(wrong, SessionError::Answer(AnswerError::Invalid { .. })), "{wrong}");
    let both = Answers::each([(one.id.clone(), 1), (two.id.clone(), 2)]);
    let next = session.answer(both).await.unwrap().outcome::<AgentState>().await.unwrap();
    let sure = next.questions().iter().map(|open| (open.id.clone(), "yes"));
    let state = settled(&session, Answers::each(sure)).await;
    assert_eq!(results(&state), ["1 \"yes\", begun 1", "2 \"yes\", begun 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_asked_is_still_stopped_by_its_time_limit() {
    let slow =
        tool("slow", ToolPolicy::default().timeout(Duration::from_secs(2)), async |_, cx: ToolContext| {
            cx.ask("go on?").await?;
            std::future::pending().await
        });
    let model = Scripted::new([calls([raw("c1", "slow", "{}")]), Turn::text("done")]);
    let agent = agent(registry([slow]));
    let session = Runtime::builder().model(Model::new(model)).build().session("s").unwrap();
    session.run(&agent, "go").await.unwrap();
    let state = settled(&session, Answers::only("yes")).await;
    assert_eq!(results(&state), ["Error: `slow` did not finish within 2s"]);
}

#[tokio::test]
async fn a_tool_that_asked_before_a_restart_finds_the_answer() {
    let (began, store) = (Arc::default(), store());
    let model = Scripted::new([calls([raw("c1", "order", "{}")]), Turn::text("done")]);
    let agent = agent(registry([asking(&began, Duration::from_secs(60))]));
    {
        let session = runtime(&store, &model).session("s").unwrap();
        session.run(&agent, "go").await.unwrap();
        let run = session.answer(Answers::only(3)).await.unwrap();
        assert!(run.outcome::<AgentState>().await.unwrap().is_paused());
    }
    let next = Runtime::builder().journal(Arc::clone(&store)).model(Model::new(model)).graph(&agent);
    let session = next.options(|options| options.lease_ttl = Duration::ZERO).build().session("s").unwrap();
    let state = settled(&session, Answers::only("no")).await;
    assert_eq!(results(&state), ["3 \"no\", begun 2"]);
}

#[tokio::test]
async fn a_tool_that_went_on_with_its_answer_is_not_made_again() {
    let (store, went) = (store(), Arc::new(tokio::sync::Notify::new()));
    let goes = Arc::clone(&went);
    let pay = tool("pay", ToolPolicy::default(), move |_, cx| {
        let goes = Arc::clone(&goes);
        async move {
            cx.ask("sure?").await?;
            goes.notify_one();
            std::future::pending().await
        }
    });
    let model = Scripted::new([calls([raw("c1", "pay", "{}")]), Turn::text("done")]);
    let agent = agent(registry([pay]));
    let first = runtime(&store, &model);
    let session = first.session("s").unwrap();
    session.run(&agent, "go").await.unwrap();
    let run = session.answer(Answers::only(true)).await.unwrap();
    went.notified().await;
    // Like a crash: the first process gets no notice of its end.
    std::mem::forget((run, session, first));
    let next = Runtime::builder().journal(Arc::clone(&store)).model(Model::new(model)).graph(&agent);
    let session = next.options(|options| options.lease_ttl = Duration::ZERO).build().session("s").unwrap();
    let outcome = session.resume().await.unwrap().outcome::<AgentState>().await.unwrap();
    let results = results(outcome.state().unwrap());
    assert!(results[0].contains("may have happened or not"), "{results:?}");
}

#[tokio::test]
async fn an_approval_sent_twice_runs_the_tool_once() {
    let count = Arc::default();
    let policy = ToolPolicy::default().approval(Approval::Always);
    let model = Scripted::new([calls([raw("c1", "pay", "{}")]), Turn::text("done")]);
    let agent = agent(registry([counting("pay", policy, &count)]));
    let session = runtime(&store(), &model).session("s").unwrap();
    let outcome = session.run(&agent, "go").await.unwrap();
    let id = outcome.questions()[0].id.clone();
    settled(&session, Answers::to(id.clone(), "approve")).await;
    let again = session.answer(Answers::to(id, "approve")).await.unwrap_err();
    assert!(matches!(again, SessionError::Answer(AnswerError::AlreadyAnswered { .. })), "{again}");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_person_can_edit_a_call_or_answer_it_and_a_bad_edit_is_asked_again() {
    let count = Arc::default();
    let policy = ToolPolicy::default().approval(Approval::Always);
    let model = Scripted::new([
        calls([raw("c1", "pay", r#"{"n":1}"#)]),
        calls([raw("c2", "pay", r#"{"n":2}"#)]),
        Turn::text("done"),
    ]);
    let agent = agent(registry([counting("pay", policy, &count)]));
    let session = runtime(&store(), &model).session("s").unwrap();
    session.run(&agent, "go").await.unwrap();
    let nonsense = session.answer(Answers::only(json!({ "decision": "maybe" }))).await.unwrap_err();
    assert!(matches!(nonsense, SessionError::Answer(AnswerError::Invalid { .. })), "{nonsense}");
    let bad = json!({ "decision": "edit", "arguments": { "n": "viel" } });
    let run = session.answer(Answers::only(bad)).await.unwrap();
    let outcome = run.outcome::<AgentState>().await.unwrap();
    assert!(outcome.questions()[0].question.prompt.contains("cannot be used"));
    let edited = json!({ "decision": "edit", "arguments": { "n": 7 } });
    let run = session.answer(Answers::only(edited)).await.unwrap();
    assert!(run.outcome::<AgentState>().await.unwrap().is_paused());
    let state = settled(&session, Answers::only(json!({ "decision": "respond", "output": "paid" }))).await;
    assert_eq!(results(&state), ["n=7", "paid"]);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_sticky_approval_counts_in_later_runs_of_the_session() {
    let count = Arc::default();
    let policy = ToolPolicy::default().approval(Approval::Always).sticky(ApprovalScope::SameArguments);
    let model = Scripted::new([
        calls([raw("c1", "pay", r#"{"n":1}"#)]),
        Turn::text("one"),
        calls([raw("c1", "pay", r#"{ "n": 1 }"#)]),
        Turn::text("two"),
        calls([raw("c1", "pay", r#"{"n":2}"#)]),
    ]);
    let agent = agent(registry([counting("pay", policy, &count)]));
    let session = runtime(&store(), &model).session("s").unwrap();
    session.run(&agent, "go").await.unwrap();
    settled(&session, Answers::only(true)).await;
    let again = session.run(&agent, "again").await.unwrap();
    assert_eq!(again.state().map(AgentState::answer).as_deref(), Some("two"));
    assert!(session.run(&agent, "other").await.unwrap().is_paused());
    assert_eq!(count.load(Ordering::SeqCst), 2);
}
