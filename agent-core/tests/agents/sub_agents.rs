//! Sub-agents, hand-offs and reviewers.

use super::*;

fn plan_call(id: &str, operations: Value) -> ToolCall {
    raw(id, "update_plan", &json!({ "operations": operations }).to_string())
}

#[tokio::test]
async fn the_todos_of_a_sub_agent_hang_under_its_parents_item() {
    let sub_model = Scripted::new([
        calls([plan_call(
            "p1",
            json!([
                { "op": "add", "id": "1", "title": "읽기" },
                { "op": "add", "id": "2", "title": "세기" },
                { "op": "done", "id": "1" },
            ]),
        )]),
        Turn::text("12 reviews"),
    ]);
    let model = Scripted::new([
        calls([plan_call("p1", json!([{ "op": "add", "id": "1", "title": "Reviews" }]))]),
        calls([raw("c1", "reader", r#"{"task":"read the reviews","todo":"1"}"#)]),
        Turn::text("done"),
    ]);
    let reader = Agent::builder("reader").model(Model::new(sub_model.clone())).plans();
    let agent = Agent::builder("lead").plans().sub_agent(reader).build().unwrap();
    let session = runtime(&store(), &model).session("s").unwrap();
    let outcome = session.run(&agent, "go").await.unwrap();
    assert_eq!(results(outcome.state().unwrap()).last().unwrap(), "12 reviews");
    let todos = session.status().await.unwrap().todos;
    let item = |id: &str| todos.iter().find(|todo| todo.id == id).unwrap();
    assert_eq!((item("1/1").parent.as_deref(), item("1/1").status), (Some("1"), TodoStatus::Completed));
    assert_eq!((item("1/2").parent.as_deref(), item("1/2").status), (Some("1"), TodoStatus::Pending));
    assert_eq!(sub_model.requests()[0].messages[0].text(), "read the reviews");
}

#[tokio::test]
async fn a_sub_agent_that_fails_does_not_disturb_the_others() {
    let sub = Scripted::rule(|_, request| match request.messages[0].text().as_ref() {
        "bad" => Turn::error(agent_core::model::ModelError::new(agent_core::model::ModelErrorKind::Filtered)),
        task => Turn::text(format!("did {task}")),
    });
    let model = Scripted::new([
        calls([
            raw("c1", "worker", r#"{"task":"one"}"#),
            raw("c2", "worker", r#"{"task":"bad"}"#),
            raw("c3", "worker", r#"{"task":"three"}"#),
        ]),
        Turn::text("done"),
    ]);
    let worker = Agent::builder("worker").model(Model::new(sub));
    let agent = Agent::builder("lead").sub_agent(worker).build().unwrap();
    let session = runtime(&store(), &model).session("s").unwrap();
    let outcome = session.run(&agent, "go").await.unwrap();
    let results = results(outcome.state().unwrap());
    assert_eq!((results[0].as_str(), results[2].as_str()), ("did one", "did three"));
    assert!(results[1].starts_with("Error: the agent gave up"), "{results:?}");
    assert_valid(&model.requests()[1].messages);
    let todos = session.status().await.unwrap().todos;
    let statuses: Vec<_> = todos.iter().map(|todo| todo.status).collect();
    assert_eq!(statuses, [TodoStatus::Completed, TodoStatus::Failed, TodoStatus::Completed]);
}

#[tokio::test]
async fn a_conversation_that_was_handed_over_stays_there() {
    let triage = Scripted::new([Turn::call("transfer_to_billing", json!({}))]);
    let billing = Scripted::new([Turn::text("billing here"), Turn::text("still billing")]);
    let other = Agent::builder("billing").system("You bill.").model(Model::new(billing.clone()));
    let agent = Agent::builder("triage").model(Model::new(triage)).hand_off(other).build().unwrap();
    let session = Runtime::builder().build().session("s").unwrap();
    session.run(&agent, "my invoice").await.unwrap();
    let outcome = session.run(&agent, "and another").await.unwrap();
    assert_eq!(outcome.state().map(AgentState::answer).as_deref(), Some("still billing"));
    let requests = billing.requests();
    assert_eq!(requests[0].system.as_deref(), Some("You bill."));
    assert_eq!(requests[0].tools[0].name, "transfer_to_triage");
    assert_valid(&requests[1].messages);
}

#[tokio::test]
async fn a_reviewer_sends_an_answer_back_until_it_approves() {
    let model = Scripted::new([
        Turn::text("short"),
        Turn::text(r#"{"approved":false,"feedback":"longer"}"#),
        Turn::text("much longer"),
        Turn::text(r#"{"approved":true,"feedback":""}"#),
    ]);
    let agent = Agent::builder("a").reviewer("Be strict.", 3).build().unwrap();
    let outcome = runtime(&store(), &model).session("s").unwrap().run(&agent, "write").await.unwrap();
    let state = outcome.state().unwrap();
    assert_eq!((state.answer().as_str(), state.reviews), ("much longer", 2));
    assert_eq!(model.requests()[2].messages.last().unwrap().text(), "longer");
}

#[tokio::test]
async fn sub_agents_of_sub_agents_have_todos_of_their_own() {
    let worker = Scripted::rule(|_, _| Turn::text("done"));
    let lead = Scripted::rule(|_, request| match request.messages.len() {
        1 => calls([raw("0", "worker", r#"{"task":"x"}"#)]),
        _ => Turn::text("led"),
    });
    let top = Scripted::new([
        calls([raw("0", "lead", r#"{"task":"a"}"#), raw("0", "lead", r#"{"task":"b"}"#)]),
        Turn::text("all"),
    ]);
    let worker = Agent::builder("worker").model(Model::new(worker));
    let lead = Agent::builder("lead").model(Model::new(lead)).sub_agent(worker);
    let agent = Agent::builder("top").sub_agent(lead).build().unwrap();
    let session = runtime(&store(), &top).session("s").unwrap();
    session.run(&agent, "go").await.unwrap();
    let todos = session.status().await.unwrap().todos;
    let mut ids: Vec<_> = todos.iter().map(|todo| todo.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["lead:1.0", "lead:1.0/worker:1.0", "lead:1.1", "lead:1.1/worker:1.0"]);
    assert!(todos.iter().all(|todo| todo.status == TodoStatus::Completed), "{todos:?}");
}
