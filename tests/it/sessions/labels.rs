//! Labels of sessions and states of other graphs.

use super::*;

#[tokio::test]
async fn a_paused_session_is_migrated_and_what_the_newer_program_adds_is_read_as_new() {
    let inner = journal();
    let ask =
        async |cx: &Context, key: &'static str| cx.ask::<i64>(agent_core::Question::new("?").key(key)).await;
    let old = Graph::<Old>::builder("versions")
        .node("set", async |_: &Old, _: &Context| Ok(Old::update().count(5)))
        .node("ask", async move |_: &Old, cx: &Context| {
            ask(cx, "a").await?;
            Ok(())
        })
        .node("more", async |_: &Old, _: &Context| Ok(()))
        .node("again", async |_: &Old, _: &Context| Ok(()))
        .edge(START, "set")
        .edge("set", "ask")
        .edge("ask", "more")
        .edge("more", "again")
        .edge("again", END)
        .build()
        .unwrap();
    let new = Graph::<New>::builder("versions")
        .node("set", async |_: &New, _: &Context| Ok(()))
        .node("ask", async move |_: &New, cx: &Context| {
            ask(cx, "a").await?;
            Ok(())
        })
        .node("more", async |state: &New, _: &Context| {
            Ok(agent_core::graph::Outcome::<New>::update(NewUpdate { total: Some(state.total + 1) }))
        })
        .node("again", async move |_: &New, cx: &Context| {
            ask(cx, "b").await?;
            Ok(())
        })
        .edge(START, "set")
        .edge("set", "ask")
        .edge("ask", "more")
        .edge("more", "again")
        .edge("again", END)
        .build()
        .unwrap();
    assert!(on(&inner).build().session("s").unwrap().run(&old, Old::update()).await.unwrap().is_paused());
    for last in [false, true] {
        let runtime = on(&inner).graph(&new).build();
        let run = runtime.session("s").unwrap().answer(Answers::only(1)).await.unwrap();
        let outcome = soon(run.outcome::<New>()).await.unwrap();
        assert_eq!(outcome.is_completed(), last);
    }
    let state = on(&inner).graph(&new).build().session("s").unwrap().state::<New>().await.unwrap();
    assert_eq!(state.total, 6);
}

#[tokio::test]
async fn a_label_stays_with_its_session_and_a_run_with_another_value_is_refused() {
    let store = journal();
    let graph = asking();
    let owned = |owner: &str| RunOptions::default().label("owner", owner);
    let first = on(&store).graph(&graph).build();
    let session = first.session("s").unwrap();
    let mut run = session.run(&graph, Trail::update()).options(owned("지민")).start().await.unwrap();
    run.wait().await;
    assert_eq!(session.status().await.unwrap().labels["owner"], "지민");
    let theirs = session
        .run(&graph, Trail::update())
        .options(owned("누구").on_busy(BusyPolicy::Enqueue))
        .start()
        .await;
    assert!(matches!(theirs.unwrap_err(), SessionError::LabelDiffers { label, .. } if label == "owner"));
    first.shutdown(Duration::from_secs(5)).await;

    // After a restart, in a list without reading journals, after an answer, and in a fork.
    let next = on(&store).graph(&graph).build();
    let session = next.session("s").unwrap();
    session.answer(Answers::only(2)).await.unwrap().wait().await;
    let listed = next.sessions(None, &[], 10).await.unwrap();
    assert_eq!(listed[0].head.summary.labels["owner"], "지민");
    let place = session.history(Seq::ZERO, 10).await.unwrap().last().unwrap().seq;
    let fork = session.fork(place, "fork".parse().unwrap()).await.unwrap();
    assert_eq!(fork.status().await.unwrap().labels["owner"], "지민");
    let theirs = fork.run(&graph, Trail::update()).options(owned("누구")).start().await;
    assert!(matches!(theirs.unwrap_err(), SessionError::LabelDiffers { .. }));
    let long = RunOptions::default().label("x", "가".repeat(200));
    assert!(matches!(
        session.run(&graph, Trail::update()).options(long).start().await.unwrap_err(),
        SessionError::TooManyLabels { .. }
    ));
    session.run(&graph, Trail::update()).start().await.unwrap().wait().await;
}

#[tokio::test]
async fn a_default_label_is_given_once_and_is_no_reason_to_refuse_a_run() {
    let store = journal();
    let graph = asking();
    let called = |title: &str| RunOptions::default().default_label("title", title).label("owner", "지민");
    let first = on(&store).graph(&graph).build();
    let session = first.session("s").unwrap();
    session.run(&graph, Trail::update()).options(called("첫째")).start().await.unwrap().wait().await;
    // While the run is queued, while it waits, and after a restart.
    let in_line = called("둘째").default_label("kind", "x").on_busy(BusyPolicy::Enqueue);
    session.run(&graph, Trail::update()).options(in_line).start().await.unwrap();
    first.shutdown(Duration::from_secs(5)).await;
    let next = on(&store).graph(&graph).build();
    let session = next.session("s").unwrap();
    let stop = called("셋째").default_label("owner", "누구").on_busy(BusyPolicy::Interrupt);
    session.run(&graph, Trail::update()).options(stop).start().await.unwrap().wait().await;
    let labels = session.status().await.unwrap().labels;
    let pairs: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(pairs, [("kind", "x"), ("owner", "지민"), ("title", "첫째")]);
    // They are bounded as all labels are.
    let long = RunOptions::default().on_busy(BusyPolicy::Interrupt).default_label("x", "가".repeat(200));
    let refused = session.run(&graph, Trail::update()).options(long).start().await.unwrap_err();
    assert!(matches!(refused, SessionError::TooManyLabels { .. }));
}

#[tokio::test]
async fn a_graph_that_cannot_read_what_another_left_is_refused_and_changes_nothing() {
    #[derive(State, Default, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Other {
        steps: Option<bool>,
    }
    let other = Graph::<Other>::builder("other")
        .node("n", async |_: &Other, _: &Context| Ok(Other::update()))
        .edge(START, "n")
        .edge("n", END)
        .build()
        .unwrap();
    let store = journal();
    for restart in [false, true] {
        let runtime = on(&store).graph(&asking()).graph(&other).build();
        let session = runtime.session("s").unwrap();
        if !restart {
            session.run(&asking(), Trail::update()).await.unwrap();
            session.answer(Answers::only(1)).await.unwrap().wait().await;
        }
        let refused = session.run(&other, Other::update()).await.unwrap_err();
        assert!(matches!(&refused, SessionError::OtherGraph { graph, .. } if graph == "asking"), "{refused}");
        assert_eq!(session.status().await.unwrap().status, RunStatus::Completed);
        runtime.shutdown(Duration::from_secs(5)).await;
    }
}
