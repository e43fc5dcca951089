//! Windows, templates and what is kept of long conversations.

use super::*;

#[tokio::test]
async fn what_does_not_fit_the_window_is_summed_up_and_the_state_keeps_it() {
    let model = Scripted::new([
        Turn::text("one"),
        Turn::text("two"),
        Turn::text("요약: 셋까지"),
        Turn::text("three"),
    ]);
    let agent = Agent::builder("a").summarise_beyond(Window::messages(4)).build().unwrap();
    let session = runtime(&store(), &model).session("s").unwrap();
    for text in ["1", "2", "3"] {
        session.run(&agent, text).await.unwrap();
    }
    let state = session.state::<AgentState>().await.unwrap();
    assert_eq!((state.messages.len(), state.answer().as_str()), (6, "three"));
    let last = model.requests().pop().unwrap().messages;
    assert!(last[0].text().contains("요약: 셋까지"), "{last:?}");
    assert_eq!(last.last().unwrap().text(), "3");
    assert!(last.len() < 5);
}

#[tokio::test]
async fn a_hundred_rounds_of_36_kb_keep_each_result_once_in_the_journal() {
    let result = "r".repeat(36_000);
    let big = tool("big", ToolPolicy::default().result_limit(40_000), move |_, _| {
        let result = result.clone();
        async move { Ok(result.into()) }
    });
    let model =
        Scripted::rule(
            |call, _| {
                if call < 100 { Turn::call("big", json!({ "n": call })) } else { Turn::text("done") }
            },
        );
    let agent = Agent::builder("a").tools(registry([big])).max_turns(200).build().unwrap();
    let store = store();
    let session = runtime(&store, &model).session("s").unwrap();
    session.run(&agent, "go").await.unwrap();
    let head = store.head(session.id()).await.unwrap().unwrap();
    assert!(head.journal_bytes < 5 * 1024 * 1024, "{}", head.journal_bytes);
    // What is kept once is still all there: for a fold, for subscribers, for a look back.
    let other = runtime(&store, &model);
    other.register(&agent);
    let state = other.session("s").unwrap().state::<AgentState>().await.unwrap();
    assert_eq!(results(&state).iter().map(String::len).sum::<usize>(), 3_600_000);
    assert_valid(&state.messages);
    let finished = session.events(Seq::ZERO, 10_000).await.unwrap().into_iter().filter_map(|event| {
        let EventBody::NodeFinished(finished) = event.body else { return None };
        Some(finished.update["messages"][0]["content"].as_str().unwrap_or_default().len())
    });
    assert_eq!(finished.filter(|len| *len == 36_000).count(), 100);
}

#[cfg(feature = "prompt")]
#[tokio::test]
async fn a_prompt_template_is_filled_in_from_the_state_and_a_missing_name_is_an_error() {
    let model = Scripted::new([Turn::text("네"), Turn::text("no")]);
    use agent_core::agent::Prompt;
    let prompt =
        Prompt::new("{% if mood %}The user is {{ mood }}. {% endif %}Speak {{ language }}.").unwrap();
    let agent = Agent::builder("a").system_template(prompt).build().unwrap();
    let session = runtime(&store(), &model).session("s").unwrap();
    let error = session.run(&agent, "hi").await.unwrap_err();
    assert!(
        error.to_string().contains("prompt template") || format!("{error:?}").contains("undefined"),
        "{error:?}"
    );
    let Value::Object(context) = json!({ "language": "한국어" }) else { unreachable!() };
    session.run(&agent, AgentState::user("hi").context(context)).await.unwrap();
    assert_eq!(model.requests()[0].system.as_deref(), Some("Speak 한국어."));
    assert!(Prompt::new("{% if %}").is_err());
}

#[tokio::test]
async fn what_was_said_before_a_stop_stays_and_a_resume_says_it_whole() {
    for resume in [true, false] {
        let model = Scripted::new([
            Turn::text("서울은 맑고").chunked(Chunking::Chars(3)).then_hang(2),
            Turn::text("서울은 맑고 따뜻합니다."),
        ]);
        let agent = agent(ToolRegistry::default());
        let session = runtime(&store(), &model).session("s").unwrap();
        let mut events = session.run(&agent, "날씨?").stream().await.unwrap();
        let mut received = String::new();
        while received != "서울은 맑고" {
            if let EventBody::Token(token) = &events.next().await.unwrap().unwrap().body {
                received.push_str(&token.text);
            }
        }
        assert_eq!(session.stop().await.unwrap(), RunStatus::Stopped);
        let state = session.state::<AgentState>().await.unwrap();
        assert_eq!((state.messages.len(), state.answer().as_str()), (2, "서울은 맑고"));
        let outcome = if resume {
            session.resume().await.unwrap().outcome::<AgentState>().await.unwrap()
        } else {
            session.run(&agent, "더?").await.unwrap()
        };
        let state = outcome.state().unwrap();
        assert_eq!(state.answer(), "서울은 맑고 따뜻합니다.");
        let asked = model.requests().pop().unwrap().messages;
        assert_eq!((state.messages.len(), asked.len()), if resume { (2, 1) } else { (4, 3) });
    }
}

#[tokio::test]
async fn a_streamed_answer_is_the_plain_one() {
    let turns = || [Turn::call("t", json!({})), Turn::text("서울은 맑습니다.").chunked(Chunking::Chars(2))];
    let agent = agent(registry([counting("t", ToolPolicy::default(), &Arc::default())]));
    let plain = runtime(&store(), &Scripted::new(turns())).session("s").unwrap();
    let plain = plain.run(&agent, "go").await.unwrap().state().unwrap().clone();
    let session = runtime(&store(), &Scripted::new(turns())).session("s").unwrap();
    let mut events = session.run(&agent, "go").stream().await.unwrap();
    let mut received = String::new();
    while let Some(event) = events.next().await {
        if let EventBody::Token(token) = &event.unwrap().body {
            received.push_str(&token.text);
        }
    }
    let streamed = session.state::<AgentState>().await.unwrap();
    assert_eq!(
        (received.as_str(), streamed.answer(), results(&streamed)),
        ("서울은 맑습니다.", plain.answer(), results(&plain))
    );
}
