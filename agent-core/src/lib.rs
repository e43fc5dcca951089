//! Durable agent graphs: nodes, models, tools and people in one graph that survives crashes and restarts.
//!
//! A **graph** consists of async functions (nodes) over a typed **state**, and of edges between them. A **session** runs
//! graphs and writes everything that happened to an append-only **journal**: inputs, updates of nodes, results of model and
//! tool calls, questions and answers. The state is computed from the journal, so resuming after a pause, a stop, a crash or a
//! move to another machine (with a store that both reach) is always the same: read the journal and continue. A model
//! call with a recorded result is not made again.
//!
//! # A program
//!
//! A node drafts a text, a person approves it, and a second node publishes it. The journal is kept in memory here; with
//! [`sqlite::Sqlite`] the answer may come days later, in another process.
//!
//! ```
//! use agent_core::{Answers, Context, END, Graph, Question, RunOutcome, Runtime, START, State, journal::InMemoryJournal};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(State, Default, Serialize, Deserialize)]
//! struct Post { topic: String, text: String, #[state(append)] log: Vec<String> }
//!
//! async fn write(post: &Post, cx: &Context) -> agent_core::Result<PostUpdate> {
//!     // A step runs once: its result is stored, and a node that is entered again gets the stored result.
//!     let topic = post.topic.clone();
//!     let text = cx.step("draft", async move { Ok::<_, std::io::Error>(format!("Why {topic} matters")) }).await?;
//!     Ok(Post::update().text(text).log(["drafted"]))
//! }
//!
//! async fn publish(post: &Post, cx: &Context) -> agent_core::Result<PostUpdate> {
//!     let question = Question::choose(format!("Publish \"{}\"?", post.text), ["yes", "no"]);
//!     let answer: String = cx.ask(question).await?;
//!     Ok(Post::update().log([if answer == "yes" { "published" } else { "discarded" }]))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let graph = Graph::<Post>::builder("post")
//!     .node("write", write)
//!     .node("publish", publish)
//!     .edge(START, "write")
//!     .edge("write", "publish")
//!     .edge("publish", END)
//!     .build()?;
//! let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
//! let session = runtime.session("post-1")?;
//!
//! let outcome = session.run(&graph, Post::update().topic("durability")).await?;
//! assert!(matches!(outcome, RunOutcome::Paused { .. }));
//!
//! session.answer(Answers::only("yes")).await?;
//! session.wait_status().await?;
//! let post: Post = session.state().await?;
//! assert_eq!(post.log, ["drafted", "published"]);
//! # Ok(()) }
//! ```
//!
//! # Concepts
//!
//! | Name | Meaning |
//! |---|---|
//! | [`State`] and its update | what a run knows, and the changes of one node; a reducer for each field combines them |
//! | [`Graph`] | nodes and edges, validated when it is built |
//! | [`Context`] | the interface of a node: recorded steps, questions, todos, events, models, tools, memory |
//! | superstep | one round: all due nodes run in parallel, then their updates are applied in order |
//! | [`Session`] | one durable conversation with one writer; [`Run`] is one execution in it |
//! | [`Question`], [`Answers`] | a person in the loop: the run pauses until the answer arrives |
//! | [`journal`] | the record of a session, in memory, in SQLite, or in your own store |
//! | [`Event`] | what subscribers see: the journal, and text as it is generated |
//! | [`Agent`] | a graph in which a model calls tools until it has an answer |
//!
//! # What the journal guarantees
//!
//! - A recorded step, model call or tool call is not executed again when a node is entered again.
//! - A run is stored before its start is confirmed to the caller (not with [`Durability::Exit`]).
//! - A question survives restarts. An answer is validated before it is stored; of two racing answers exactly one counts.
//! - A second process cannot write to a session: every append carries the epoch of a lease.
//! - What a crash may lose depends on [`Durability`]; each mode documents it.
//!
//! # Reading order
//!
//! 1. [`state`]: states, updates and reducers.
//! 2. [`graph`]: nodes, edges, branches, joins, sends, subgraphs.
//! 3. [`engine`]: the context of a node, budgets and errors of a run.
//! 4. [`session`]: runtimes, sessions, runs, forks and time travel.
//! 5. [`interrupt`]: questions and answers.
//! 6. [`journal`]: the store contract and the stores.
//! 7. [`event`], [`run`] and [`mod@todo`]: what others see of a run.
//! 8. [`model`], [`mod@tool`] and [`memory`]: language models, tools, and values that outlive a session.
//! 9. [`agent`]: agents, sub-agents, hand-offs, typed answers.
//! 10. `schedule` (feature `cron`): runs that start at a time or by a cron expression.
//! 11. [`telemetry`]: spans for tracing backends. [`json`]: what a stored value may be. [`retry`]: retries.
//!
//! The [`guide`] has a page per subject, each with one complete program. Built-in tools (files, web, SQL, shell, MCP) are in the crate `agent-tools`, an HTTP server is in `agent-server`.
//!
//! # Testing
//!
//! [`model::testing::Scripted`] is a model with scripted answers; [`clock::ManualClock`] replaces the clock. A session over
//! [`journal::InMemoryJournal`] behaves like one over a database, so pauses and restarts can be tested without one. With the
//! feature `test-util`, `testing::Simulation` runs a program with thousands of seeds, each with other crashes, delays and errors.
//!
//! ```
//! use agent_core::{Agent, Runtime, model::{Model, testing::{Scripted, Turn}}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = Scripted::new([Turn::text("It is noon.")]);
//! let agent = Agent::builder("clock").system("Answer in one sentence.").build()?;
//! let session = Runtime::builder().model(Model::new(model.clone())).build().session("test")?;
//! let outcome = session.run(&agent, "What time is it?").await?;
//! assert_eq!(outcome.state().map(|state| state.answer()).as_deref(), Some("It is noon."));
//! assert_eq!(model.calls(), 1);
//! # Ok(()) }
//! ```
//!
//! # Features
//!
//! | Feature | Default | Adds |
//! |---|---|---|
//! | `openai` | yes | models behind OpenAI's protocols, embeddings, HTTP cassettes for tests |
//! | `prompt` | yes | prompt templates in Jinja's syntax |
//! | `sqlite` | yes | the SQLite store for journals and memory |
//! | `cron` | no | schedules: runs that start at a time or by a cron expression |
//! | `native` | no | Anthropic and Gemini with their native protocols |
//! | `vector-index` | no | an approximate index for searches by meaning among many items in memory |
//! | `realtime` | no | live transcription over OpenAI's Realtime protocol |
//! | `tiktoken` | no | exact token counts for OpenAI's vocabularies |
//! | `static-embeddings` | no | embeddings without a network |
//! | `test-util` | no | simulated crashes and faults (`testing`), conformance suites for stores |

// The derive generates paths that begin with `::agent_core`, which must also resolve inside this crate.
extern crate self as agent_core;

pub mod ids;
pub mod error;
pub mod clock;
pub mod secret;
pub mod json;
pub mod state;
pub mod graph;
pub mod engine;
pub mod journal;
pub mod session;
pub mod run;
#[cfg(feature = "cron")]
pub mod schedule;
pub mod interrupt;
pub mod todo;
pub mod event;
pub mod model;
pub mod tool;
pub mod memory;
pub mod agent;
pub mod telemetry;
pub mod guide;
pub mod retry;
mod compute;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod task_group;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
mod util;
mod validation;

#[doc(inline)]
pub use self::{
    agent::{Agent, AgentState},
    engine::{Context, RunError},
    error::Code,
    event::Event,
    graph::{END, Graph, NodeError, Result, START},
    ids::SessionId,
    interrupt::{Answers, Question},
    run::{Durability, RunOutcome, RunStatus},
    session::{BusyPolicy, Run, RunOptions, Runtime, Session, SessionError},
    state::{Input, State},
};
pub use agent_core_macros::{State, tool};

// The README's program is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
