//! An MCP server over a pipe, and a listener that records the progress of a call.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use agent_core::{
    model::ToolCall,
    task_group::TaskGroup,
    tool::{CallListener, DynamicTool, ToolContext, ToolError, ToolOutput, ToolPolicy, ToolRegistry},
};
use agent_tools::mcp::{Client, ClientBuilder, Server};
use serde_json::{Value, json};
use tokio::{
    io::{DuplexStream, ReadHalf, WriteHalf},
    sync::{Notify, mpsc},
};
use tokio_util::sync::CancellationToken;

pub(crate) type Pipes = (ReadHalf<DuplexStream>, WriteHalf<DuplexStream>);

pub(crate) fn tool<F, Fut>(name: &'static str, policy: ToolPolicy, call: F) -> DynamicTool
where
    F: Fn(Value, ToolContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<ToolOutput, ToolError>> + Send + 'static,
{
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
    DynamicTool::new(name, "Does something.", schema, call).with_policy(policy)
}

pub(crate) fn registry(tools: impl IntoIterator<Item = DynamicTool>) -> ToolRegistry {
    tools.into_iter().fold(ToolRegistry::builder(), |made, tool| made.tool(tool)).build().unwrap()
}

/// Servers behind pipes: how many were made, and a way to cut the present one off.
#[derive(Clone, Default)]
pub(crate) struct Line {
    pub(crate) tasks: TaskGroup,
    made: Arc<AtomicUsize>,
    cut: Arc<std::sync::Mutex<CancellationToken>>,
}

impl Line {
    pub(crate) fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    /// Cuts the connection: both sides see its end.
    pub(crate) fn cut(&self) {
        self.cut.lock().unwrap().cancel();
    }

    /// Runs `serve` with one end of a new pipe and gives the other.
    pub(crate) fn open<Fut>(&self, serve: impl FnOnce(Pipes) -> Fut) -> Pipes
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.made.fetch_add(1, Ordering::SeqCst);
        let (here, mut near) = tokio::io::duplex(64 * 1024);
        let (mut far, there) = tokio::io::duplex(64 * 1024);
        let cut = CancellationToken::new();
        *self.cut.lock().unwrap() = cut.clone();
        self.tasks.spawn(serve(tokio::io::split(there)));
        self.tasks.spawn(async move {
            tokio::select! {
                () = cut.cancelled() => {}
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            }
        });
        tokio::io::split(here)
    }

    /// A client of `server`, made anew for each session.
    pub(crate) fn client(&self, server: Server) -> ClientBuilder {
        let line = self.clone();
        Client::stream("s", move || {
            let server = server.clone();
            let pipes = line.open(|(read, write)| async move {
                server.serve(read, write).await.ok();
            });
            async move { Ok::<_, io::Error>(pipes) }
        })
    }
}

/// Calls a tool of a registry outside of any run.
pub(crate) async fn call(tools: &ToolRegistry, name: &str, args: Value) -> Result<ToolOutput, ToolError> {
    tools.prepare(ToolCall::new(name, &args))?.run(&ToolContext::detached()).await
}

pub(crate) fn text(result: Result<ToolOutput, ToolError>) -> String {
    result.unwrap().to_text()
}

/// Calls a tool that reports progress and then waits for `go`: its result, and the progress.
pub(crate) async fn call_and_hear(tools: &ToolRegistry, name: &str, go: &Notify) -> (String, Value) {
    let (ears, mut notes) = Ears::new();
    let prepared = tools.prepare(ToolCall::new(name, &json!({}))).unwrap();
    let cx = ToolContext::detached().with_listener(ears);
    let received = async {
        let note = notes.recv().await.unwrap();
        go.notify_one();
        note
    };
    let (result, note) = tokio::join!(prepared.run(&cx), received);
    (text(result), note)
}

/// Records progress.
pub(crate) struct Ears(mpsc::Sender<Value>);

impl Ears {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Value>) {
        let (received, notes) = mpsc::channel(100);
        (Self(received), notes)
    }
}

impl CallListener for Ears {
    fn progress(&self, value: Value) {
        self.0.try_send(value).unwrap();
    }
}
