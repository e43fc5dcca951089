//! Latency of the first text delta, from the model to a subscriber.

use std::{sync::Arc, time::Instant};

use agent_core::{
    Context, END, Graph, Input, Runtime, START, SessionId,
    event::EventBody,
    model::{ChatModel, Delta, FinishReason, Model, ModelError, ModelRequest, ModelStream},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    Subject, probe,
    superstep::{Count, options},
};

/// Yields one word on request; the word is the time at which it was yielded.
struct Speaks(Instant);

impl ChatModel for Speaks {
    fn name(&self) -> &str {
        "speaks"
    }

    async fn stream(&self, _: ModelRequest) -> Result<ModelStream, ModelError> {
        let began = self.0;
        let says = futures::stream::unfold(0_u8, move |at| async move {
            // Like an endpoint: the first poll is pending.
            tokio::task::yield_now().await;
            let delta = match at {
                0 => Delta::text(began.elapsed().as_nanos().to_string()),
                1 => Delta::Finished { reason: FinishReason::Stop },
                _ => return None,
            };
            Some((Ok(delta), at + 1))
        });
        Ok(ModelStream::new(says))
    }
}

fn graph() -> Graph<Count> {
    Graph::builder("ask")
        .node("ask", async |_: &Count, cx: &Context| {
            cx.model()?.complete("hello").await?;
            Ok(())
        })
        .edge(START, "ask")
        .edge("ask", END)
        .build()
        .expect("it is a graph")
}

pub(super) fn first_token() -> Subject {
    let graph = graph();
    let ours = probe(move |times| {
        let graph = graph.clone();
        async move {
            let began = Instant::now();
            let runtime = Runtime::builder().model(Model::new(Speaks(began))).build();
            let mut waited = std::time::Duration::ZERO;
            for _ in 0..times {
                let session = runtime.session_of(SessionId::random());
                let input = Input::Update(Count::update());
                let mut events =
                    session.run(&graph, input).options(options()).stream().await.expect("it starts");
                while let Some(event) = events.next().await {
                    if let EventBody::Token(token) = &event.expect("nothing is read from a store").body {
                        let said = token.text.parse().expect("it says when");
                        waited += began.elapsed().saturating_sub(std::time::Duration::from_nanos(said));
                    }
                }
            }
            waited
        }
    });
    #[expect(clippy::disallowed_methods, reason = "this is the floor: a bare task")]
    let floor = probe(|times| async move {
        let mut waited = std::time::Duration::ZERO;
        for _ in 0..times {
            let (send, mut receive) = mpsc::channel(8);
            let (ready, start) = oneshot::channel::<()>();
            tokio::spawn(async move {
                if start.await.is_ok() {
                    tokio::task::yield_now().await;
                    // The receiver is gone only if the benchmark has failed.
                    send.send(Arc::new(Instant::now())).await.expect("the receiver is alive");
                }
            });
            ready.send(()).expect("the task is there");
            waited += receive.recv().await.expect("it comes").elapsed();
        }
        waited
    });
    Subject {
        name: "first token to one subscriber (floor: tokio mpsc)",
        units: 1,
        unit: "token",
        goal: "≤ 100 µs",
        met: |ours, _| ours <= 100_000.0,
        ours,
        floor,
    }
}
