//! Round trips: the store calls of a start, an answer, a resume and a takeover, in order.

use std::sync::Arc;

use agent_core::{
    Answers, Context, Durability, END, Graph, Runtime, START, State,
    journal::{InMemoryJournal, StoreError},
    testing::{
        HookedStore,
        StoreCall::{self, Acquire, Append, Head, Read, Snapshot},
        StoreHook,
    },
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tests::journal;

#[derive(State, Default, Debug, Serialize, Deserialize)]
struct Order {
    size: String,
}

/// Notes the calls. Leases end at once, as those of a process that died.
#[derive(Debug, Default)]
struct Calls(Mutex<Vec<StoreCall>>);

impl Calls {
    fn take(&self) -> Vec<StoreCall> {
        std::mem::take(&mut self.0.lock())
    }
}

impl StoreHook for Calls {
    async fn before(&self, call: StoreCall) -> Result<(), StoreError> {
        self.0.lock().push(call);
        Ok(())
    }

    fn lease(&self, _: std::time::Duration) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}

fn process(journal: &Arc<InMemoryJournal>, graph: &Graph<Order>) -> (Runtime, Arc<HookedStore<Calls>>) {
    let store = Arc::new(HookedStore::new(journal.clone(), Calls::default()));
    (Runtime::builder().journal(store.clone()).durability(Durability::Sync).graph(graph).build(), store)
}

/// A store that makes a replay in one round trip needs one for `Snapshot` and `Read` together.
#[tokio::test]
async fn each_operation_makes_the_least_number_of_store_calls() {
    let graph = Graph::<Order>::builder("order")
        .node("ask", async |_: &Order, cx: &Context| {
            Ok(Order::update().size(cx.ask::<String>("Size?").await?))
        })
        .node("pack", async |_: &Order, _: &Context| Ok(Order::update()))
        .path([START, "ask", "pack", END])
        .build()
        .unwrap();
    let journal = journal();
    let (first, calls) = process(&journal, &graph);
    let session = first.session("s").unwrap();
    session.run(&graph, Order::update()).await.unwrap();
    assert_eq!(calls.take(), [Acquire, Snapshot, Read, Append, Append], "a run that is accepted, and paused");
    session.answer(Answers::only("large")).await.unwrap().outcome::<Order>().await.unwrap();
    assert_eq!(
        calls.take(),
        [Append, Append, Append],
        "an answer, a superstep, and the last one with the end"
    );
    session.run(&graph, Order::update()).await.unwrap();
    assert_eq!(calls.take(), [Append, Append], "the next run of the session");

    let (second, calls) = process(&journal, &graph);
    let session = second.session("s").unwrap();
    session.answer(Answers::only("small")).await.unwrap().outcome::<Order>().await.unwrap();
    assert_eq!(
        calls.take(),
        [Head, Acquire, Snapshot, Read, Append, Append, Append, Append],
        "an answer in another process, and its resumption"
    );
}
