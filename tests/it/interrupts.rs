//! Questions to a person during a run.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use agent_core::{
    Answers, Context, END, Graph, Question, Runtime, START, SessionError, State, interrupt::AnswerError,
    journal::InMemoryJournal,
};
use serde::{Deserialize, Serialize};

#[derive(State, Default, Debug, Serialize, Deserialize)]
struct Order {
    tone: Option<String>,
    size: Option<i64>,
    receipt: Option<String>,
}

struct Charges(AtomicU32);

fn shop() -> Graph<Order> {
    Graph::<Order>::builder("shop")
        .node("ask", async |_: &Order, cx: &Context| {
            let charges = cx.get::<Arc<Charges>>()?;
            let tone: String = cx.ask(Question::choose("Tone?", ["warm", "cool"])).await?;
            let receipt: String = cx
                .step("charge", async {
                    charges.0.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, agent_core::NodeError>("r-1".to_owned())
                })
                .await?;
            let size: i64 = cx.ask("Size?").await?;
            Ok(Order::update().tone(tone).size(size).receipt(receipt))
        })
        .edge(START, "ask")
        .edge("ask", END)
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_charge_between_two_questions_is_made_once_in_process_and_after_a_restart() {
    for restart in [false, true] {
        let charges = Arc::new(Charges(AtomicU32::new(0)));
        let store: Arc<dyn agent_core::journal::JournalStore> = Arc::new(InMemoryJournal::new());
        let make = || {
            Runtime::builder()
                .journal(Arc::clone(&store))
                .graph(&shop())
                .provide(Arc::clone(&charges))
                .options(|o| o.lease_ttl = std::time::Duration::ZERO)
                .build()
        };
        let mut runtime = make();
        let session = runtime.session("s").unwrap();
        let outcome = session.run(&shop(), Order::update()).await.unwrap();
        assert!(outcome.is_paused());
        let wrong = session.answer(Answers::only("loud")).await.unwrap_err();
        assert!(matches!(wrong, SessionError::Answer(AnswerError::Invalid { .. })), "{wrong}");
        let first = outcome.questions()[0].id.clone();
        for (answer, paused) in [(Answers::only("warm"), true), (Answers::only(7), false)] {
            if restart {
                runtime.shutdown(std::time::Duration::from_secs(1)).await;
                runtime = make();
            }
            let session = runtime.session("s").unwrap();
            let outcome = session.answer(answer).await.unwrap().outcome::<Order>().await.unwrap();
            assert_eq!(outcome.is_paused(), paused);
            let again = session.answer(Answers::to(first.clone(), "cool")).await.unwrap_err();
            assert!(
                matches!(again, SessionError::Answer(AnswerError::AlreadyAnswered { .. })),
                "{again} (restart: {restart})"
            );
            if !paused {
                let state = outcome.state().unwrap();
                assert_eq!((state.tone.as_deref(), state.size), (Some("warm"), Some(7)));
            }
        }
        assert_eq!(charges.0.load(Ordering::SeqCst), 1, "restart: {restart}");
    }
}
