//! An agent that answers from a folder of Markdown, HTML and text files. Files that did not change are not embedded again.
//! One line is one question.
//!
//! Run: `cargo run -p examples --example retrieval -- FOLDER`. With `OPENAI_API_KEY`, or `OPENAI_BASE_URL` (and
//! `EMBEDDING_MODEL`) for another endpoint, models answer and embed; without them, `Offline` answers and search is by words.
#![expect(clippy::print_stdout, reason = "a program that speaks to a person")]

use agent_core::model::{Model, WordEmbeddings, embedder_from_env_or, testing::Offline};
use agent_core::{Agent, Runtime, sqlite::Sqlite};
use agent_tools::retrieval::Documents;

#[tokio::main]
async fn main() -> agent_core::Result<()> {
    let sqlite = Sqlite::open("retrieval.db")?;
    let memory = sqlite.memory().with_embedder(embedder_from_env_or(WordEmbeddings)?);
    let documents = Documents::new(memory, "folder")?;
    documents.add_folder(std::env::args().nth(1).ok_or("name a folder")?).await?;
    let agent =
        Agent::builder("librarian").system("Answer from the documents.").tool(documents.tool()).build()?;
    let runtime = Runtime::builder().model(Model::from_env_or(Offline)?).journal(sqlite).build();
    let session = runtime.session("reader")?;
    for line in std::io::stdin().lines() {
        println!("{}", session.chat(&agent, line?).await?);
    }
    Ok(())
}
