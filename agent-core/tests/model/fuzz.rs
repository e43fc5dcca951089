//! Streams of any bytes end with an answer or a named error, and never panic or hang.

use std::time::Duration;

use agent_core::model::{
    Model,
    openai::{OpenAi, Protocol},
};
use futures::StreamExt;
use tests::Mutations;

use crate::server::{Answer, Server};

const EXAMPLES: [&str; 4] = [
    "data: {\"id\":\"c1\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"안녕\"}}]}\n\n\
     data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"type\":\"function\",\"function\":\
     {\"name\":\"f\",\"arguments\":\"{\\\"x\\\":\"}}]}}]}\r\n\r\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":\
     [{\"index\":0,\"function\":{\"arguments\":\"1}\"}}]},\"finish_reason\":\"tool_calls\"}]}\r\n\r\ndata: [DONE]\r\n\r\n",
    ": comment\nevent: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"a\",\"item_id\":\"i\",\
     \"output_index\":0,\"content_index\":0}\n\nevent: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{}}\n\n",
    "{\"error\":{\"message\":\"no\",\"type\":\"invalid_request_error\"}}",
];

const WORDS: [&str; 16] = [
    "data: ",
    "\n\n",
    "\r\n",
    "event: ",
    "[DONE]",
    "choices",
    "delta",
    "content",
    "tool_calls",
    "index",
    "finish_reason",
    "usage",
    "error",
    "response.completed",
    "arguments",
    "retry: 1",
];

/// A request each, so fewer than elsewhere.
const SHARE: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_any_bytes_end() {
    let mut inputs = Mutations::of(9, EXAMPLES, WORDS);
    let (mut answers, mut errors) = (0, 0);
    for turn in 0..Mutations::count() / SHARE / 100 {
        let batch: Vec<Vec<u8>> = inputs.by_ref().take(100).collect();
        let server = Server::start(batch.iter().map(|input| Answer::raw([input.clone()]))).await;
        let protocol = if turn % 2 == 0 { Protocol::Chat } else { Protocol::Responses };
        let client = OpenAi::builder().base_url(&server.url).key("sk-test").model("tiny").protocol(protocol);
        let model = Model::new(client.build().unwrap());
        for input in batch {
            let read = async {
                let mut stream = model.stream("hi").await?;
                while let Some(delta) = stream.next().await {
                    delta?;
                }
                Ok::<_, agent_core::model::ModelError>(())
            };
            let shown = String::from_utf8_lossy(&input);
            match tokio::time::timeout(Duration::from_secs(20), read).await {
                Ok(Ok(())) => answers += 1,
                Ok(Err(error)) => {
                    assert!(!error.to_string().is_empty(), "{shown:?}");
                    errors += 1;
                }
                Err(_) => panic!("it hangs: {shown:?}"),
            }
        }
    }
    assert!(answers > 0 && errors > 0, "{answers} answers, {errors} errors");
}
