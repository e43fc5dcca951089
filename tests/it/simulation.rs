//! Programs under simulated crashes, delays and errors, with thousands of seeds; equal seeds give equal runs.

use std::{collections::BTreeMap, panic::catch_unwind, time::Duration};

use agent_core::{
    Agent, AgentState, Answers, Context, END, Graph, NodeError, Question, Runtime, START, Session,
    SessionError, State,
    interrupt::AskError,
    journal::StoreError,
    model::testing::{Scripted, Turn},
    testing::{SimulatedProcess, Simulation},
    todo::TodoStatus,
    tool::{DynamicTool, ToolPolicy, ToolRegistry},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(State, Default, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    #[state(append)]
    log: Vec<String>,
    #[state(add)]
    sum: i64,
    note: Option<String>,
}

/// Makes an effect with an idempotency key, as a step.
async fn effect(life: &SimulatedProcess, cx: &Context, name: &'static str) -> agent_core::Result<()> {
    let (effects, key) = (life.effects().clone(), cx.idempotency_key(name));
    cx.step(name, async move {
        tokio::time::sleep(Duration::from_millis(3)).await;
        effects.record(format!("{name} {key}"));
        Ok::<_, NodeError>(())
    })
    .await
}

/// Two nodes side by side, a join, a question, sends, todos.
fn order(life: &SimulatedProcess) -> Graph<Order> {
    let (reserve, charge, ship, pack) = (life.clone(), life.clone(), life.clone(), life.clone());
    Graph::<Order>::builder("order")
        .node("reserve", async move |_: &Order, cx: &Context| {
            effect(&reserve, cx, "reserve").await?;
            Ok(Order::update().log(["reserved"]).sum(1))
        })
        .node("charge", async move |_: &Order, cx: &Context| {
            let todo = cx.todos().start("charge", "Charge the card")?;
            effect(&charge, cx, "charge").await?;
            let answer: String = cx.ask(Question::choose("Ship it?", ["yes", "no"])).await?;
            todo.done();
            Ok(Order::update().log([answer]).sum(10))
        })
        .node("ship", async move |_: &Order, cx: &Context| {
            effect(&ship, cx, "ship").await?;
            Ok(Order::update().log(["shipped"]).note(Some("done".to_owned())))
        })
        .node("pack", async move |_: &Order, cx: &Context| {
            effect(&pack, cx, "pack").await?;
            Ok(Order::update().sum(100))
        })
        .edge(START, "reserve")
        .edge(START, "charge")
        .join(["reserve", "charge"], "ship")
        .edge(START, "pack")
        .edge("pack", END)
        .edge("ship", END)
        .build()
        .expect("the graph is valid")
}

/// Drives a session to its end as a process does: starts it, or continues what an earlier process left, and answers.
async fn drive(
    runtime: &Runtime,
    session: &Session,
    start: impl AsyncFnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    match session.status().await {
        Err(SessionError::NotFound { .. } | SessionError::Store(StoreError::NotFound { .. })) => {
            start().await?
        }
        Err(error) => return Err(error.into()),
        Ok(_) => drop(runtime.recover().await?),
    }
    loop {
        let status = session.status().await?;
        if !status.status.is_busy() {
            match status.status {
                agent_core::RunStatus::Completed => return Ok(()),
                // A store error may have ended the run.
                _ => drop(session.resume().await?),
            }
        } else if let Some(open) = status.questions.first() {
            drop(session.answer(Answers::to(open.id.clone(), "yes")).await?);
        }
        session.wait_status().await?;
    }
}

async fn order_to_its_end(life: SimulatedProcess) -> Result<(Order, BTreeMap<String, u32>), Failure> {
    let graph = order(&life);
    let runtime = life.runtime().graph(&graph).build();
    let session = runtime.session("order-1")?;
    drive(&runtime, &session, async || {
        drop(session.run(&graph, Order::update()).start().await?);
        Ok(())
    })
    .await?;
    let state: Order = session.state().await?;
    let status = session.status().await?;
    assert!(status.todos.iter().all(|todo| todo.status == TodoStatus::Completed), "{:?}", status.todos);
    assert_eq!((state.sum, state.note.as_deref()), (111, Some("done")));
    assert_eq!(state.log.len(), 3, "{:?}", state.log);
    let all = life.effects().all();
    let names: Vec<&str> = all.keys().filter_map(|name| name.split(' ').next()).collect();
    assert_eq!(names, ["charge", "pack", "reserve", "ship"], "each with one idempotency key");
    let most = 1 + life.crashes() + life.number();
    assert!(all.values().all(|count| *count <= most), "{all:?} after {} crashes", life.crashes());
    Ok((state, all))
}

#[test]
fn an_order_is_carried_out_once_whatever_crashes_and_fails() {
    let report = Simulation::new().seeds(0..4_000).run(order_to_its_end);
    assert_eq!(report.results.len(), 4_000);
    assert!(
        report.crashes > 2_000 && report.store_errors > 1_000,
        "{} {}",
        report.crashes,
        report.store_errors
    );
    // Steps in flight at a crash run again; recorded ones do not.
    let repeated =
        report.results.iter().filter(|result| result.value.1.values().any(|count| *count > 1)).count();
    assert!(repeated > 0 && repeated < 4_000, "{repeated}");
}

/// An order that waits for an hour, and for at most two days for an answer.
async fn reminder_to_its_end(
    life: SimulatedProcess,
) -> Result<(Vec<String>, BTreeMap<String, u32>), Failure> {
    let (before, after) = (life.clone(), life.clone());
    let graph = Graph::<Order>::builder("reminder")
        .node("wait", async move |_: &Order, cx: &Context| {
            effect(&before, cx, "before").await?;
            cx.sleep(Duration::from_secs(3_600)).await?;
            Ok(Order::update().log(["waited".to_owned()]))
        })
        .node("ask", async move |_: &Order, cx: &Context| {
            let deadline = Duration::from_secs(2 * 86_400);
            let question = Question::choose("Ship it?", ["yes", "no"]).deadline(deadline);
            let answer = match cx.ask::<String>(question).await {
                Err(error) if matches!(error.downcast_ref(), Some(AskError::Expired { .. })) => "no answer",
                Err(error) => return Err(error),
                Ok(_) => "an answer",
            };
            effect(&after, cx, "after").await?;
            Ok(Order::update().log([answer.to_owned()]))
        })
        .path([START, "wait", "ask", END])
        .build()?;
    let runtime = life.runtime().graph(&graph).build();
    let session = runtime.session("order-1")?;
    let found = match session.status().await {
        Err(SessionError::NotFound { .. } | SessionError::Store(StoreError::NotFound { .. })) => false,
        Err(error) => return Err(error.into()),
        Ok(_) => true,
    };
    if found {
        drop(runtime.recover().await?);
    } else {
        drop(session.run(&graph, Order::update()).start().await?);
    }
    // No answer comes: the timer and the deadline end the waits.
    loop {
        match session.status().await?.status {
            agent_core::RunStatus::Completed => break,
            status if status.is_busy() => tokio::time::sleep(Duration::from_secs(4 * 3_600)).await,
            _ => drop(session.resume().await?),
        }
    }
    let state: Order = session.state().await?;
    Ok((state.log, life.effects().all()))
}

#[test]
fn timers_and_deadlines_end_once_whatever_the_clock_shows() {
    let report =
        Simulation::new().seeds(0..500).longest_jump(Duration::from_secs(86_400)).run(reminder_to_its_end);
    assert!(report.crashes > 250, "{}", report.crashes);
    for result in &report.results {
        let (seed, (log, effects)) = (result.seed, &result.value);
        assert_eq!(*log, ["waited", "no answer"], "seed {seed}");
        assert_eq!(effects.len(), 2, "seed {seed}: {effects:?}");
    }
}

/// An agent with a tool that may be called once only.
async fn agent_to_its_end(life: SimulatedProcess) -> Result<u32, Failure> {
    let effects = life.effects().clone();
    let mail = DynamicTool::new("mail", "Sends a mail.", json!({"type": "object"}), move |_, _| {
        let effects = effects.clone();
        async move {
            effects.record("mail");
            Ok::<_, agent_core::tool::ToolError>("sent".into())
        }
    });
    let tools = ToolRegistry::builder().tool(mail.with_policy(ToolPolicy::read_only())).build()?;
    // The script goes by what was asked, because a call may be repeated after a crash.
    let model =
        Scripted::new((0..20).flat_map(|_| [Turn::call("mail", json!({})), Turn::text("The mail is sent.")]));
    let agent = Agent::builder("mailer").tools(tools).model(life.model(model)).build()?;
    let runtime = life.runtime().graph(&agent).build();
    let session = runtime.session("mail-1")?;
    drive(&runtime, &session, async || {
        drop(session.run(&agent, "Send it").start().await?);
        Ok(())
    })
    .await?;
    let state: AgentState = session.state().await?;
    assert!(!state.answer().is_empty());
    Ok(life.effects().count("mail"))
}

#[test]
fn an_agent_ends_with_an_answer_whatever_crashes_and_fails() {
    let report = Simulation::new().seeds(0..1_500).run(agent_to_its_end);
    assert!(report.results.iter().all(|result| result.value >= 1));
    assert!(report.model_errors > 50, "{}", report.model_errors);
}

#[test]
fn a_seed_leads_to_the_same_run() {
    let run = || Simulation::new().seeds(7..40).run(order_to_its_end);
    let (one, other) = (run(), run());
    assert_eq!(
        (one.processes, one.crashes, one.store_errors),
        (other.processes, other.crashes, other.store_errors)
    );
    assert_eq!(one.results, other.results);
}

#[test]
fn a_scenario_that_repeats_an_effect_is_found() {
    // Not a step: a node that is entered again repeats it.
    let careless = async |life: SimulatedProcess| {
        let effects = life.effects().clone();
        let graph = Graph::<Order>::builder("order")
            .node("charge", async move |_: &Order, cx: &Context| {
                effects.record("charge");
                let answer: String = cx.ask("Ship it?").await?;
                Ok(Order::update().log([answer]))
            })
            .path([START, "charge", END])
            .build()?;
        let runtime = life.runtime().graph(&graph).build();
        let session = runtime.session("order-1")?;
        drive(&runtime, &session, async || {
            drop(session.run(&graph, Order::update()).start().await?);
            Ok(())
        })
        .await?;
        assert_eq!(life.effects().count("charge"), 1);
        Ok::<_, Failure>(())
    };
    assert!(catch_unwind(|| Simulation::new().seeds(0..50).run(careless)).is_err());
}
